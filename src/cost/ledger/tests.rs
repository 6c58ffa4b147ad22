//! Tests of the sum of the accounts, with a clock that the test sets.

use super::*;
use crate::config::Layers;

/// A ledger at a dollar a second, with the clocks that it reads.
struct SimulatedLedger {
    ledger: Arc<Ledger>,
    metrics: Arc<Metrics>,
    process: Duration,
    now: Instant,
    loading: bool,
}

impl SimulatedLedger {
    fn new() -> Self {
        let variables = [("OUNCE_COST__USD_PER_HOUR".to_owned(), "3600".to_owned())];
        let config = Layers::defaults().and_then(|layers| layers.env(variables)).and_then(|layers| layers.build());
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        let ledger = Ledger::new(&config.expect("valid"), Arc::clone(&metrics));
        let now = ledger.books().began;
        Self { ledger, metrics, process: Duration::ZERO, now, loading: false }
    }

    /// Lets `wall` ms pass, in which the process uses `cpu` ms of CPU time and books some of these on an account.
    fn pass(&mut self, wall: u64, cpu: u64, booked: Option<(Account, u64)>) {
        self.now += Duration::from_millis(wall);
        self.process += Duration::from_millis(cpu);
        if let Some((account, millis)) = booked {
            let usage = ResourceUsage::from(CpuTime::from(Duration::from_millis(millis)));
            self.ledger.book_on(account, ["model", "variant", "tenant"], usage);
        }
        let books = self.ledger.books();
        let (booked, process) = (self.ledger.booked(), books.process_at_start + CpuTime::from(self.process));
        self.ledger.balance_at(books, BalanceInput { loading: self.loading, booked, process, now: self.now });
    }

    /// Dollars on all accounts, or on one.
    fn spent(&self, account: &str) -> f64 {
        let text = self.metrics.render();
        let lines = text.lines().filter(|line| line.starts_with("ounce_cost_usd_total{") && line.contains(account));
        lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    fn seconds(&self) -> f64 {
        (self.now - self.ledger.books().began).as_secs_f64()
    }
}

fn assert_same(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-9, "{a} is not {b}");
}

#[test]
fn all_accounts_are_the_price_times_the_time() {
    let mut simulated = SimulatedLedger::new();
    // Dollars for a CPU second.
    let per_cpu = 1.0 / simulated.ledger.cpus;
    simulated.pass(1000, 0, None);
    simulated.pass(100, 40, Some((Account::Request, 30)));
    simulated.pass(100, 20, Some((Account::Unanswered, 20)));
    simulated.pass(100, 25, Some((Account::Shadow, 5)));
    assert_same(simulated.spent(""), simulated.seconds());
    assert_same(simulated.spent("\"request\""), 0.030 * per_cpu);
    assert_same(simulated.spent("\"overhead\""), 0.030 * per_cpu);
    assert_same(simulated.spent("\"idle\""), simulated.seconds() - 0.085 * per_cpu);
}

#[test]
fn what_is_not_booked_yet_is_on_one_account_in_the_end() {
    let mut simulated = SimulatedLedger::new();
    // A run in progress looks like overhead until it is booked; later overhead then makes up for it.
    simulated.pass(100, 50, None);
    simulated.pass(100, 10, Some((Account::Request, 55)));
    simulated.pass(100, 60, None);
    assert_same(simulated.spent(""), simulated.seconds());
    // CPU time of a load does not count as overhead while the load goes on.
    simulated.loading = true;
    simulated.pass(100, 80, None);
    simulated.loading = false;
    simulated.pass(100, 10, Some((Account::Reload, 85)));
    assert_same(simulated.spent(""), simulated.seconds());
}
