//! The ledger: accounts whose sum is the price of the replica times the time that has passed.
//!
//! The threads that work for requests, model loading and shadow runs measure their time, and it is booked at once.
//! [`Ledger::balance`] asks the system once a second how much CPU time the whole process used. What of that is on no
//! account is `overhead` (sockets, JSON, the runtime), and CPU time that the process did not use is `idle`. So if more is
//! charged than the process used, the sum comes out too large, and a test notices.

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    account::Account,
    budget::{Budget, BudgetState},
    cpu_quota::capacity_cpus,
    device::DeviceClock,
    energy::{EnergyMeter, Watts},
    meter::BillingInfo,
    price::{PriceSheet, RequestCost},
    tenants::{Tenant, Tenants},
    time::{CpuTime, ResourceUsage},
};
use crate::{
    config::{Config, Flavour, NonNegative},
    telemetry::metrics::{Gauges, Metrics},
};

/// Time over which the rate of spending is measured.
const SPENDING_WINDOW: Duration = Duration::from_secs(60);

/// Time over which the CPU utilization is measured.
const UTILIZATION_WINDOW: Duration = Duration::from_secs(2);

/// Least time between two samples of the history.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(500);

/// All accounts of a server.
#[derive(Debug)]
pub struct Ledger {
    prices: PriceSheet,
    /// Number of CPUs that are paid for.
    pub cpus: f64,
    usd_per_kwh: Option<NonNegative>,
    co2_g_per_kwh: Option<NonNegative>,
    /// The tenants that pay.
    pub tenants: Tenants,
    metrics: Arc<Metrics>,
    booked_cpu_nanos: AtomicU64,
    booked_gpu_nanos: AtomicU64,
    /// Clock that divides the GPU's time among the runs on it.
    pub device: Arc<DeviceClock>,
    // Time that meters have counted but not booked yet. It is not overhead.
    pending_cpu_nanos: AtomicU64,
    // Number of model loads in progress. Each is booked when it ends and must not count as overhead until then.
    loading: AtomicUsize,
    /// What requests have cost so far, as the bits of an `f64`: added to without a lock.
    request_usd_bits: AtomicU64,
    /// Whether the machine tells what energy it draws.
    energy_known: AtomicBool,
    books: Mutex<Books>,
    // Has a lock of its own, since the counters may be slow to read.
    energy: Mutex<EnergyMeter>,
    // None where neither the replica nor a tenant has a budget.
    budgets: Option<Mutex<Budgets>>,
}

#[derive(Debug)]
struct Books {
    began: Instant,
    // CPU time of the process when the ledger was opened.
    process_at_start: CpuTime,
    // Overhead and idle time that are in the metrics already. The metrics are counters, so they only go up.
    overhead: ResourceUsage,
    idle: ResourceUsage,
    // Samples of the last minute, oldest first.
    history: VecDeque<UsageSample>,
    watts: Option<Watts>,
}

/// State of the clocks and accounts at a moment, from which the books are balanced.
#[derive(Debug, Clone, Copy)]
struct BalanceInput {
    /// Whether models are being loaded.
    loading: bool,
    /// Time that is booked on accounts.
    booked: ResourceUsage,
    /// CPU time of the process since it began.
    process: CpuTime,
    now: Instant,
}

#[derive(Debug, Clone, Copy)]
struct UsageSample {
    at: Instant,
    request_usd: f64,
    process: CpuTime,
}

#[derive(Debug)]
struct Budgets {
    replica: Option<Budget>,
    // By the tenants' indices.
    tenants: Vec<Option<Budget>>,
}

/// The error of a request whose budget has nothing left.
#[derive(Debug, Clone, PartialEq)]
pub struct BudgetExceeded {
    /// Name of the tenant whose budget it is; none for the budget of the whole replica.
    pub tenant: Option<String>,
    /// The budget in dollars an hour.
    pub usd_per_hour: f64,
    /// Time until there is something to spend again; none where the budget is zero.
    pub retry_after: Option<Duration>,
}

