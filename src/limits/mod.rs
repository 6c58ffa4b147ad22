//! How much one client may ask for: requests, pixels and dollars a second, and requests in flight, by tenant and by address.
//!
//! In: the settings, and who asks at which address. Out: an [`Allowance`] that goes with the request, or an error that names the
//! limit and its setting. What has no limit costs nothing: then there is no allowance.
//!
//! - [`Limiter`]: all limits of a server.
//! - `quota`: the algorithm, which has no clock.
//! - `client`: a tenant or an address with its buckets. `addresses` keeps those of all addresses in memory that does not grow.
//! - `forwarded`: which address a client has who asks by way of a proxy.

mod addresses;
mod client;
mod forwarded;
mod quota;
#[cfg(test)]
mod tests;

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Instant};

use self::client::{Client, LimitedAddresses, LimitedTenant};
pub use self::{addresses::AddressGroup, client::Standing, forwarded::client_address, quota::Quota};
use crate::{config::Config, error::Error, telemetry::metrics::Metrics};

/// What is limited a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// Requests, counted before their bodies are read.
    Requests,
    /// Pixels of images, counted before they are decoded.
    Pixels,
    /// Dollars, counted when a request has ended: what it has cost too much delays the next.
    Usd,
}

impl Limited {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Requests, Self::Pixels, Self::Usd];

    /// One of what is counted, in words.
    fn noun(self) -> &'static str {
        match self {
            Self::Requests => "request",
            Self::Pixels => "pixel",
            Self::Usd => "dollar",
        }
    }

    /// The key of the setting.
    fn setting(self) -> &'static str {
        match self {
            Self::Requests => "requests_per_second",
            Self::Pixels => "pixels_per_second",
            Self::Usd => "usd_per_second",
        }
    }
}

/// All limits of a server.
#[derive(Debug)]
pub struct Limiter {
    began: Instant,
    metrics: Arc<Metrics>,
    /// Tenants that are limited, by name.
    tenants: HashMap<String, Arc<LimitedTenant>>,
    /// The addresses of requests of no tenant, where they are limited.
    addresses: Option<Arc<LimitedAddresses>>,
}

/// The address of a request first, then its tenant, as far as they are limited.
type Clients = [Option<EnteredClient>; 2];

/// What a request may use of its client's limits. Its place in flight is free again when the last clone that holds it is dropped.
#[derive(Debug, Clone)]
pub struct Allowance {
    limiter: Arc<Limiter>,
    clients: [Option<Client>; 2],
    /// The places in flight; none in what only counts.
    places: Option<Arc<Clients>>,
}

/// A client of a request, and whether the request has a place of his.
#[derive(Debug)]
struct EnteredClient {
    client: Client,
    has_place: bool,
}

/// Why a request is refused, and how much its client has left.
#[derive(Debug)]
pub struct Refusal {
    /// Why.
    pub error: Error,
    /// What is left.
    pub standings: Vec<Standing>,
}

