//! How fast something may be used: the generic cell rate algorithm (GCRA), which is a bucket that holds a burst and fills at the rate.
//!
//! All that is kept of a bucket is one number, the time at which it is full again. A use moves that time by as long as the bucket
//! needs to make up for it. It has no clock: `now` is an argument, in nanoseconds since some beginning.

use std::time::Duration;

/// A rate, and how much may be used at once.
///
/// ```
/// use ounce::limits::Quota;
///
/// let second = 1_000_000_000;
/// let quota = Quota::new(2.0, 1.0, 1.0); // two a second, and two at once
/// let once = quota.take(0, 1.0, 0).expect("the bucket is full");
/// let twice = quota.take(once, 1.0, 0).expect("and has one left");
/// assert_eq!(quota.take(twice, 1.0, 0).unwrap_err().as_millis(), 500);
/// assert!(quota.take(twice, 1.0, second / 2).is_ok());
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quota {
    per_second: f64,
    /// What a full bucket holds.
    burst: f64,
    /// What has to be in the bucket for a use to be allowed.
    needed: f64,
}

impl Quota {
    /// So many a second, and so many seconds' worth at once, but at least `needed`, which is what has to be left for a use.
    ///
    /// A use may cost more than what has to be left. Then it leaves a debt, and the next waits until that is made up for.
    #[must_use]
    pub fn new(per_second: f64, burst_seconds: f64, needed: f64) -> Self {
        Self { per_second, burst: (per_second * burst_seconds).max(needed), needed }
    }

    /// The rate.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.per_second
    }

    /// What a full bucket holds.
    #[must_use]
    pub fn burst(&self) -> f64 {
        self.burst
    }

    /// How long an empty bucket takes to be full.
    #[must_use]
    pub fn window(&self) -> Duration {
        Duration::from_nanos(self.nanos(self.burst))
    }

    /// Says when a bucket is full again if `cost` is taken from it.
    ///
    /// # Errors
    /// There is too little in it; the error is the time until there is enough.
    pub fn take(&self, full_at: u64, cost: f64, now: u64) -> Result<u64, Duration> {
        let most = self.nanos(self.burst).saturating_sub(self.nanos(self.needed));
        match full_at.saturating_sub(now).checked_sub(most).filter(|wait| *wait > 0) {
            Some(wait) => Err(Duration::from_nanos(wait)),
            None => Ok(self.charge(full_at, cost, now)),
        }
    }

    /// Says when a bucket is full again if `cost` is taken from it, however little it holds.
    #[must_use]
    pub fn charge(&self, full_at: u64, cost: f64, now: u64) -> u64 {
        full_at.max(now).saturating_add(self.nanos(cost))
    }

    /// What is left in a bucket; 0 where it has a debt.
    #[must_use]
    pub fn left(&self, full_at: u64, now: u64) -> f64 {
        let missing = full_at.saturating_sub(now) as f64 / 1e9 * self.per_second;
        (self.burst - missing).max(0.0)
    }

    /// The time in which so much flows in, rounded up so that nobody gets more than the rate.
    fn nanos(&self, amount: f64) -> u64 {
        (amount / self.per_second * 1e9).ceil() as u64
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_then_the_rate() {
        let quota = Quota::new(5.0, 2.0, 1.0);
        let (mut full_at, mut taken) = (0, 0);
        while let Ok(next) = quota.take(full_at, 1.0, 0) {
            (full_at, taken) = (next, taken + 1);
        }
        assert_eq!(taken, 10);
        assert_eq!(quota.take(full_at, 1.0, 0), Err(Duration::from_millis(200)));
        assert!(quota.take(full_at, 1.0, SECOND / 5).is_ok());
        assert!((quota.left(full_at, SECOND) - 5.0).abs() < 1e-6);
        assert!((quota.left(full_at, 1000 * SECOND) - 10.0).abs() < 1e-6, "no more than a full bucket");
    }

    #[test]
    fn a_rate_below_one_still_lets_one_through() {
        let quota = Quota::new(0.1, 1.0, 1.0);
        let once = quota.take(0, 1.0, 0).expect("one");
        assert_eq!(quota.take(once, 1.0, 0), Err(Duration::from_secs(10)));
        assert!(quota.take(once, 1.0, 10 * SECOND).is_ok());
    }

    #[test]
    fn a_use_larger_than_the_bucket_is_a_debt() {
        let quota = Quota::new(10e6, 1.0, 1.0);
        let large = quota.take(0, 50e6, 0).expect("a large image after a pause");
        let wait = quota.take(large, 1.0, 0).expect_err("the next waits");
        assert!((wait.as_secs_f64() - 4.0).abs() < 1e-3, "{wait:?}");
    }

    #[test]
    fn extremes_do_not_overflow() {
        let quota = Quota::new(1e-300, 1e-300, 1.0);
        let after = quota.take(0, 1e300, 5).expect("it was full");
        assert_eq!(after, u64::MAX);
        assert!(quota.take(after, 1.0, u64::MAX - 1).is_err() || quota.left(after, 0) >= 0.0);
        assert!(Quota::new(1e300, 1e300, 1.0).take(0, 1.0, 0).is_ok());
    }

    proptest! {
        /// Whoever takes one at a time never gets more than the rate times the time, and the burst, in any stretch of time.
        #[test]
        fn nobody_gets_more_than_the_rate_and_the_burst(
            per_second in 0.01..1000.0f64,
            burst_seconds in 0.01..20.0f64,
            steps in prop::collection::vec((0u64..3 * SECOND, 1usize..20), 1..60),
        ) {
            let quota = Quota::new(per_second, burst_seconds, 1.0);
            let (mut now, mut full_at) = (0, 0);
            let mut taken: Vec<u64> = Vec::new();
            for (later, tries) in steps {
                now += later;
                for _ in 0..tries {
                    match quota.take(full_at, 1.0, now) {
                        Ok(next) => {
                            full_at = next;
                            taken.push(now);
                        }
                        Err(wait) => prop_assert!(
                            quota.take(full_at, 1.0, now + wait.as_nanos() as u64).is_ok(),
                            "who waits as long as told is let in"
                        ),
                    }
                }
            }
            for (first, from) in taken.iter().enumerate() {
                let seconds = (taken[taken.len() - 1] - from) as f64 / 1e9;
                let most = per_second * seconds + quota.burst();
                prop_assert!((taken.len() - first) as f64 <= most + 1e-6, "{} in {seconds} s", taken.len() - first);
            }
        }

        /// Whatever uses cost, no more is used than the rate times the time, the burst and the one that went past it.
        #[test]
        fn a_debt_is_paid(
            per_second in 0.1..1000.0f64,
            steps in prop::collection::vec((0u64..3 * SECOND, 0.0..5000.0f64), 1..60),
        ) {
            let quota = Quota::new(per_second, 1.0, 0.0);
            let (mut now, mut full_at, mut used, mut largest) = (0, 0, 0.0, 0.0f64);
            for (later, cost) in steps {
                now += later;
                if let Ok(next) = quota.take(full_at, cost, now) {
                    (full_at, used, largest) = (next, used + cost, largest.max(cost));
                }
            }
            prop_assert!(used <= per_second * now as f64 / 1e9 + quota.burst() + largest + 1e-3);
        }
    }
}
