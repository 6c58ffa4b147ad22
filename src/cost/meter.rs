//! A request's meter: everything that works for the request charges its CPU and GPU time to it. The meter books the sum
//! in the [`Ledger`], whether the request is answered in the end or not.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{
    account::Account,
    ledger::Ledger,
    price::RequestCost,
    tenants::Tenant,
    time::{CpuTime, ResourceUsage},
};
use crate::limits::Allowance;

/// The account, model, variant and tenant that a meter's time is booked on.
#[derive(Debug, Clone)]
pub struct BillingInfo {
    /// The account of work that is answered. For requests that are not answered it is [`Account::Unanswered`].
    pub account: Account,
    /// Name of the model.
    pub model: Arc<str>,
    /// Name of the variant.
    pub variant: Arc<str>,
    /// The tenant that pays.
    pub tenant: Tenant,
    /// The limits that the price counts towards, where there are any.
    pub allowance: Option<Allowance>,
}

/// Counter of the CPU and GPU time of one request, shared by everything that works for it.
///
/// When the last reference is dropped, time that was not billed is booked as unanswered.
#[derive(Debug)]
pub struct Meter {
    ledger: Arc<Ledger>,
    info: BillingInfo,
    cpu_nanos: AtomicU64,
    gpu_nanos: AtomicU64,
}

impl Meter {
    /// Makes a meter that reads zero.
    #[must_use]
    pub fn new(ledger: &Arc<Ledger>, info: BillingInfo) -> Arc<Self> {
        Arc::new(Self { ledger: Arc::clone(ledger), info, cpu_nanos: AtomicU64::new(0), gpu_nanos: AtomicU64::new(0) })
    }

    /// Adds time that was used for the request.
    pub fn charge(&self, usage: ResourceUsage) {
        self.ledger.add_pending(usage);
        self.cpu_nanos.fetch_add(usage.cpu.nanos(), Ordering::Relaxed);
        self.gpu_nanos.fetch_add(usage.gpu.nanos(), Ordering::Relaxed);
    }

    /// Books the time so far as answered, sets the meter to zero, and returns the price.
    #[must_use]
    pub fn bill(&self) -> RequestCost {
        let usage = self.take();
        self.ledger.book(self.info.account, &self.info, usage);
        self.ledger.price(usage)
    }

    fn take(&self) -> ResourceUsage {
        let nanos = |counted: &AtomicU64| CpuTime::from_nanos(counted.swap(0, Ordering::Relaxed));
        ResourceUsage { cpu: nanos(&self.cpu_nanos), gpu: nanos(&self.gpu_nanos) }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let unbilled = self.take();
        if unbilled > ResourceUsage::default() {
            let account = if self.info.account == Account::Request { Account::Unanswered } else { self.info.account };
            self.ledger.book(account, &self.info, unbilled);
        }
    }
}
