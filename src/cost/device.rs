//! A GPU's time, shared by the runs that go on at once: of a second in which two run, each is charged half.
//!
//! A clock of its own counts the GPU's seconds divided by the runs in progress; what it advances during a run is that
//! run's. So all runs together are charged the time in which there was any.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::time::CpuTime;

/// The GPU's time.
#[derive(Debug, Default)]
pub struct DeviceClock(Mutex<Shared>);

#[derive(Debug, Default)]
struct Shared {
    running: u32,
    // What one run has been charged that goes on since ever.
    charged: Duration,
    // When the number of runs changed last.
    since: Option<Instant>,
}

/// A run in progress.
#[derive(Debug)]
pub struct OnDevice<'a> {
    clock: &'a DeviceClock,
    began_at: Duration,
}

impl DeviceClock {
    /// A run begins.
    pub fn begin(&self, now: Instant) -> OnDevice<'_> {
        let mut shared = self.lock();
        shared.advance(now);
        shared.running += 1;
        OnDevice { clock: self, began_at: shared.charged }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OnDevice<'_> {
    /// It has ended: its part of the GPU's time.
    #[must_use]
    pub fn end(self, now: Instant) -> CpuTime {
        let mut shared = self.clock.lock();
        shared.advance(now);
        shared.running = shared.running.saturating_sub(1);
        shared.charged.saturating_sub(self.began_at).into()
    }
}

impl Shared {
    fn advance(&mut self, now: Instant) {
        let since = self.since.replace(now);
        if let (Some(since), true) = (since, self.running > 0) {
            self.charged += now.saturating_duration_since(since) / self.running;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_side_by_side_share_the_time() {
        let (clock, start) = (DeviceClock::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let long = clock.begin(at(0));
        let short = clock.begin(at(10));
        let charged = [short.end(at(20)), long.end(at(30))].map(|time| time.nanos() / 1_000_000);
        assert_eq!(charged, [5, 25], "of thirty milliseconds");
        assert_eq!(clock.begin(at(90)).end(at(91)).nanos(), 1_000_000, "idle time is nobody's");
    }
}
