//! Watching a load while it runs, and ending it early.

use std::{fmt, sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{Load, measure::Recorder};

/// How far a load is.
#[derive(Debug, Clone, Copy)]
pub struct BenchProgress {
    /// Which of several loads, from 0.
    pub step: usize,
    /// The load.
    pub load: Load,
    /// Since its start.
    pub elapsed: Duration,
    /// How long it takes, but for answers that are still awaited then.
    pub total: Duration,
    /// Answers until now, those of the warm-up included.
    pub answered: u64,
}

/// Hears of progress, and ends the load when told to. Clones are the same watch.
#[derive(Clone)]
pub struct RunControl {
    step: usize,
    stop: Arc<watch::Sender<bool>>,
    progress: Arc<dyn Fn(BenchProgress) + Send + Sync>,
}

impl RunControl {
    /// Calls `progress` about ten times a second, on the runtime's thread.
    #[must_use]
    pub fn new(progress: impl Fn(BenchProgress) + Send + Sync + 'static) -> Self {
        Self { step: 0, stop: Arc::new(watch::Sender::new(false)), progress: Arc::new(progress) }
    }

    /// Ends the load; what was measured is kept, what is still awaited is dropped.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Was it stopped?
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    pub(super) fn at_step(&self, step: usize) -> Self {
        Self { step, ..self.clone() }
    }

    /// Runs `work` to its end, or until stopped.
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

/// Nobody watches.
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
