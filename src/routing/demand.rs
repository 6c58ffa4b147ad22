//! How many requests of a model come, and what their answers take of the CPUs.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{cost::CpuTime, stats::Ewma};

/// The weight of the newest second in the rates.
const NEWEST: f64 = 0.5;

/// Rates over a shorter time than this would say nothing.
const SHORTEST: Duration = Duration::from_millis(100);

/// The requests of a model that left the choice of a variant to the server. Images are counted, of which a request may
/// hold several.
#[derive(Debug)]
pub struct Demand {
    arrived: AtomicU64,
    used_nanos: AtomicU64,
    arrivals_per_second: Ewma,
    cpu_seconds_per_second: Ewma,
    /// CPU seconds that an answer takes beside its run.
    overhead_seconds: Ewma,
    updated_at: Mutex<Instant>,
}

/// What requests asked for averaged over the last seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DemandRates {
    /// Images that came a second.
    pub arrivals_per_second: f64,
    /// CPU seconds that their answers used a second.
    pub cpu_seconds_per_second: f64,
}

impl Demand {
    /// Demand of a model that has had no requests yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            arrived: AtomicU64::new(0),
            used_nanos: AtomicU64::new(0),
            arrivals_per_second: Ewma::new(NEWEST),
            cpu_seconds_per_second: Ewma::new(NEWEST),
            overhead_seconds: Ewma::default(),
            updated_at: Mutex::new(now),
        }
    }

    /// Counts images that came.
    pub fn arrived(&self, images: usize) {
        self.arrived.fetch_add(u64::try_from(images).unwrap_or(0), Ordering::Relaxed);
    }

    /// Counts the CPU time that an answer used in all.
    pub fn answered(&self, cpu_seconds: f64) {
        let used = CpuTime::from(Duration::from_secs_f64(cpu_seconds.max(0.0)));
        self.used_nanos.fetch_add(used.nanos(), Ordering::Relaxed);
    }

    /// Learns the CPU time that an answer took beside its run.
    pub fn learn_overhead(&self, cpu: CpuTime) {
        self.overhead_seconds.observe(cpu.seconds());
    }

    /// The CPU time that an answer takes beside its run (decoding, postprocessing); zero before the first answer.
    #[must_use]
    pub fn overhead(&self) -> Duration {
        Duration::from_secs_f64(self.overhead_seconds.get().unwrap_or_default().max(0.0))
    }

    /// The rates of what came since the last call, smoothed; none when that was only just now. To be called every second.
    #[must_use]
    pub fn update(&self, now: Instant) -> Option<DemandRates> {
        let mut updated_at = self.updated_at.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = now.saturating_duration_since(*updated_at);
        if elapsed < SHORTEST {
            return None;
        }
        *updated_at = now;
        #[expect(clippy::cast_precision_loss, reason = "few enough a second")]
        let taken = |counter: &AtomicU64| counter.swap(0, Ordering::Relaxed) as f64;
        let seconds = elapsed.as_secs_f64();
        self.arrivals_per_second.observe(taken(&self.arrived) / seconds);
        self.cpu_seconds_per_second.observe(taken(&self.used_nanos) / 1e9 / seconds);
        Some(DemandRates {
            arrivals_per_second: self.arrivals_per_second.get()?,
            cpu_seconds_per_second: self.cpu_seconds_per_second.get()?,
        })
    }
}
