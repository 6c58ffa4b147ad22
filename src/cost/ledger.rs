//! Where the money goes: accounts that together are the price of the replica times the time that passed.
//!
//! What was used for requests, for loading models and for shadow runs is booked when it was measured, by the threads
//! that worked. From time to time the system is asked what the whole process used: what of that is on no account is
//! `overhead` (sockets, JSON, the runtime), and what of its CPUs it did not use is `idle`. So if more is charged than the
//! whole process used, the sum comes out too large.

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    budget::{Budget, BudgetState},
    capacity::capacity_cpus,
    device::DeviceClock,
    energy::{Energy, Watts},
    meter::Bill,
    price::{PriceSheet, RequestCost},
    tenants::{Tenant, Tenants},
    time::{CpuTime, Used},
};
use crate::{
    config::{Config, Flavour, NonNegative},
    telemetry::metrics::{Gauges, Metrics},
};

/// What money is spent on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Account {
    /// Requests that were answered: the sum of the costs in the answers.
    Request,
    /// Requests that were not, in spite of work for them: bad pictures, late ones, clients that went away.
    Unanswered,
    /// Runs beside the requests, to compare variants.
    Shadow,
    /// Loading models before the first request.
    Warmup,
    /// Loading models while others answer.
    Reload,
    /// What the process used for none of these.
    Overhead,
    /// What it could have used and did not.
    Idle,
}

impl Account {
    /// As metrics label it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Unanswered => "unanswered",
            Self::Shadow => "shadow",
            Self::Warmup => "warmup",
            Self::Reload => "reload",
            Self::Overhead => "overhead",
            Self::Idle => "idle",
        }
    }
}

/// The rate of spending is that of so long.
const LATELY: Duration = Duration::from_secs(60);

/// How busy the CPUs are is that of so long.
const JUST_NOW: Duration = Duration::from_secs(2);

/// Of what was known then, no more is remembered than at moments so far apart.
const APART: Duration = Duration::from_millis(500);

/// All accounts of a server.
#[derive(Debug)]
pub struct Ledger {
    prices: PriceSheet,
    /// CPUs that are paid for.
    pub cpus: f64,
    usd_per_kwh: Option<NonNegative>,
    co2_g_per_kwh: Option<NonNegative>,
    /// Who pays.
    pub tenants: Tenants,
    metrics: Arc<Metrics>,
    booked_cpu_nanos: AtomicU64,
    booked_gpu_nanos: AtomicU64,
    /// The GPU's time.
    pub device: Arc<DeviceClock>,
    // What meters have counted and not booked yet: no overhead either.
    pending_cpu_nanos: AtomicU64,
    // Loads that go on, and are booked when they have ended; till then they are no overhead.
    loading: AtomicUsize,
    books: Mutex<Books>,
    // Locked apart: the system takes its time to answer.
    energy: Mutex<Energy>,
    // None where nobody has a budget.
    budgets: Option<Mutex<Budgets>>,
}

#[derive(Debug)]
struct Books {
    began: Instant,
    process_then: CpuTime,
    request_usd: f64,
    // What the metrics were told, which count upwards only.
    overhead: Used,
    idle: Used,
    // What was known at moments of the last minute, oldest first.
    history: VecDeque<Then>,
    watts: Option<Watts>,
}

/// What was true when the books were balanced.
#[derive(Debug, Clone, Copy)]
struct Moment {
    /// Whether models were being loaded.
    loading: bool,
    /// What was on accounts.
    booked: Used,
    /// What the process had used since it began.
    process: CpuTime,
    now: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Then {
    at: Instant,
    request_usd: f64,
    process: CpuTime,
}

#[derive(Debug)]
struct Budgets {
    replica: Option<Budget>,
    // By the tenants' places.
    tenants: Vec<Option<Budget>>,
}

/// A budget that leaves nothing to spend.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetExceeded {
    /// The tenant's name; none for the whole replica's.
    pub tenant: Option<String>,
    /// The budget.
    pub usd_per_hour: f64,
    /// When there will be something again.
    pub retry_after: Option<Duration>,
}

impl Ledger {
    /// Open accounts.
    #[must_use]
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Arc<Self> {
        let (now, cpus) = (Instant::now(), capacity_cpus());
        let prices = PriceSheet::new(&config.cost, cpus);
        let tenants = Tenants::new(config);
        let budget = |usd: Option<NonNegative>| Some(Budget::new(usd?.get(), now));
        let theirs = |name: &String| budget(config.tenants.get(name).and_then(|tenant| tenant.budget_usd_per_hour));
        let budgets = Budgets {
            replica: budget(config.cost.budget_usd_per_hour),
            tenants: tenants.names().iter().map(theirs).collect(),
        };
        let limited = budgets.replica.iter().chain(budgets.tenants.iter().flatten()).next().is_some();
        Arc::new(Self {
            prices,
            cpus,
            usd_per_kwh: config.cost.usd_per_kwh,
            co2_g_per_kwh: config.cost.co2_g_per_kwh,
            metrics,
            booked_cpu_nanos: AtomicU64::new(0),
            booked_gpu_nanos: AtomicU64::new(0),
            device: Arc::default(),
            pending_cpu_nanos: AtomicU64::new(0),
            loading: AtomicUsize::new(0),
            energy: Mutex::new(Energy::new(config.runtime.flavour == Flavour::Gpu, now)),
            books: Mutex::new(Books {
                began: now,
                process_then: CpuTime::of_this_process(),
                request_usd: 0.0,
                overhead: Used::default(),
                idle: Used::default(),
                history: VecDeque::new(),
                watts: None,
            }),
            budgets: limited.then(|| Mutex::new(budgets)),
            tenants,
        })
    }

