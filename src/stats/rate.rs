//! A smoothed rate (events a second) in which the latest seconds weigh most.
//!
//! It is linear on purpose. When a load balancer moves requests from one replica to another, the one's rate falls as the
//! other's rises. So the sum over all replicas, which decides how many replicas there are, stays the same.

use std::time::Duration;

/// Time constant of the smoothing: the rate covers 95 % of a step within three times this time.
const TIME_CONSTANT: Duration = Duration::from_secs(6);

/// A smoothed rate a second, zero at first.
///
/// ```
/// use std::time::Duration;
///
/// use ounce::stats::Rate;
///
/// let mut requests = Rate::default();
/// for _second in 0..60 {
///     requests.observe(20.0, Duration::from_secs(1));
/// }
/// assert!((requests.per_second() - 20.0).abs() < 0.01);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rate(f64);

impl Rate {
    /// Takes in that `amount` events happened in the time `passed` since the last call.
    pub fn observe(&mut self, amount: f64, passed: Duration) {
        let seconds = passed.as_secs_f64();
        if seconds > 0.0 {
            let weight = 1.0 - (-seconds / TIME_CONSTANT.as_secs_f64()).exp();
            self.0 += (amount / seconds - self.0) * weight;
        }
    }

    /// The rate in events a second.
    #[must_use]
    pub fn per_second(self) -> f64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_a_step_and_the_sum_over_replicas_stays() {
        let second = Duration::from_secs(1);
        let (mut one, mut other) = (Rate::default(), Rate::default());
        (0..18).for_each(|_| one.observe(2.0, second));
        assert!(one.per_second() > 1.9, "{one:?}");
        (0..42).for_each(|_| one.observe(2.0, second));
        // Half of the requests go to another replica from now on.
        for _ in 0..30 {
            one.observe(1.0, second);
            other.observe(1.0, second);
            assert!((one.per_second() + other.per_second() - 2.0).abs() < 0.01);
        }
        one.observe(5.0, Duration::ZERO);
        assert!((one.per_second() - 1.0).abs() < 0.02, "a call without time is ignored");
    }
}
