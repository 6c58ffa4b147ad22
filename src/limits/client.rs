//! A client whose use is limited, and the buckets that his use is drawn from.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use super::{
    Limited, Quota,
    addresses::{AddressGroup, AddressTable, CellsOf},
};
use crate::{
    config::{ClientLimits, InForce},
    error::Error,
};

/// The limits of one kind of client, ready for use.
#[derive(Debug)]
pub(super) struct Rules {
    quotas: [Option<InForce<Quota>>; Limited::ALL.len()],
    in_flight: Option<InForce<usize>>,
}

/// A tenant and its buckets.
#[derive(Debug)]
pub(super) struct LimitedTenant {
    name: String,
    rules: Rules,
    full_at: [AtomicU64; Limited::ALL.len()],
    in_flight: AtomicUsize,
}

/// All addresses and their buckets.
#[derive(Debug)]
pub(super) struct LimitedAddresses {
    rules: Rules,
    table: AddressTable,
}

/// A client whose use is limited.
#[derive(Debug, Clone)]
pub(super) enum Client {
    /// A tenant.
    Tenant(Arc<LimitedTenant>),
    /// Addresses that count as one.
    Address(Arc<LimitedAddresses>, AddressGroup, CellsOf),
}

/// How much of a limit a client has left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// Of which limit.
    pub limit: Limited,
    /// How much there is at most.
    pub most: f64,
    /// How long it takes until there is that much, where there was nothing.
    pub window: Duration,
    /// How much there is.
    pub left: f64,
    /// How long it takes until there is `most`.
    pub full_in: Duration,
}

impl Rules {
    fn new(limits: ClientLimits) -> Self {
        let burst_seconds = limits.burst_seconds;
        let quota = |rate: Option<InForce<f64>>, needed: f64| {
            let InForce { most, section } = rate?;
            Some(InForce { most: Quota::new(most, burst_seconds, needed), section })
        };
        // The last request, and the last pixel, must be there; a request's dollars are not known before it has ended.
        let quotas = [quota(limits.requests, 1.0), quota(limits.pixels, 1.0), quota(limits.usd, 0.0)];
        Self { quotas, in_flight: limits.in_flight }
    }

    fn quota(&self, limit: Limited) -> Option<&InForce<Quota>> {
        self.quotas[limit as usize].as_ref()
    }
}

impl LimitedTenant {
    pub(super) fn new(name: &str, limits: ClientLimits) -> Self {
        Self {
            name: name.to_owned(),
            rules: Rules::new(limits),
            full_at: Default::default(),
            in_flight: AtomicUsize::new(0),
        }
    }
}

impl LimitedAddresses {
    pub(super) fn new(limits: ClientLimits) -> Self {
        let rules = Rules::new(limits);
        let table = AddressTable::new(|limit| rules.quota(limit).is_some(), rules.in_flight.is_some());
        Self { rules, table }
    }

    /// The client at an address.
    pub(super) fn client(self: &Arc<Self>, address: IpAddr) -> Client {
        let group = AddressGroup::from(address);
        Client::Address(Arc::clone(self), group, self.table.cells(group))
    }
}

impl Client {
    fn rules(&self) -> &Rules {
        match self {
            Self::Tenant(tenant) => &tenant.rules,
            Self::Address(addresses, ..) => &addresses.rules,
        }
    }

    /// Whether he may use something of a limit; if so, `cost` is taken. With a cost of 0, he is only asked to have no debt.
    pub(super) fn take(&self, limit: Limited, cost: f64, now: u64) -> Result<(), Error> {
        let Some(InForce { most: quota, section }) = self.rules().quota(limit) else { return Ok(()) };
        let taken = self.update(limit, |full_at| quota.take(full_at, cost, now));
        taken.map_err(|retry_after| {
            let plural = if quota.per_second() == 1.0 { "" } else { "s" };
            let most = format!("{} {}{plural} a second", quota.per_second(), limit.noun());
            self.refusal(most, format!("{section}.{}", limit.setting()), retry_after)
        })
    }

    /// Takes what was used, however little is left.
    pub(super) fn charge(&self, limit: Limited, cost: f64, now: u64) {
        if let Some(InForce { most: quota, .. }) = self.rules().quota(limit) {
            let charged: Result<(), std::convert::Infallible> =
                self.update(limit, |full_at| Ok(quota.charge(full_at, cost, now)));
            // It cannot fail.
            let Ok(()) = charged;
        }
    }

    /// Takes a place in flight: whether there is one to give back, or why there is none.
    pub(super) fn enter(&self) -> Result<bool, Error> {
        let Some(InForce { most, section }) = &self.rules().in_flight else { return Ok(false) };
        let entered = match self {
            Self::Tenant(tenant) => {
                let one_more = |places: usize| (places < *most).then_some(places + 1);
                tenant.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_ok()
            }
            Self::Address(addresses, _, cells) => addresses.table.enter(*cells, *most),
        };
        let refusal = || {
            let most = format!("{most} request{} in flight", if *most == 1 { "" } else { "s" });
            self.refusal(most, format!("{section}.max_in_flight"), Duration::from_secs(1))
        };
        if entered { Ok(true) } else { Err(refusal()) }
    }

    /// Gives a place back.
    pub(super) fn leave(&self) {
        match self {
            Self::Tenant(tenant) => _ = tenant.in_flight.fetch_sub(1, Ordering::Relaxed),
            Self::Address(addresses, _, cells) => addresses.table.leave(*cells),
        }
    }

    /// How much of a limit is left, where there is such a limit.
    pub(super) fn standing(&self, limit: Limited, now: u64) -> Option<Standing> {
        let InForce { most: quota, .. } = self.rules().quota(limit)?;
        let full_at = match self {
            Self::Tenant(tenant) => tenant.full_at[limit as usize].load(Ordering::Relaxed),
            Self::Address(addresses, _, cells) => addresses.table.full_at(*cells, limit),
        };
        Some(Standing {
            limit,
            most: quota.burst(),
            window: quota.window(),
            left: quota.left(full_at, now),
            full_in: Duration::from_nanos(full_at.saturating_sub(now)),
        })
    }

    /// The tenant's name; `default` for an address.
    pub(super) fn tenant(&self) -> &str {
        match self {
            Self::Tenant(tenant) => &tenant.name,
            Self::Address(..) => "default",
        }
    }

    fn update<E>(&self, limit: Limited, change: impl Fn(u64) -> Result<u64, E>) -> Result<(), E> {
        match self {
            Self::Tenant(tenant) => {
                let cell = &tenant.full_at[limit as usize];
                let mut before = cell.load(Ordering::Relaxed);
                loop {
                    let after = change(before)?;
                    match cell.compare_exchange_weak(before, after, Ordering::Relaxed, Ordering::Relaxed) {
                        Ok(_) => return Ok(()),
                        Err(changed) => before = changed,
                    }
                }
            }
            Self::Address(addresses, _, cells) => addresses.table.update(*cells, limit, change),
        }
    }

    fn refusal(&self, most: String, setting: String, retry_after: Duration) -> Error {
        let who = match self {
            Self::Tenant(tenant) => format!("tenant `{}`", tenant.name),
            Self::Address(_, group, _) => group.to_string(),
        };
        Error::RateLimited { who, most, setting, retry_after }
    }
}