    /// Dollars for what was used.
    #[must_use]
    pub fn usd(&self, used: Used) -> f64 {
        self.prices.usd(used)
    }

    /// What that costs.
    pub(super) fn price(&self, used: Used) -> RequestCost {
        self.prices.price(used, self.books().watts)
    }

    /// A meter has counted so much, which it will book.
    pub(super) fn pend(&self, used: Used) {
        self.pending_cpu_nanos.fetch_add(used.cpu.nanos(), Ordering::Relaxed);
    }

    /// Books what was used for a request or a shadow run, and was pending.
    pub(super) fn book(&self, account: Account, bill: &Bill, used: Used) {
        let tenant = self.tenants.name(bill.tenant);
        let usd = self.book_on(account, [&bill.model, &bill.variant, tenant], used);
        self.pending_cpu_nanos.fetch_sub(used.cpu.nanos(), Ordering::Relaxed);
        if matches!(account, Account::Request | Account::Unanswered) {
            self.books().request_usd += usd;
            let Some(mut budgets) = self.budgets() else { return };
            let (Budgets { replica, tenants }, now) = (&mut *budgets, Instant::now());
            let theirs = tenants.get_mut(bill.tenant.place()).and_then(Option::as_mut);
            replica.iter_mut().chain(theirs).for_each(|budget| budget.spend(usd, now));
        }
    }

    /// Models are loaded until what comes back is dropped: the thread that drops it did it.
    #[must_use]
    pub fn loading<'a>(&'a self, account: Account, model: &'a str) -> Loading<'a> {
        self.loading.fetch_add(1, Ordering::SeqCst);
        Loading { ledger: self, account, model, began: CpuTime::of_this_thread() }
    }

    fn book_on(&self, account: Account, labels: [&str; 3], used: Used) -> f64 {
        let usd = self.usd(used);
        self.booked_cpu_nanos.fetch_add(used.cpu.nanos(), Ordering::Relaxed);
        self.booked_gpu_nanos.fetch_add(used.gpu.nanos(), Ordering::Relaxed);
        self.metrics.spent(account.name(), labels, usd);
        usd
    }

    fn booked(&self) -> Used {
        let nanos = |booked: &AtomicU64| CpuTime::from_nanos(booked.load(Ordering::Relaxed));
        Used { cpu: nanos(&self.booked_cpu_nanos), gpu: nanos(&self.booked_gpu_nanos) }
    }

    /// Asks the system what the process used, and books overhead and idle time. To be called every second or so.
    pub fn balance(&self) {
        let books = self.books();
        let loading = self.loading.load(Ordering::SeqCst) > 0;
        // In this order, so that nothing is booked that is not in the process's time.
        let (booked, process, now) = (self.booked(), CpuTime::of_this_process(), Instant::now());
        self.balance_at(books, Moment { loading, booked, process, now });
    }

    /// As [`Ledger::balance`], with what was true at a moment.
    fn balance_at(&self, mut books: MutexGuard<'_, Books>, moment: Moment) {
        let Moment { loading, booked, process, now } = moment;
        let (process, wall) = (process - books.process_then, now - books.began);
        let cpus = CpuTime::from(wall.mul_f64(self.cpus));
        let pending = CpuTime::from_nanos(self.pending_cpu_nanos.load(Ordering::Relaxed));
        let overhead = Used::from(process - booked.cpu - pending);
        let idle = Used { cpu: cpus - process, gpu: CpuTime::from(wall) - booked.gpu };
        // A run that goes on is overhead until it is counted, and is then overhead no more: counters wait for that.
        let more = |told: &mut Used, now: Used| {
            let more = now - *told;
            *told += more;
            self.usd(more)
        };
        let overhead_usd = if loading { 0.0 } else { more(&mut books.overhead, overhead) };
        let idle_usd = more(&mut books.idle, idle);
        self.metrics.spent(Account::Overhead.name(), ["", "", ""], overhead_usd);
        self.metrics.spent(Account::Idle.name(), ["", "", ""], idle_usd);

        let request_usd = books.request_usd;
        if books.history.back().is_none_or(|then| now - then.at >= APART) {
            books.history.push_back(Then { at: now, request_usd, process });
        }
        while books.history.len() > 2 && books.history.get(1).is_some_and(|then| now - then.at >= LATELY) {
            books.history.pop_front();
        }
        drop(books);
        let (drawn, watts) = self.energy.lock().unwrap_or_else(PoisonError::into_inner).look(now);
        if watts.is_some() {
            self.books().watts = watts;
        }
        for (source, joules) in [("cpu", drawn.cpu_joules), ("gpu", drawn.gpu_joules)] {
            let Some(joules) = joules else { continue };
            let kwh = joules / 3.6e6;
            let times = |factor: Option<NonNegative>| factor.map(|factor| factor.get() * kwh);
            self.metrics.energy(source, joules, times(self.usd_per_kwh), times(self.co2_g_per_kwh));
        }
    }

