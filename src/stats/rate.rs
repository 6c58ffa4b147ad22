//! So much a second, smoothed: a mean in which the latest seconds weigh most.
//!
//! It is linear on purpose. When a balancer gives requests of one replica to another, the one's number falls as the
//! other's rises, and the sum over all, which decides how many there are, stays what it was.

use std::time::Duration;

/// The mean follows a step to 95 in 100 within three times this time.
const FOLLOWS: Duration = Duration::from_secs(6);

/// So much a second.
///
/// ```
/// use std::time::Duration;
///
/// use ounce::stats::Rate;
///
/// let mut requests = Rate::default();
/// for _second in 0..60 {
///     requests.came(20.0, Duration::from_secs(1));
/// }
/// assert!((requests.per_second() - 20.0).abs() < 0.01);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Rate(f64);

impl Rate {
    /// So much came in the time that passed.
    pub fn came(&mut self, amount: f64, passed: Duration) {
        let seconds = passed.as_secs_f64();
        if seconds > 0.0 {
            let new = 1.0 - (-seconds / FOLLOWS.as_secs_f64()).exp();
            self.0 += (amount / seconds - self.0) * new;
        }
    }

    /// A second.
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
        (0..18).for_each(|_| one.came(2.0, second));
        assert!(one.per_second() > 1.9, "{one:?}");
        (0..42).for_each(|_| one.came(2.0, second));
        // Half of the requests go to another replica from now on.
        for _ in 0..30 {
            one.came(1.0, second);
            other.came(1.0, second);
            assert!((one.per_second() + other.per_second() - 2.0).abs() < 0.01);
        }
        one.came(5.0, Duration::ZERO);
        assert!((one.per_second() - 1.0).abs() < 0.02, "in no time comes nothing");
    }
}
