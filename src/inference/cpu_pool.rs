//! Work on CPU threads beside those that serve sockets: bounded, measured, and charged to the request it is for.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use super::permit::semaphore;
use crate::{
    cost::{CpuTime, Meter},
    scheduler::latency_profile::{LatencyProfile, RunTiming},
    stats::{InFlight, InFlightGuard},
};

/// Runs one kind of work on tokio's blocking pool, on at most `threads` threads at a time.
#[derive(Debug)]
pub(super) struct CpuPool {
    threads: usize,
    free: Arc<Semaphore>,
    in_flight: InFlight,
    work: Mutex<LatencyProfile>,
    /// Times from `work`, published so that they can be read without its lock.
    p50_nanos: AtomicU64,
    fastest_nanos: AtomicU64,
}

/// What a piece of work took.
#[derive(Debug, Clone, Copy)]
pub(super) struct WorkTime {
    /// Waiting for a thread.
    pub waited: Duration,
    /// From getting a thread to having the result, including the hand-over both ways.
    pub took: Duration,
    /// CPU time of the thread.
    pub cpu: CpuTime,
}

impl CpuPool {
    pub(super) fn new(threads: usize) -> Self {
        Self {
            threads,
            free: semaphore(threads),
            in_flight: InFlight::default(),
            work: Mutex::default(),
            p50_nanos: AtomicU64::new(0),
            fastest_nanos: AtomicU64::new(0),
        }
    }

    /// Does a piece of work on one of the threads: waits for it, and charges the CPU time to the meter.
    ///
    /// # Errors
    /// With the cause when the work panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        meter: Option<&Arc<Meter>>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, WorkTime), String> {
        let asked = Instant::now();
        let thread = Arc::clone(&self.free).acquire_owned().await.map_err(|error| error.to_string())?;
        let waited = asked.elapsed();
        let (started, meter) = (Instant::now(), meter.cloned());
        let task = tokio::task::spawn_blocking(move || {
            // Held by the work and not by the request: a client that goes away does not make room for a second decode
            // while the first still runs.
            let _thread = thread;
            let cpu = CpuTime::of_this_thread();
            let value = work();
            let cpu = CpuTime::of_this_thread_since(cpu);
            meter.iter().for_each(|meter| meter.charge(cpu.into()));
            (value, cpu)
        });
        let (value, cpu) = task.await.map_err(|error| format!("the work panicked: {error}"))?;
        Ok((value, WorkTime { waited, took: started.elapsed(), cpu }))
    }

    /// Counts one request that waits for a thread or has one, until what comes back is dropped.
    pub(super) fn enter(&self) -> InFlightGuard<'_> {
        self.in_flight.enter()
    }

    /// The number of requests that wait or are worked on.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.count()
    }

    /// The number of threads.
    pub(super) fn threads(&self) -> usize {
        self.threads
    }

    /// Learns how long a piece of work took.
    pub(super) fn learn(&self, wall: Duration) {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        work.record(1, RunTiming { wall, service_time: wall });
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.p50_nanos.store(nanos(work.p50(1)), Ordering::Relaxed);
        self.fastest_nanos.store(nanos(work.fastest(1)), Ordering::Relaxed);
    }

    /// The least time that a piece of work took lately.
    pub(super) fn fastest(&self) -> Duration {
        Duration::from_nanos(self.fastest_nanos.load(Ordering::Relaxed))
    }

    /// How long a piece of work that comes now waits and takes, behind those that are here.
    pub(super) fn expected(&self) -> Duration {
        let ahead = u32::try_from(self.in_flight()).unwrap_or(u32::MAX);
        let rounds = ahead.saturating_add(1).div_ceil(u32::try_from(self.threads.max(1)).unwrap_or(u32::MAX));
        Duration::from_nanos(self.p50_nanos.load(Ordering::Relaxed)).saturating_mul(rounds)
    }

    /// Whether a piece of work that comes now would wait.
    pub(super) fn is_full(&self) -> bool {
        self.in_flight() >= self.threads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_ahead_is_done_in_rounds() {
        let pool = CpuPool::new(2);
        let ms = Duration::from_millis;
        assert_eq!(pool.expected(), ms(0), "nothing is known yet");
        pool.learn(ms(4));
        assert_eq!(pool.expected(), ms(4));
        let three: Vec<_> = (0..3).map(|_| pool.enter()).collect();
        assert_eq!(pool.expected(), ms(8));
        drop(three);
        assert_eq!((pool.in_flight(), pool.expected()), (0, ms(4)));
    }
}
