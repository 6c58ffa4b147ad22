//! A spending budget in dollars an hour, kept as a token bucket.
//!
//! The bucket fills at the budget's rate and holds one minute of it. A request draws its cost when it has ended. When the
//! bucket is less than half full, the cheapest variant should answer; when it is empty, requests should be refused. So
//! over a longer time no more than the budget is spent, while short bursts are allowed. It has no clock: `now` is an
//! argument.

use std::time::{Duration, Instant};

/// Time whose budget the bucket holds when it is full.
const BURST: Duration = Duration::from_secs(60);

/// Share of a full bucket below which the state is [`BudgetState::Low`].
const LOW_BELOW: f64 = 0.5;

/// How much of a budget is left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BudgetState {
    /// There is enough left.
    Ok,
    /// Little is left, so the cheapest variant should answer.
    Low,
    /// Nothing is left. It holds the time until there is something again; none where the budget is zero.
    Exhausted(Option<Duration>),
}

/// A budget and what is left of it in dollars.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use ounce::cost::{Budget, BudgetState};
///
/// let now = Instant::now();
/// let mut budget = Budget::new(0.60, now); // 60 cents an hour are a cent a minute, which the full bucket holds
/// assert_eq!(budget.state(now), BudgetState::Ok);
/// budget.spend(0.02, now);
/// assert!(matches!(budget.state(now), BudgetState::Exhausted(Some(wait)) if wait > Duration::from_secs(60)));
/// assert_eq!(budget.state(now + Duration::from_secs(120)), BudgetState::Ok);
/// ```
#[derive(Debug, Clone)]
pub struct Budget {
    /// The budget in dollars an hour.
    pub usd_per_hour: f64,
    left_usd: f64,
    filled_at: Instant,
}

impl Budget {
    /// Makes a budget with a full bucket.
    #[must_use]
    pub fn new(usd_per_hour: f64, now: Instant) -> Self {
        Self { usd_per_hour, left_usd: usd_per_hour / 3600.0 * BURST.as_secs_f64(), filled_at: now }
    }

    /// Draws the cost of a request. What is left may become negative.
    pub fn spend(&mut self, usd: f64, now: Instant) {
        self.fill(now);
        self.left_usd -= usd;
    }

    /// Returns how much is left at `now`.
    pub fn state(&mut self, now: Instant) -> BudgetState {
        self.fill(now);
        if self.usd_per_hour <= 0.0 {
            BudgetState::Exhausted(None)
        } else if self.left_usd <= 0.0 {
            // One second more than until the bucket is above zero, so that what is there lasts for several requests.
            let seconds = -self.left_usd / self.usd_per_second() + 1.0;
            BudgetState::Exhausted(Duration::try_from_secs_f64(seconds).ok())
        } else if self.left_usd < self.full_usd() * LOW_BELOW {
            BudgetState::Low
        } else {
            BudgetState::Ok
        }
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.left_usd = (self.left_usd + passed * self.usd_per_second()).min(self.full_usd());
        self.filled_at = self.filled_at.max(now);
    }

    fn usd_per_second(&self) -> f64 {
        self.usd_per_hour / 3600.0
    }

    fn full_usd(&self) -> f64 {
        self.usd_per_second() * BURST.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_becomes_low_then_exhausted_and_fills_again() {
        let now = Instant::now();
        let mut budget = Budget::new(3600.0, now);
        assert_eq!(budget.state(now), BudgetState::Ok);
        budget.spend(31.0, now);
        assert_eq!(budget.state(now), BudgetState::Low);
        budget.spend(31.0, now);
        assert_eq!(budget.state(now), BudgetState::Exhausted(Some(Duration::from_secs(3))));
        assert_eq!(budget.state(now + Duration::from_secs(3)), BudgetState::Low);
        assert_eq!(Budget::new(0.0, now).state(now), BudgetState::Exhausted(None));
    }

    proptest! {
        /// A client that spends only when the budget is not exhausted spends at most the budget's rate, the full bucket,
        /// and one request more.
        #[test]
        fn nobody_spends_more_than_the_budget(costs in prop::collection::vec((0.0..3.0f64, 0u64..2_000), 1..200)) {
            let start = Instant::now();
            let (mut budget, mut now, mut spent) = (Budget::new(3600.0, start), start, 0.0);
            for (usd, later_ms) in costs {
                now += Duration::from_millis(later_ms);
                if !matches!(budget.state(now), BudgetState::Exhausted(_)) {
                    budget.spend(usd, now);
                    spent += usd;
                }
            }
            prop_assert!(spent <= 60.0 + (now - start).as_secs_f64() + 3.0);
        }
    }
}
