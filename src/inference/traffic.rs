//! What a model's requests teach the router: how many come, what they take beside their runs, what load has closed.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::stats::Ewma;
use crate::{cost::CpuTime, routing::degradation::Degradation};

/// The part of the newest look in what is known about the rates.
const LATEST: f64 = 0.5;

/// Requests that left the choice of a variant to the router.
#[derive(Debug)]
pub(super) struct Traffic {
    load: Mutex<Degradation>,
    arrived: AtomicU64,
    /// Since the last look at how full this replica is: pictures that a lighter variant answered for want of time, and the
    /// CPU time that all took beside their runs.
    pub(super) by_load: AtomicU64,
    pub(super) aside_nanos: AtomicU64,
    /// That time in the mean, whatever was done.
    pub(super) aside_each: Ewma,
    used_nanos: AtomicU64,
    per_second: Ewma,
    used: Ewma,
    aside_seconds: Ewma,
    looked_at: Mutex<Instant>,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            load: Mutex::default(),
            arrived: AtomicU64::new(0),
            by_load: AtomicU64::new(0),
            aside_nanos: AtomicU64::new(0),
            aside_each: Ewma::new(LATEST),
            used_nanos: AtomicU64::new(0),
            per_second: Ewma::new(LATEST),
            used: Ewma::new(LATEST),
            aside_seconds: Ewma::default(),
            looked_at: Mutex::new(Instant::now()),
        }
    }
}

impl Traffic {
    pub(super) fn load(&self) -> MutexGuard<'_, Degradation> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many came.
    pub(super) fn arrived(&self, pictures: usize) {
        self.arrived.fetch_add(u64::try_from(pictures).unwrap_or(0), Ordering::Relaxed);
    }

    /// One was answered, and used so much CPU time in all.
    pub(super) fn used(&self, cpu_seconds: f64) {
        let nanos = CpuTime::from(Duration::from_secs_f64(cpu_seconds.max(0.0))).nanos();
        self.used_nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    /// An answer took so much CPU time beside its run: decoding, reading the outputs.
    pub(super) fn learn_aside(&self, cpu: CpuTime) {
        self.aside_seconds.observe(cpu.seconds());
    }

    /// What an answer takes beside its run; zero as long as there was none.
    pub(super) fn aside(&self) -> Duration {
        Duration::from_secs_f64(self.aside_seconds.get().unwrap_or_default().max(0.0))
    }

    /// Requests a second, and the CPU seconds that their answers used a second; nothing when the last look was just now.
    pub(super) fn since_last_look(&self, now: Instant) -> Option<(f64, f64)> {
        let mut looked_at = self.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(*looked_at).as_secs_f64();
        if passed < 0.1 {
            return None;
        }
        *looked_at = now;
        #[expect(clippy::cast_precision_loss, reason = "few enough a second")]
        let taken = |counted: &AtomicU64| counted.swap(0, Ordering::Relaxed) as f64;
        self.per_second.observe(taken(&self.arrived) / passed);
        self.used.observe(taken(&self.used_nanos) / 1e9 / passed);
        Some((self.per_second.get()?, self.used.get()?))
    }
}
