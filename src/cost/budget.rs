//! A budget: so many dollars an hour, which requests may spend evenly.
//!
//! It is a bucket that fills at the budget's rate and holds a minute of it. Requests draw what they cost once they have
//! ended; near the bottom the cheapest variant answers, below it nobody does. So over any longer time no more is spent
//! than the budget, and a short burst is none of its business. Pure: `now` is an argument.

use std::time::{Duration, Instant};

/// How much of a budget may be saved up.
const SAVED: Duration = Duration::from_secs(60);

/// Below this part of a full bucket it is time to save.
const SAVE_BELOW: f64 = 0.5;

/// What may still be spent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum BudgetState {
    /// Enough.
    Plenty,
    /// Little: answer as cheaply as can be.
    Little,
    /// Nothing, for so long; for ever where the budget is zero.
    Nothing(Option<Duration>),
}

/// A budget and what is left of it.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use ounce::cost::{Budget, BudgetState};
///
/// let now = Instant::now();
/// let mut budget = Budget::new(0.60, now); // dollars an hour: a cent a minute, and a minute's worth can be saved up
/// assert_eq!(budget.means(now), BudgetState::Plenty);
/// budget.spend(0.02, now);
/// assert!(matches!(budget.means(now), BudgetState::Nothing(Some(wait)) if wait > Duration::from_secs(60)));
/// assert_eq!(budget.means(now + Duration::from_secs(120)), BudgetState::Plenty);
/// ```
#[derive(Debug, Clone)]
pub struct Budget {
    /// Dollars an hour.
    pub usd_per_hour: f64,
    left_usd: f64,
    filled_at: Instant,
}

impl Budget {
    /// A full one.
    #[must_use]
    pub fn new(usd_per_hour: f64, now: Instant) -> Self {
        Self { usd_per_hour, left_usd: usd_per_hour / 3600.0 * SAVED.as_secs_f64(), filled_at: now }
    }

    /// Draws what a request cost, though there may be less.
    pub fn spend(&mut self, usd: f64, now: Instant) {
        self.fill(now);
        self.left_usd -= usd;
    }

    /// What may be spent now.
    pub fn means(&mut self, now: Instant) -> BudgetState {
        self.fill(now);
        if self.usd_per_hour <= 0.0 {
            BudgetState::Nothing(None)
        } else if self.left_usd <= 0.0 {
            // Until there is something again, and a second's worth more, so that it lasts for more than one request.
            let seconds = -self.left_usd / self.usd_per_second() + 1.0;
            BudgetState::Nothing(Duration::try_from_secs_f64(seconds).ok())
        } else if self.left_usd < self.full_usd() * SAVE_BELOW {
            BudgetState::Little
        } else {
            BudgetState::Plenty
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
        self.usd_per_second() * SAVED.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn first_it_saves_then_it_stops_then_there_is_something_again() {
        let now = Instant::now();
        let mut budget = Budget::new(3600.0, now);
        assert_eq!(budget.means(now), BudgetState::Plenty);
        budget.spend(31.0, now);
        assert_eq!(budget.means(now), BudgetState::Little);
        budget.spend(31.0, now);
        assert_eq!(budget.means(now), BudgetState::Nothing(Some(Duration::from_secs(3))));
        assert_eq!(budget.means(now + Duration::from_secs(3)), BudgetState::Little);
        assert_eq!(Budget::new(0.0, now).means(now), BudgetState::Nothing(None));
    }

    proptest! {
        /// Whoever asks first and spends only when there is something, spends the budget's rate, what was saved, and
        /// one request more at most.
        #[test]
        fn nobody_spends_more_than_the_budget(costs in prop::collection::vec((0.0..3.0f64, 0u64..2_000), 1..200)) {
            let start = Instant::now();
            let (mut budget, mut now, mut spent) = (Budget::new(3600.0, start), start, 0.0);
            for (usd, later_ms) in costs {
                now += Duration::from_millis(later_ms);
                if !matches!(budget.means(now), BudgetState::Nothing(_)) {
                    budget.spend(usd, now);
                    spent += usd;
                }
            }
            prop_assert!(spent <= 60.0 + (now - start).as_secs_f64() + 3.0);
        }
    }
}
