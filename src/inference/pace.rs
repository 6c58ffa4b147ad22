//! Measures how fast work is done while there is more of it than the CPUs can do at once: in CPU seconds of answers a second.
//!
//! That is what a queue drains at. Under a CPU quota the group is stopped for a part of every period (`cpu.max`), sockets
//! and refusals take their part, and others may run on the same machine: all that is in the measurement, and in no latency
//! profile. Before the first measurement it is the number of CPUs of the replica. Pure: the time comes in.

use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Length of one measurement: several periods of a CPU quota, which are 100 ms.
const LENGTH: Duration = Duration::from_millis(400);

/// Shortest time that tells anything, where work runs out before the end.
const SHORTEST: Duration = Duration::from_millis(200);

/// Time for which a measurement counts.
const KEPT_FOR: Duration = Duration::from_secs(5);

/// The pace is at least this part of the CPUs.
const SLOWEST: f64 = 4.0;

/// A pace that is read without a lock.
#[derive(Debug)]
pub(super) struct DrainPace {
    cpus: f64,
    /// The longest time for which nothing is done, because a quota is used up.
    pub pause: Duration,
    /// The number of requests that are worked on from which on some of them wait.
    crowd: usize,
    /// The pace, as the bits of an `f64`.
    measured: AtomicU64,
    measuring: AtomicBool,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    since: Option<Instant>,
    cpu_seconds: f64,
    /// When each measurement ended, how long it took, and how much was done.
    done: VecDeque<(Instant, Duration, f64)>,
}

impl DrainPace {
    /// The pace of a replica with so many CPUs, which stand still for so long, on which `threads` requests can be worked on at once.
    pub(super) fn new(cpus: f64, pause: Duration, threads: usize) -> Self {
        Self {
            cpus,
            pause,
            crowd: 2 * threads + 1,
            measured: AtomicU64::new(cpus.to_bits()),
            measuring: AtomicBool::new(false),
            window: Mutex::default(),
        }
    }

    /// CPU seconds of answers a second, at most the number of CPUs.
    pub(super) fn get(&self) -> f64 {
        f64::from_bits(self.measured.load(Ordering::Relaxed))
    }

    /// Takes in an answer for which `cpu_seconds` were used, and after which `working` requests are still worked on.
    pub(super) fn answered(&self, cpu_seconds: f64, working: usize, now: Instant) {
        let crowded = working >= self.crowd;
        if !crowded && !self.measuring.load(Ordering::Relaxed) {
            return;
        }
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(since) = window.since {
            window.cpu_seconds += cpu_seconds;
            let took = now.saturating_duration_since(since);
            if took >= if crowded { LENGTH } else { SHORTEST } {
                let done = (now, took, window.cpu_seconds);
                window.done.push_back(done);
                self.publish(window.pace(now));
                window.since = None;
            }
        }
        if !crowded {
            window.since = None;
        } else if window.since.is_none() {
            (window.since, window.cpu_seconds) = (Some(now), 0.0);
        }
        self.measuring.store(window.since.is_some(), Ordering::Relaxed);
    }

    /// Forgets measurements that are too old. To be called now and then.
    pub(super) fn refresh(&self, now: Instant) {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let pace = window.pace(now);
        self.publish(if window.done.is_empty() { self.cpus } else { pace });
    }

    /// A pace far below the CPUs is rather that of one long piece of work that has not ended yet.
    fn publish(&self, pace: f64) {
        self.measured.store(pace.clamp(self.cpus / SLOWEST, self.cpus).to_bits(), Ordering::Relaxed);
    }
}

impl Window {
    fn pace(&mut self, now: Instant) -> f64 {
        while self.done.front().is_some_and(|(at, ..)| now.saturating_duration_since(*at) > KEPT_FOR) {
            self.done.pop_front();
        }
        let seconds: f64 = self.done.iter().map(|(_, took, _)| took.as_secs_f64()).sum();
        let cpu_seconds: f64 = self.done.iter().map(|(.., done)| done).sum();
        cpu_seconds / seconds.max(1e-3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_measured_while_work_waits_and_forgotten_later() {
        let (start, pace) = (Instant::now(), DrainPace::new(0.5, Duration::ZERO, 1));
        let at = |ms: u64| start + Duration::from_millis(ms);
        let is = |wanted: f64| assert!((pace.get() - wanted).abs() < 0.02, "{} is not {wanted}", pace.get());
        (0..50).for_each(|n| pace.answered(0.01, 2, at(n * 20)));
        is(0.5);
        // Five milliseconds of work in each of 20.
        (0..50).for_each(|n| pace.answered(0.005, 9, at(1_000 + n * 20)));
        is(0.25);
        // A gap in which nothing was asked for does not count.
        pace.answered(0.005, 0, at(2_000));
        (0..50).for_each(|n| pace.answered(0.005, 9, at(4_000 + n * 20)));
        is(0.25);
        pace.refresh(at(10_500));
        is(0.5);
    }
}
