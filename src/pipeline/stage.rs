//! A stage of a request's life that has its own threads, with what it takes there: learned, to say how long the next
//! one would take.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::semaphore;
use crate::batch::curve::{Curve, Run};

/// Work that so many threads share. Tokio's blocking pool does it, this bounds and measures it.
#[derive(Debug)]
pub(super) struct Stage {
    threads: usize,
    places: Arc<Semaphore>,
    inside: AtomicUsize,
    // A curve with one point: the time of one piece of work.
    took: Mutex<Curve>,
}

/// One that waits for a thread or has one.
#[derive(Debug)]
pub(super) struct Inside<'a>(&'a Stage);

impl Stage {
    pub(super) fn new(threads: usize) -> Self {
        Self { threads, places: semaphore(threads), inside: AtomicUsize::new(0), took: Mutex::default() }
    }

    /// Counts one more until what comes back is dropped.
    pub(super) fn enter(&self) -> Inside<'_> {
        self.inside.fetch_add(1, Ordering::Relaxed);
        Inside(self)
    }

    /// Waits for a thread.
    pub(super) async fn thread(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        Arc::clone(&self.places).acquire_owned().await
    }

    /// Learns from a piece of work that began then.
    pub(super) fn learn(&self, begun: Instant) {
        let wall = begun.elapsed();
        self.took().record(1, Run { wall, occupied: wall });
    }

    fn took(&self) -> MutexGuard<'_, Curve> {
        self.took.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many wait or work.
    pub(super) fn inside(&self) -> usize {
        self.inside.load(Ordering::Relaxed)
    }

    /// How many threads it has.
    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// The least time that a piece of work took lately.
    pub(super) fn fastest(&self) -> Duration {
        self.took().fastest(1)
    }

    /// How long one that comes now waits and works, behind those who are here.
    pub(super) fn expected(&self) -> Duration {
        let (took, ahead) = (self.took().typical(1), u32::try_from(self.inside()).unwrap_or(u32::MAX));
        let rounds = ahead.saturating_add(1).div_ceil(u32::try_from(self.threads.max(1)).unwrap_or(u32::MAX));
        took.saturating_mul(rounds)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}
