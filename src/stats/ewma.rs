//! An exponentially weighted moving average: each new value moves the mean by a fixed share of the difference.

use std::sync::atomic::{AtomicU64, Ordering};

/// An exponentially weighted moving average that several threads may update.
///
/// When two threads update it at the same moment, one of the two values may be lost, which a mean survives.
///
/// ```
/// use ounce::stats::Ewma;
///
/// let latency_ms = Ewma::new(0.5);
/// assert_eq!(latency_ms.get(), None);
/// latency_ms.observe(4.0);
/// latency_ms.observe(8.0);
/// assert_eq!(latency_ms.get(), Some(6.0));
/// ```
#[derive(Debug)]
pub struct Ewma {
    mean: AtomicU64,
    weight: f64,
}

impl Ewma {
    /// An average without a value. `weight` (0 to 1) is the share that each new value has in the mean.
    #[must_use]
    pub fn new(weight: f64) -> Self {
        Self { mean: AtomicU64::new(f64::NAN.to_bits()), weight }
    }

    /// Takes a value into the mean.
    pub fn observe(&self, value: f64) {
        let mean = self.get().map_or(value, |mean| mean + (value - mean) * self.weight);
        self.mean.store(mean.to_bits(), Ordering::Relaxed);
    }

    /// The mean so far; none before the first value.
    #[must_use]
    pub fn get(&self) -> Option<f64> {
        Some(f64::from_bits(self.mean.load(Ordering::Relaxed))).filter(|mean| !mean.is_nan())
    }
}

impl Default for Ewma {
    /// A weight of 1/32: roughly the mean of the last thirty values.
    fn default() -> Self {
        Self::new(1.0 / 32.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_counts_in_full_and_the_others_move_it() {
        let mean = Ewma::default();
        assert_eq!(mean.get(), None);
        mean.observe(3.0);
        assert_eq!(mean.get(), Some(3.0));
        (0..500).for_each(|_| mean.observe(1.0));
        assert!(mean.get().is_some_and(|mean| (1.0..1.001).contains(&mean)));
    }
}
