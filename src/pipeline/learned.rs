//! A number that is learned from what happens: a mean in which the latest weighs most.

use std::sync::atomic::{AtomicU64, Ordering};

/// A mean, or nothing yet. Two who learn at once may lose one of the two, which a mean survives.
#[derive(Debug)]
pub(super) struct Learned {
    mean: AtomicU64,
    latest: f64,
}

impl Learned {
    /// Nothing yet; `latest` is the part that the latest will have in the mean.
    pub(super) fn new(latest: f64) -> Self {
        Self { mean: AtomicU64::new(f64::NAN.to_bits()), latest }
    }

    pub(super) fn learn(&self, value: f64) {
        let mean = self.get().map_or(value, |mean| mean + (value - mean) * self.latest);
        self.mean.store(mean.to_bits(), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> Option<f64> {
        Some(f64::from_bits(self.mean.load(Ordering::Relaxed))).filter(|mean| !mean.is_nan())
    }
}

impl Default for Learned {
    /// The mean of the latest thirty or so.
    fn default() -> Self {
        Self::new(1.0 / 32.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_counts_in_full_and_the_others_move_it() {
        let learned = Learned::default();
        assert_eq!(learned.get(), None);
        learned.learn(3.0);
        assert_eq!(learned.get(), Some(3.0));
        (0..500).for_each(|_| learned.learn(1.0));
        assert!(learned.get().is_some_and(|mean| (1.0..1.001).contains(&mean)));
    }
}
