//! A stage of a request's life that has its own threads, with what it takes there: learned, to say how long the next
//! one would take.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::semaphore;
use crate::scheduler::latency_profile::{LatencyProfile, RunTiming};

/// Work that so many threads share. Tokio's blocking pool does it, this bounds and measures it.
#[derive(Debug)]
pub(super) struct CpuPool {
    threads: usize,
    places: Arc<Semaphore>,
    inside: InFlight,
    // A curve with one point: the time of one piece of work.
    took: Mutex<LatencyProfile>,
}

/// How many are somewhere.
#[derive(Debug, Default)]
pub(super) struct InFlight(AtomicUsize);

/// One that is there until this is dropped.
#[derive(Debug)]
pub(super) struct One<'a>(&'a InFlight);

impl InFlight {
    /// Counts one more until what comes back is dropped.
    pub(super) fn enter(&self) -> One<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        One(self)
    }

    /// How many there are.
    pub(super) fn inside(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for One<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl CpuPool {
    pub(super) fn new(threads: usize) -> Self {
        Self { threads, places: semaphore(threads), inside: InFlight::default(), took: Mutex::default() }
    }

    /// Counts one that waits for a thread or has one, until what comes back is dropped.
    pub(super) fn enter(&self) -> One<'_> {
        self.inside.enter()
    }

    /// How many wait or work.
    pub(super) fn inside(&self) -> usize {
        self.inside.inside()
    }

    /// How many threads it has.
    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// Waits for a thread.
    pub(super) async fn thread(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        Arc::clone(&self.places).acquire_owned().await
    }

    /// Learns from a piece of work.
    pub(super) fn observe(&self, wall: Duration) {
        self.took().record(1, RunTiming { wall, service_time: wall });
    }

    /// The least time that a piece of work took lately.
    pub(super) fn fastest(&self) -> Duration {
        self.took().fastest(1)
    }

    /// How long one that comes now waits and works, behind those who are here.
    pub(super) fn expected(&self) -> Duration {
        let (took, ahead) = (self.took().p50(1), u32::try_from(self.inside()).unwrap_or(u32::MAX));
        let rounds = ahead.saturating_add(1).div_ceil(u32::try_from(self.threads.max(1)).unwrap_or(u32::MAX));
        took.saturating_mul(rounds)
    }

    fn took(&self) -> MutexGuard<'_, LatencyProfile> {
        self.took.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_ahead_go_in_rounds() {
        let stage = CpuPool::new(2);
        let ms = Duration::from_millis;
        assert_eq!(stage.expected(), ms(0), "nothing is known yet");
        stage.observe(ms(4));
        assert_eq!(stage.expected(), ms(4));
        let three: Vec<_> = (0..3).map(|_| stage.enter()).collect();
        assert_eq!(stage.expected(), ms(8));
        drop(three);
        assert_eq!((stage.inside(), stage.expected()), (0, ms(4)));
    }
}