    /// The part of its CPUs that the process used in the last seconds, 0 to 1 and a little.
    #[must_use]
    pub fn busy(&self) -> f64 {
        self.books().busy(self.cpus)
    }

    /// The CPU time of the process, what of it is counted for somebody, and whether models are being loaded.
    #[must_use]
    pub fn counted(&self) -> (CpuTime, CpuTime, bool) {
        let pending = CpuTime::from_nanos(self.pending_cpu_nanos.load(Ordering::Relaxed));
        let loading = self.loading.load(Ordering::SeqCst) > 0;
        (CpuTime::of_this_process(), self.booked().cpu + pending, loading)
    }

    /// What a tenant's requests may still cost, by its budget and by the replica's.
    ///
    /// # Errors
    /// With the budget that leaves nothing.
    pub fn means(&self, tenant: Tenant) -> Result<BudgetState, BudgetExceeded> {
        let Some(mut budgets) = self.budgets() else { return Ok(BudgetState::Plenty) };
        let (Budgets { replica, tenants }, now) = (&mut *budgets, Instant::now());
        let theirs = tenants.get_mut(tenant.place()).and_then(Option::as_mut);
        let theirs = theirs.map(|budget| (Some(self.tenants.name(tenant)), budget));
        let mut means = BudgetState::Plenty;
        for (whose, budget) in replica.iter_mut().map(|budget| (None, budget)).chain(theirs) {
            match budget.means(now) {
                BudgetState::Nothing(retry_after) => {
                    let (tenant, usd_per_hour) = (whose.map(ToOwned::to_owned), budget.usd_per_hour);
                    return Err(BudgetExceeded { tenant, usd_per_hour, retry_after });
                }
                BudgetState::Little => means = BudgetState::Little,
                BudgetState::Plenty => {}
            }
        }
        Ok(means)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// None where nobody has a budget.
    fn budgets(&self) -> Option<MutexGuard<'_, Budgets>> {
        self.budgets.as_ref().map(|budgets| budgets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shows the price, the budgets and the rate of spending. [`Ledger::balance`] brings them up to date.
    pub fn read(&self, gauges: &Gauges) {
        gauges.price(self.prices.usd_per_hour, self.cpus);
        if let Some(budgets) = self.budgets() {
            budgets.replica.iter().for_each(|budget| gauges.budget("", budget.usd_per_hour));
            for (name, budget) in self.tenants.names().iter().zip(&budgets.tenants) {
                budget.iter().for_each(|budget| gauges.budget(name, budget.usd_per_hour));
            }
        }
        let books = self.books();
        gauges.spending(books.usd_per_hour(), 1.0 - books.busy(self.cpus));
    }
}

/// Models are being loaded, by this thread.
#[derive(Debug)]
pub struct Loading<'a> {
    ledger: &'a Ledger,
    account: Account,
    model: &'a str,
    began: CpuTime,
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        let used = match self.account {
            // Before the first request all that the process does is to start.
            Account::Warmup => CpuTime::of_this_process() - self.ledger.books().process_then - self.ledger.booked().cpu,
            _ => CpuTime::since(self.began),
        };
        self.ledger.book_on(self.account, [self.model, "", ""], used.into());
        self.ledger.loading.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Books {
    /// What requests cost an hour, at the rate of the last minute.
    fn usd_per_hour(&self) -> f64 {
        let (Some(then), Some(now)) = (self.history.front(), self.history.back()) else { return 0.0 };
        let hours = (now.at - then.at).as_secs_f64() / 3600.0;
        if hours > 0.0 { (now.request_usd - then.request_usd) / hours } else { 0.0 }
    }

    fn busy(&self, cpus: f64) -> f64 {
        let Some(now) = self.history.back() else { return 0.0 };
        let before = self.history.iter().rev().find(|then| now.at - then.at >= JUST_NOW).or(self.history.front());
        let Some(then) = before else { return 0.0 };
        let passed = (now.at - then.at).as_secs_f64();
        if passed > 0.0 { (now.process - then.process).seconds() / passed / cpus } else { 0.0 }
    }
}
