//! What requests ask of a replica, smoothed: a mean in which the latest seconds weigh most.
//!
//! It is linear on purpose. When a balancer gives requests of one replica to another, the one's number falls as the
//! other's rises, and the sum over all, which decides how many there are, stays what it was.

use std::time::Duration;

/// The mean follows a step to 95 in 100 within three times this time.
const FOLLOWS: Duration = Duration::from_secs(6);

/// The part of the replica's time that is asked for, and by how many requests a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Asked {
    /// Of what the replica can give within the promise; 1 is full.
    pub load: f64,
    /// Requests a second.
    pub per_second: f64,
}

impl Asked {
    /// In the time that passed, so many requests came that ask for so much of the replica's time.
    pub fn came(&mut self, requests: f64, full_seconds: f64, passed: Duration) {
        let seconds = passed.as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        let new = 1.0 - (-seconds / FOLLOWS.as_secs_f64()).exp();
        self.load += (full_seconds / seconds - self.load) * new;
        self.per_second += (requests / seconds - self.per_second) * new;
    }

    /// The part of the replica's time, in seconds, that one request asks for; 0 where there was none.
    #[must_use]
    pub fn each(&self) -> f64 {
        if self.per_second > 0.0 { self.load / self.per_second } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_a_step_and_the_sum_over_replicas_stays() {
        let second = Duration::from_secs(1);
        let (mut one, mut other) = (Asked::default(), Asked::default());
        (0..60).for_each(|_| one.came(100.0, 2.0, second));
        assert!((one.load - 2.0).abs() < 0.01 && (one.per_second - 100.0).abs() < 0.1, "{one:?}");
        // Half of the requests go to another replica from now on.
        for _ in 0..30 {
            one.came(50.0, 1.0, second);
            other.came(50.0, 1.0, second);
            assert!((one.load + other.load - 2.0).abs() < 0.01);
        }
        assert!((one.each() - 0.02).abs() < 0.001);
    }
}
