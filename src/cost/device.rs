//! Divides a GPU's time among the runs that are on it at once: of a second in which two runs go on, each is charged half.
//!
//! The clock counts the GPU's seconds divided by the number of runs in progress, and a run is charged what the clock
//! advances while it lasts. So all runs together are charged the time during which at least one was in progress.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::time::CpuTime;

/// Clock of one GPU, shared by all workers that run on it.
#[derive(Debug, Default)]
pub struct DeviceClock(Mutex<ClockState>);

#[derive(Debug, Default)]
struct ClockState {
    running: u32,
    // Time that a run would have been charged that has lasted since the clock was made.
    time: Duration,
    // When the number of runs last changed.
    changed_at: Option<Instant>,
}

/// A run in progress on the GPU.
#[derive(Debug)]
pub struct DeviceRun<'a> {
    clock: &'a DeviceClock,
    began_at: Duration,
}

impl DeviceClock {
    /// Starts to count a run.
    pub fn begin(&self, now: Instant) -> DeviceRun<'_> {
        let mut state = self.lock();
        state.advance(now);
        state.running += 1;
        DeviceRun { clock: self, began_at: state.time }
    }

    fn lock(&self) -> MutexGuard<'_, ClockState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DeviceRun<'_> {
    /// Ends the run and returns its share of the GPU's time.
    #[must_use]
    pub fn end(self, now: Instant) -> CpuTime {
        let mut state = self.clock.lock();
        state.advance(now);
        state.running = state.running.saturating_sub(1);
        state.time.saturating_sub(self.began_at).into()
    }
}

impl ClockState {
    fn advance(&mut self, now: Instant) {
        let changed_at = self.changed_at.replace(now);
        if let (Some(changed_at), true) = (changed_at, self.running > 0) {
            self.time += now.saturating_duration_since(changed_at) / self.running;
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
        assert_eq!(clock.begin(at(90)).end(at(91)).nanos(), 1_000_000, "idle time is charged to no run");
    }
}