impl Ledger {
    /// Opens the accounts.
    #[must_use]
    pub fn new(config: &Config, metrics: Arc<Metrics>) -> Arc<Self> {
        let (now, cpus) = (Instant::now(), capacity_cpus());
        let prices = PriceSheet::new(&config.cost, cpus);
        let tenants = Tenants::new(config);
        let budget = |usd: Option<NonNegative>| Some(Budget::new(usd?.get(), now));
        let tenant_budget =
            |name: &String| budget(config.tenants.get(name).and_then(|tenant| tenant.budget_usd_per_hour));
        let budgets = Budgets {
            replica: budget(config.cost.budget_usd_per_hour),
            tenants: tenants.names().iter().map(tenant_budget).collect(),
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
            energy: Mutex::new(EnergyMeter::new(config.runtime.flavour == Flavour::Gpu, now)),
            request_usd_bits: AtomicU64::new(0f64.to_bits()),
            energy_known: AtomicBool::new(false),
            books: Mutex::new(Books {
                began: now,
                process_at_start: CpuTime::of_this_process(),
                overhead: ResourceUsage::default(),
                idle: ResourceUsage::default(),
                history: VecDeque::new(),
                watts: None,
            }),
            budgets: limited.then(|| Mutex::new(budgets)),
            tenants,
        })
    }

    /// The price in dollars of the time that was used.
    #[must_use]
    pub fn usd(&self, usage: ResourceUsage) -> f64 {
        self.prices.usd(usage)
    }

    /// The price and the energy of the time that was used.
    pub(super) fn price(&self, usage: ResourceUsage) -> RequestCost {
        let known = self.energy_known.load(Ordering::Relaxed);
        self.prices.price(usage, if known { self.books().watts } else { None })
    }

    /// Notes time that a meter has counted and will book later.
    pub(super) fn add_pending(&self, usage: ResourceUsage) {
        self.pending_cpu_nanos.fetch_add(usage.cpu.nanos(), Ordering::Relaxed);
    }

    /// Books pending time of a request or a shadow run on `account`, and draws its price from the budgets.
    pub(super) fn book(&self, account: Account, info: &BillingInfo, usage: ResourceUsage) {
        let tenant = self.tenants.name(info.tenant);
        let usd = self.book_on(account, [&info.model, &info.variant, tenant], usage);
        self.pending_cpu_nanos.fetch_sub(usage.cpu.nanos(), Ordering::Relaxed);
        if matches!(account, Account::Request | Account::Unanswered) {
            let add = |bits| Some((f64::from_bits(bits) + usd).to_bits());
            // It always adds, so it never fails.
            let _ = self.request_usd_bits.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
            if let Some(allowance) = &info.allowance {
                allowance.spend(usd);
            }
            let Some(mut budgets) = self.budgets() else { return };
            let (Budgets { replica, tenants }, now) = (&mut *budgets, Instant::now());
            let tenant_budget = tenants.get_mut(info.tenant.index()).and_then(Option::as_mut);
            replica.iter_mut().chain(tenant_budget).for_each(|budget| budget.spend(usd, now));
        }
    }

    /// Starts to measure a model load by this thread, which is booked on `account` when the guard is dropped.
    #[must_use]
    pub fn track_loading<'a>(&'a self, account: Account, model: &'a str) -> LoadingGuard<'a> {
        self.loading.fetch_add(1, Ordering::SeqCst);
        LoadingGuard { ledger: self, account, model, began: CpuTime::of_this_thread(), elsewhere: CpuTime::default() }
    }

    /// Books time with the labels model, variant and tenant, and returns its price in dollars.
    fn book_on(&self, account: Account, labels: [&str; 3], usage: ResourceUsage) -> f64 {
        let usd = self.usd(usage);
        self.booked_cpu_nanos.fetch_add(usage.cpu.nanos(), Ordering::Relaxed);
        self.booked_gpu_nanos.fetch_add(usage.gpu.nanos(), Ordering::Relaxed);
        self.metrics.spent(account.name(), labels, usd);
        usd
    }

    fn booked(&self) -> ResourceUsage {
        let nanos = |booked: &AtomicU64| CpuTime::from_nanos(booked.load(Ordering::Relaxed));
        ResourceUsage { cpu: nanos(&self.booked_cpu_nanos), gpu: nanos(&self.booked_gpu_nanos) }
    }

    /// Books overhead and idle time, from the CPU time that the process used so far. It has to be called once a second.
    pub fn balance(&self) {
        let books = self.books();
        let loading = self.loading.load(Ordering::SeqCst) > 0;
        // The process's CPU time is read after what is booked, so that it includes everything that is booked.
        let (booked, process, now) = (self.booked(), CpuTime::of_this_process(), Instant::now());
        self.balance_at(books, BalanceInput { loading, booked, process, now });
    }

    /// Balances the books for the given state, so that a test can set it.
    fn balance_at(&self, mut books: MutexGuard<'_, Books>, input: BalanceInput) {
        let BalanceInput { loading, booked, process, now } = input;
        let (process, wall) = (process - books.process_at_start, now - books.began);
        let cpus = CpuTime::from(wall.mul_f64(self.cpus));
        let pending = CpuTime::from_nanos(self.pending_cpu_nanos.load(Ordering::Relaxed));
        let overhead = ResourceUsage::from(process - booked.cpu - pending);
        let idle = ResourceUsage { cpu: cpus - process, gpu: CpuTime::from(wall) - booked.gpu };
        // A run in progress looks like overhead until it is charged. So the overhead may fall, and the counter then
        // stays until the overhead exceeds what was published.
        let increase = |published: &mut ResourceUsage, current: ResourceUsage| {
            let increase = current - *published;
            *published += increase;
            self.usd(increase)
        };
        let overhead_usd = if loading { 0.0 } else { increase(&mut books.overhead, overhead) };
        let idle_usd = increase(&mut books.idle, idle);
        self.metrics.spent(Account::Overhead.name(), ["", "", ""], overhead_usd);
        self.metrics.spent(Account::Idle.name(), ["", "", ""], idle_usd);

        let request_usd = f64::from_bits(self.request_usd_bits.load(Ordering::Relaxed));
        if books.history.back().is_none_or(|last| now - last.at >= SAMPLE_INTERVAL) {
            books.history.push_back(UsageSample { at: now, request_usd, process });
        }
        while books.history.len() > 2 && books.history.get(1).is_some_and(|second| now - second.at >= SPENDING_WINDOW) {
            books.history.pop_front();
        }
        drop(books);
        let (drawn, watts) = self.energy.lock().unwrap_or_else(PoisonError::into_inner).sample(now);
        if watts.is_some() {
            self.books().watts = watts;
            self.energy_known.store(true, Ordering::Relaxed);
        }
        for (source, joules) in [("cpu", drawn.cpu_joules), ("gpu", drawn.gpu_joules)] {
            let Some(joules) = joules else { continue };
            let kwh = joules / 3.6e6;
            let times = |factor: Option<NonNegative>| factor.map(|factor| factor.get() * kwh);
            self.metrics.energy(source, joules, times(self.usd_per_kwh), times(self.co2_g_per_kwh));
        }
    }

    /// Share of its CPUs that the process used in the last two seconds, from 0 to 1 (or slightly more).
    #[must_use]
    pub fn cpu_utilization(&self) -> f64 {
        self.books().cpu_utilization(self.cpus)
    }

    /// CPU time of the process so far, and how much of it is charged.
    #[must_use]
    pub fn process_usage(&self) -> ProcessUsage {
        let pending = CpuTime::from_nanos(self.pending_cpu_nanos.load(Ordering::Relaxed));
        let loading = self.loading.load(Ordering::SeqCst) > 0;
        ProcessUsage { process: CpuTime::of_this_process(), charged: self.booked().cpu + pending, loading }
    }

    /// State of the budgets that a tenant's request draws from: its own and the replica's, whichever has less left.
    ///
    /// # Errors
    /// A budget is exhausted.
    pub fn budget_state(&self, tenant: Tenant) -> Result<BudgetState, BudgetExceeded> {
        let Some(mut budgets) = self.budgets() else { return Ok(BudgetState::Ok) };
        let (Budgets { replica, tenants }, now) = (&mut *budgets, Instant::now());
        let tenant_budget = tenants.get_mut(tenant.index()).and_then(Option::as_mut);
        let tenant_budget = tenant_budget.map(|budget| (Some(self.tenants.name(tenant)), budget));
        let mut state = BudgetState::Ok;
        for (owner, budget) in replica.iter_mut().map(|budget| (None, budget)).chain(tenant_budget) {
            match budget.state(now) {
                BudgetState::Exhausted(retry_after) => {
                    let (tenant, usd_per_hour) = (owner.map(ToOwned::to_owned), budget.usd_per_hour);
                    return Err(BudgetExceeded { tenant, usd_per_hour, retry_after });
                }
                BudgetState::Low => state = BudgetState::Low,
                BudgetState::Ok => {}
            }
        }
        Ok(state)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The budgets; none where neither the replica nor a tenant has one.
    fn budgets(&self) -> Option<MutexGuard<'_, Budgets>> {
        self.budgets.as_ref().map(|budgets| budgets.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets the gauges of the price, the budgets and the rate of spending. [`Ledger::balance`] keeps these up to date.
    pub fn read(&self, gauges: &Gauges) {
        gauges.price(self.prices.usd_per_hour, self.cpus);
        if let Some(budgets) = self.budgets() {
            budgets.replica.iter().for_each(|budget| gauges.budget("", budget.usd_per_hour));
            for (name, budget) in self.tenants.names().iter().zip(&budgets.tenants) {
                budget.iter().for_each(|budget| gauges.budget(name, budget.usd_per_hour));
            }
        }
        let books = self.books();
        gauges.spending(books.usd_per_hour(), 1.0 - books.cpu_utilization(self.cpus));
    }
}

/// CPU time of the process, and how much of it is charged to requests and loads.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessUsage {
    /// CPU time of the whole process since its start.
    pub process: CpuTime,
    /// CPU time that is booked, or counted by a meter.
    pub charged: CpuTime,
    /// Whether a model is being loaded, whose CPU time is charged only when it ends.
    pub loading: bool,
}

