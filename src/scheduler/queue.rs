//! The backlog behind one lock: requests push jobs from any thread, and worker threads block on it until there is a batch.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    backlog::{Backlog, NextWork, PushError},
    job::{Job, Priority},
    latency_profile::{LatencyProfile, ProfilePoint},
    policy::BatchLimits,
    stats::{CompletedRun, VariantStats},
};

/// A bounded queue of one variant, which worker threads pull batches from.
#[derive(Debug)]
pub struct Queue {
    // A std mutex: it is held for a push or a pop, never across an await.
    state: Mutex<QueueState>,
    // Signalled when a job arrives or the queue is closed.
    changed: Condvar,
}

/// Estimate of how long an image that arrives now waits for its answer.
#[derive(Debug, Clone, Copy)]
pub struct WaitEstimate {
    /// Time until the answer, if the image were queued now.
    pub if_queued_now: Duration,
    /// Time until the answer, if the images that are still being decoded are queued first.
    pub behind_rows_ahead: Duration,
    /// Whether no job waits.
    pub queue_is_empty: bool,
    /// Whether one job may run although it seems too slow (see [`Backlog::needs_probe`]).
    pub needs_probe: bool,
}

/// Run times of a variant, for the router.
#[derive(Debug, Clone, Copy)]
pub struct ServiceTimes {
    /// Least wall-clock time of the latest runs of one row. The median is not used here: a variant that the router
    /// never chooses would keep a median that was measured in a bad moment.
    pub fastest: Duration,
    /// Median service time of a run of one row.
    pub service_time: Duration,
    /// Least service time a row, over all batch sizes.
    pub least_service_time: Duration,
}

#[derive(Debug)]
struct QueueState {
    backlog: Backlog,
    closed: bool,
}

impl Queue {
    /// Makes an empty queue for at most `capacity` jobs. Its `workers` threads number themselves from 0.
    #[must_use]
    pub fn new(capacity: usize, workers: usize, limits: BatchLimits, profile: LatencyProfile) -> Self {
        let backlog = Backlog::new(capacity, workers, limits, profile, Instant::now());
        Self { state: Mutex::new(QueueState { backlog, closed: false }), changed: Condvar::new() }
    }

    /// Queues a job.
    ///
    /// # Errors
    /// The job is refused when the queue is full or closed, or when its deadline cannot be met.
    pub fn push(&self, job: Job) -> Result<(), PushError> {
        let mut state = self.lock();
        if state.closed {
            return Err(PushError::Closed);
        }
        state.backlog.push(job, Instant::now())?;
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Blocks until there is a batch for `worker`. Returns none once the queue is closed and empty.
    pub fn next_batch(&self, worker: usize) -> Option<Vec<Job>> {
        let mut state = self.lock();
        loop {
            let closed = state.closed;
            state = match state.backlog.next_work(worker, closed, Instant::now()) {
                NextWork::Batch(jobs) => {
                    // The signal for a job that was left behind may have gone to this worker, so another is woken.
                    if !state.backlog.is_empty() {
                        self.changed.notify_one();
                    }
                    return Some(jobs);
                }
                NextWork::Idle if closed => return None,
                NextWork::Idle => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                NextWork::WaitUntil(until) => {
                    let wait = until.saturating_duration_since(Instant::now());
                    self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Takes a successful run into the profile and the statistics.
    pub fn record_run(&self, run: &CompletedRun) {
        self.lock().backlog.record_run(run, Instant::now());
    }

    /// Counts a job whose run failed after `took`.
    pub fn record_failure(&self, took: Duration) {
        self.lock().backlog.record_failure(took);
    }

    /// Estimates the wait of an image that arrives now, when `rows_ahead` rows are still being decoded before it.
    #[must_use]
    pub fn wait_estimate(&self, rows_ahead: usize, priority: Priority) -> WaitEstimate {
        let (mut state, now) = (self.lock(), Instant::now());
        let backlog = &mut state.backlog;
        backlog.remove_unwanted(now);
        let waiting = backlog.rows_ahead_of(priority.effective_arrival(now));
        WaitEstimate {
            if_queued_now: backlog.expected_latency(waiting, 1, now),
            behind_rows_ahead: backlog.expected_latency(waiting + rows_ahead, 1, now),
            queue_is_empty: backlog.is_empty(),
            needs_probe: backlog.needs_probe(now),
        }
    }

    /// Removes cancelled and expired jobs, which frees the memory of their inputs.
    pub fn remove_unwanted(&self) {
        self.lock().backlog.remove_unwanted(Instant::now());
    }

    /// Least wall-clock time of the latest runs of one row.
    #[must_use]
    pub fn fastest(&self) -> Duration {
        self.lock().backlog.profile().fastest(1)
    }

    /// Median service time of a run of `rows` rows.
    #[must_use]
    pub fn service_time(&self, rows: usize) -> Duration {
        self.lock().backlog.profile().service_time(rows)
    }

    /// Run times that the router compares variants by.
    #[must_use]
    pub fn service_times(&self) -> ServiceTimes {
        let state = self.lock();
        let profile = state.backlog.profile();
        ServiceTimes {
            fastest: profile.fastest(1),
            service_time: profile.service_time(1),
            least_service_time: profile.least_service_time_within(Duration::MAX),
        }
    }

    /// Least service time a row, over the batch sizes whose runs take no longer than `longest` (see
    /// [`LatencyProfile::least_service_time_within`]).
    #[must_use]
    pub fn least_service_time_within(&self, longest: Duration) -> Duration {
        self.lock().backlog.profile().least_service_time_within(longest)
    }

    /// Quantiles of the latest runs, by batch size.
    #[must_use]
    pub fn profile(&self) -> Vec<ProfilePoint> {
        self.lock().backlog.profile().points()
    }

    /// Statistics of all runs so far.
    #[must_use]
    pub fn stats(&self) -> VariantStats {
        self.lock().backlog.stats().clone()
    }

    /// Closes the queue to new jobs. Workers run the waiting jobs and end; with `abandon` these are dropped instead.
    pub fn close(&self, abandon: bool) {
        let mut state = self.lock();
        state.closed = true;
        if abandon {
            state.backlog.clear();
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Number of waiting jobs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().backlog.len()
    }

    /// Whether no job waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        // A panic while the lock is held cannot leave the backlog half changed, so poison means nothing here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
