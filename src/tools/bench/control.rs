//! Reports the progress of a load while it runs, and stops it early.

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{Load, measure::Recorder};

/// Progress of a load.
#[derive(Debug, Clone, Copy)]
pub struct BenchProgress {
    /// Index of the load in its series.
    pub step: usize,
    /// The load that runs.
    pub load: Load,
    /// Time since its start.
    pub elapsed: Duration,
    /// Planned duration, without the wait for the last answers.
    pub total: Duration,
    /// Number of answers so far, including the warm-up.
    pub answered: u64,
}

/// Observes and stops a running load. Clones control the same load.
#[derive(Clone)]
pub struct RunControl {
    step: usize,
    stop: Arc<watch::Sender<bool>>,
    progress: Arc<dyn Fn(BenchProgress) + Send + Sync>,
}

impl RunControl {
    /// Makes a control that calls `progress` ten times a second, on the runtime's thread.
    #[must_use]
    pub fn new(progress: impl Fn(BenchProgress) + Send + Sync + 'static) -> Self {
        Self { step: 0, stop: Arc::new(watch::Sender::new(false)), progress: Arc::new(progress) }
    }

    /// Stops the load. The measurements so far are kept, and requests in flight are dropped.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Whether the load was stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    pub(super) fn at_step(&self, step: usize) -> Self {
        Self { step, ..self.clone() }
    }

    /// Runs `work` to its end, or until the load is stopped.
    pub(super) async fn follow(&self, recorder: &Recorder, work: impl Future<Output = ()>) {
        let mut work = std::pin::pin!(work);
        let mut stopped = self.stop.subscribe();
        let mut stopped = std::pin::pin!(stopped.wait_for(|stopped| *stopped));
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            tokio::select! {
                () = &mut work => return,
                _ = &mut stopped => return recorder.stop(),
                _ = tick.tick() => (self.progress)(recorder.progress(self.step)),
            }
        }
    }
}

/// A control that reports no progress.
impl Default for RunControl {
    fn default() -> Self {
        Self::new(|_| {})
    }
}

impl fmt::Debug for RunControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunControl").field("step", &self.step).field("stop", &self.stop).finish_non_exhaustive()
    }
}