/// Measures a model load by this thread, and books it when it is dropped.
#[derive(Debug)]
pub struct LoadingGuard<'a> {
    ledger: &'a Ledger,
    account: Account,
    model: &'a str,
    began: CpuTime,
    elsewhere: CpuTime,
}

impl LoadingGuard<'_> {
    /// Adds what another thread has used for this load.
    pub fn add(&mut self, cpu: CpuTime) {
        self.elsewhere += cpu;
    }
}

impl Drop for LoadingGuard<'_> {
    fn drop(&mut self) {
        let used = match self.account {
            // Before the first request, everything that the process does belongs to the start.
            Account::Warmup => {
                CpuTime::of_this_process() - self.ledger.books().process_at_start - self.ledger.booked().cpu
            }
            _ => CpuTime::of_this_thread_since(self.began) + self.elsewhere,
        };
        self.ledger.book_on(self.account, [self.model, "", ""], used.into());
        self.ledger.loading.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Books {
    /// Rate in dollars an hour at which requests spent in the last minute.
    fn usd_per_hour(&self) -> f64 {
        let (Some(first), Some(last)) = (self.history.front(), self.history.back()) else { return 0.0 };
        let hours = (last.at - first.at).as_secs_f64() / 3600.0;
        if hours > 0.0 { (last.request_usd - first.request_usd) / hours } else { 0.0 }
    }

    fn cpu_utilization(&self, cpus: f64) -> f64 {
        let Some(last) = self.history.back() else { return 0.0 };
        let before = self.history.iter().rev().find(|sample| last.at - sample.at >= UTILIZATION_WINDOW);
        let Some(first) = before.or(self.history.front()) else { return 0.0 };
        let passed = (last.at - first.at).as_secs_f64();
        if passed > 0.0 { (last.process - first.process).seconds() / passed / cpus } else { 0.0 }
    }
}
