//! What one request used, counted wherever something is done for it, whether it is answered in the end or not.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use super::{
    ledger::{Account, Ledger},
    price::RequestCost,
    tenants::Tenant,
    time::{CpuTime, Used},
};

/// Who is charged, and for what.
#[derive(Debug, Clone)]
pub struct Bill {
    /// The account of what is answered; what is not goes to [`Account::Unanswered`].
    pub account: Account,
    /// The model.
    pub model: Arc<str>,
    /// Its variant.
    pub variant: Arc<str>,
    /// Who pays.
    pub tenant: Tenant,
}

/// Counts for one request. Whoever works for it holds it; when the last one lets go, what was used and is not on an
/// answer's bill is booked all the same.
#[derive(Debug)]
pub struct Meter {
    ledger: Arc<Ledger>,
    bill: Bill,
    cpu_nanos: AtomicU64,
    gpu_nanos: AtomicU64,
}

impl Meter {
    /// Nothing used yet.
    #[must_use]
    pub fn new(ledger: &Arc<Ledger>, bill: Bill) -> Arc<Self> {
        Arc::new(Self { ledger: Arc::clone(ledger), bill, cpu_nanos: AtomicU64::new(0), gpu_nanos: AtomicU64::new(0) })
    }

    /// So much was used for it.
    pub fn charge(&self, used: Used) {
        self.ledger.pend(used);
        self.cpu_nanos.fetch_add(used.cpu.nanos(), Ordering::Relaxed);
        self.gpu_nanos.fetch_add(used.gpu.nanos(), Ordering::Relaxed);
    }

    /// It is answered: books what was used, and says what that costs.
    #[must_use]
    pub fn settle(&self) -> RequestCost {
        let used = self.take();
        self.ledger.book(self.bill.account, &self.bill, used);
        self.ledger.price(used)
    }

    fn take(&self) -> Used {
        let nanos = |counted: &AtomicU64| CpuTime::from_nanos(counted.swap(0, Ordering::Relaxed));
        Used { cpu: nanos(&self.cpu_nanos), gpu: nanos(&self.gpu_nanos) }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        let left = self.take();
        if left > Used::default() {
            let account = if self.bill.account == Account::Request { Account::Unanswered } else { self.bill.account };
            self.ledger.book(account, &self.bill, left);
        }
    }
}
