//! What the requests of one model asked for since the last estimate of the replica's load.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::{cost::CpuTime, manifest::VariantId, stats::Ewma};

/// The weight of the newest second in the mean overhead of an answer.
const NEWEST: f64 = 0.5;

/// Counts of one model, written by requests as they end, taken once a second.
#[derive(Debug)]
pub struct Tally {
    /// Images that were answered, by the variant that answered, except those in `degraded`.
    answered: Vec<AtomicU64>,
    /// Images that a lighter variant answered because the server was too busy for the preferred one.
    degraded: AtomicU64,
    /// CPU time that answers took beside their runs.
    overhead_nanos: AtomicU64,
    /// Requests refused for want of room or time, which another replica would have answered.
    refused_for_room: AtomicU64,
    /// CPU seconds that an answer takes beside its run, on average.
    overhead_each: Ewma,
}

/// What a [`Tally`] held when it was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// Images that were answered, by the variant that answered, except those in `degraded`.
    pub answered: Vec<f64>,
    /// Images that a lighter variant answered because the server was too busy for the preferred one.
    pub degraded: f64,
    /// CPU seconds that answers took beside their runs.
    pub overhead_seconds: f64,
    /// CPU seconds that an answer takes beside its run, on average; none before the first answer.
    pub overhead_each: Option<f64>,
    /// Requests refused for want of room or time, which another replica would have answered.
    pub refused_for_room: f64,
}

impl Tally {
    /// Counts for a model with so many variants.
    #[must_use]
    pub fn new(variants: usize) -> Self {
        Self {
            answered: (0..variants).map(|_| AtomicU64::new(0)).collect(),
            degraded: AtomicU64::new(0),
            overhead_nanos: AtomicU64::new(0),
            refused_for_room: AtomicU64::new(0),
            overhead_each: Ewma::new(NEWEST),
        }
    }

    /// Counts images answered by this variant, and their CPU time outside runs.
    pub fn answered(&self, variant: VariantId, images: usize, overhead: CpuTime) {
        if let Some(answered) = self.answered.get(variant.index()) {
            add(answered, images);
        }
        self.overhead_nanos.fetch_add(overhead.nanos(), Ordering::Relaxed);
    }

    /// So many images were answered by a lighter variant than the preferred one, since the server is busy.
    pub fn degraded(&self, images: usize, overhead: CpuTime) {
        add(&self.degraded, images);
        self.overhead_nanos.fetch_add(overhead.nanos(), Ordering::Relaxed);
    }

    /// A request was refused that another replica would have answered.
    pub fn refused_for_room(&self) {
        add(&self.refused_for_room, 1);
    }

    /// Takes what was counted since the last call.
    #[must_use]
    pub fn take(&self) -> Asked {
        let answered: Vec<f64> = self.answered.iter().map(take).collect();
        let (degraded, overhead_seconds) = (take(&self.degraded), take(&self.overhead_nanos) / 1e9);
        let answers = degraded + answered.iter().sum::<f64>();
        if answers > 0.0 {
            self.overhead_each.observe(overhead_seconds / answers);
        }
        Asked {
            answered,
            degraded,
            overhead_seconds,
            overhead_each: self.overhead_each.get(),
            refused_for_room: take(&self.refused_for_room),
        }
    }
}

impl Asked {
    /// Images that were answered, by whichever variant.
    #[must_use]
    pub fn answers(&self) -> f64 {
        self.degraded + self.answered.iter().sum::<f64>()
    }
}

fn add(counter: &AtomicU64, more: usize) {
    counter.fetch_add(u64::try_from(more).unwrap_or(0), Ordering::Relaxed);
}

#[expect(clippy::cast_precision_loss, reason = "few enough a second")]
fn take(counter: &AtomicU64) -> f64 {
    counter.swap(0, Ordering::Relaxed) as f64
}