impl Limiter {
    /// The limits of the settings.
    #[must_use]
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Arc<Self> {
        let of_address = config.limits.of_address();
        let addresses = of_address.limit().then(|| Arc::new(LimitedAddresses::new(of_address)));
        let tenants = config.tenants.iter().map(|(name, tenant)| (name, config.limits.of_tenant(name, tenant)));
        let tenants = tenants.filter(|(_, limits)| limits.limit());
        let tenants: HashMap<_, _> =
            tenants.map(|(name, limits)| (name.clone(), Arc::new(LimitedTenant::new(name, limits)))).collect();
        let default = addresses.iter().map(|_| "default");
        tenants.keys().map(String::as_str).chain(default).for_each(|name| metrics.begin_limited(name));
        Arc::new(Self { began: Instant::now(), metrics, tenants, addresses })
    }

    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tenants.is_empty() && self.addresses.is_none()
    }

    /// Lets a request of a tenant (`default` for none) from an address in, before its body is read. There is no allowance where
    /// nothing is limited.
    ///
    /// # Errors
    /// A limit is reached. What was taken of the address's limit stays taken where it is the tenant's that is reached.
    pub fn admit(self: &Arc<Self>, tenant: &str, address: IpAddr) -> Result<Option<Allowance>, Refusal> {
        let addresses = self.addresses.as_ref().filter(|_| tenant == "default");
        let clients = [
            addresses.map(|addresses| addresses.client(address)),
            self.tenants.get(tenant).map(|tenant| Client::Tenant(Arc::clone(tenant))),
        ];
        self.admit_clients(clients)
    }

    /// Counts a request of somebody who showed nothing that opens anything, by his address: who guesses keys asks, too. No tenant's limit is
    /// drawn from, or guesses would use it up.
    ///
    /// # Errors
    /// The address's limit is reached.
    pub fn count_stranger(self: &Arc<Self>, address: IpAddr) -> Result<Vec<Standing>, Refusal> {
        let client = self.addresses.as_ref().map(|addresses| addresses.client(address));
        // The place in flight is free again at once: nothing runs.
        let allowance = self.admit_clients([client, None])?;
        Ok(allowance.map(|allowance| allowance.standings()).unwrap_or_default())
    }

    fn admit_clients(self: &Arc<Self>, clients: [Option<Client>; 2]) -> Result<Option<Allowance>, Refusal> {
        if clients.iter().all(Option::is_none) {
            return Ok(None);
        }
        let now = self.now();
        let mut entered: Clients = [None, None];
        for (client, entered) in clients.iter().zip(&mut entered) {
            let Some(client) = client else { continue };
            match enter(client, now) {
                Ok(place) => *entered = Some(place),
                Err(error) => {
                    self.count(client, &error);
                    return Err(Refusal { error, standings: standings(&clients, now) });
                }
            }
        }
        let has_place = entered.iter().flatten().any(|entered| entered.has_place);
        let places = has_place.then(|| Arc::new(entered));
        Ok(Some(Allowance { limiter: Arc::clone(self), clients, places }))
    }

    /// Counts a refusal.
    fn count(&self, client: &Client, error: &Error) {
        if let Error::RateLimited { setting, .. } = error {
            self.metrics.limited(client.tenant(), setting.rsplit('.').next().unwrap_or_default());
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Takes a place and a request of a client, whose debt in dollars must be paid.
fn enter(client: &Client, now: u64) -> Result<EnteredClient, Error> {
    // It is given back if what follows is refused.
    let place = EnteredClient { client: client.clone(), has_place: client.enter()? };
    client.take(Limited::Usd, 0.0, now)?;
    client.take(Limited::Requests, 1.0, now)?;
    Ok(place)
}

/// What is left of each limit, by the client that has less.
fn standings(clients: &[Option<Client>], now: u64) -> Vec<Standing> {
    let of = |limit| {
        let all = clients.iter().flatten().filter_map(|client| client.standing(limit, now));
        all.min_by(|a, b| (a.left / a.most).total_cmp(&(b.left / b.most)))
    };
    Limited::ALL.into_iter().filter_map(of).collect()
}

impl Allowance {
    /// Takes the pixels of an image, before it is decoded.
    ///
    /// # Errors
    /// A limit is reached.
    pub fn pixels(&self, pixels: u64) -> Result<(), Error> {
        let now = self.limiter.now();
        self.clients().try_for_each(|client| {
            let taken = client.take(Limited::Pixels, pixels as f64, now);
            taken.inspect_err(|error| self.limiter.count(client, error))
        })
    }

    /// Takes what the request has cost.
    pub fn spend(&self, usd: f64) {
        let now = self.limiter.now();
        self.clients().for_each(|client| client.charge(Limited::Usd, usd, now));
    }

    /// Whether the request has a place in flight that others wait for.
    #[must_use]
    pub fn has_place(&self) -> bool {
        self.places.is_some()
    }

    /// The same limits without the place: for what may live on for a moment when the answer is sent, while the client asks again.
    #[must_use]
    pub fn without_place(&self) -> Self {
        Self { places: None, ..self.clone() }
    }

    /// How much is left.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        standings(&self.clients, self.limiter.now())
    }

    fn clients(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter().flatten()
    }
}

impl Drop for EnteredClient {
    fn drop(&mut self) {
        if self.has_place {
            self.client.leave();
        }
    }
}
