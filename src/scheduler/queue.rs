//! The backlog behind one lock: requests push jobs from any thread, and worker threads block on it until there is a batch.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    backlog::{Backlog, NextWork, PushError},
    forecast_errors::ForecastErrors,
    job::{Job, Priority},
    latency_profile::{LatencyProfile, ProfilePoint},
    policy::BatchLimits,
    stats::{CompletedRun, VariantStats},
};
use crate::{cost::FairShare, stats::InFlight};

/// A bounded queue of one variant, which worker threads pull batches from.
#[derive(Debug)]
pub struct Queue {
    // A std mutex: it is held for a push or a pop, never across an await.
    state: Mutex<QueueState>,
    // Signalled when a job arrives or the queue is closed.
    changed: Condvar,
    /// Requests that will be queued soon: their images are being decoded.
    pub upcoming: InFlight,
    // Run times of the profile that the router reads for every request, without the lock.
    times: AtomicServiceTimes,
}

/// Estimate of how long a request that arrives now waits for its answer.
#[derive(Debug, Clone, Copy)]
pub struct WaitEstimate {
    /// Time until the answer, if the request were queued now.
    pub if_queued_now: Duration,
    /// Time until the answer, if the upcoming requests are queued first.
    pub behind_upcoming: Duration,
    /// Largest delay of the latest answers beyond their forecast.
    pub margin: Duration,
    /// Number of rows that wait and go first.
    pub rows_ahead: usize,
    /// Number of requests whose images are being decoded, which will be queued soon and go first.
    pub upcoming: usize,
    /// Number of runs that are going on.
    pub running: usize,
    /// Whether there is a place in the queue.
    pub has_room: bool,
    /// Whether one job may run although it seems too slow (see [`Backlog::needs_probe`]).
    pub needs_probe: bool,
}

/// Where a request stands among those that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueStanding {
    /// Its priority.
    pub priority: Priority,
    /// Number of requests that are decoded before it, as far as is known.
    pub decoded_before: usize,
}

/// Run times of a variant, for the router.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServiceTimes {
    /// Least wall-clock time of the latest runs of one row. The median is not used here: a variant that the router
    /// never chooses would keep a median that was measured in a bad moment.
    pub fastest: Duration,
    /// Median service time of a run of one row.
    pub service_time: Duration,
    /// Least service time a row, over all batch sizes.
    pub least_service_time: Duration,
}

/// [`ServiceTimes`] that are read without a lock.
#[derive(Debug, Default)]
struct AtomicServiceTimes([AtomicU64; 3]);

impl AtomicServiceTimes {
    fn publish(&self, profile: &LatencyProfile) {
        let times = [profile.fastest(1), profile.service_time(1), profile.least_service_time_within(Duration::MAX)];
        for (slot, time) in self.0.iter().zip(times) {
            slot.store(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }

    fn read(&self) -> ServiceTimes {
        let [fastest, service_time, least_service_time] =
            [0, 1, 2].map(|slot: usize| Duration::from_nanos(self.0[slot].load(Ordering::Relaxed)));
        ServiceTimes { fastest, service_time, least_service_time }
    }
}

#[derive(Debug)]
struct QueueState {
    backlog: Backlog,
    errors: ForecastErrors,
    closed: bool,
}

impl Queue {
    /// Makes an empty queue for at most `capacity` jobs. Its `workers` threads number themselves from 0.
    #[must_use]
    pub fn new(capacity: usize, workers: usize, limits: BatchLimits, profile: LatencyProfile) -> Self {
        let backlog = Backlog::new(capacity, workers, limits, profile, Instant::now());
        let times = AtomicServiceTimes::default();
        times.publish(backlog.profile());
        let state = QueueState { backlog, errors: ForecastErrors::default(), closed: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), upcoming: InFlight::default(), times }
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
        let mut state = self.lock();
        state.backlog.record_run(run, Instant::now());
        self.times.publish(state.backlog.profile());
    }

    /// Counts a job whose run failed after `took`.
    pub fn record_failure(&self, took: Duration) {
        self.lock().backlog.record_failure(took);
    }

    /// Estimates the wait of a request of one row of a tenant that arrives now, for each of two standings.
    #[must_use]
    pub fn wait_estimates(&self, share: FairShare, standings: [QueueStanding; 2]) -> [WaitEstimate; 2] {
        let (mut state, now) = (self.lock(), Instant::now());
        let all_upcoming = self.upcoming.count();
        state.backlog.remove_unwanted(now);
        let (backlog, margin) = (&state.backlog, state.errors.margin(now));
        let estimate = |standing: QueueStanding| {
            let rows_ahead = backlog.rows_ahead_of(share, standing.priority, now);
            let upcoming = all_upcoming.min(standing.decoded_before);
            WaitEstimate {
                if_queued_now: backlog.expected_latency(rows_ahead, 1, now),
                behind_upcoming: backlog.expected_latency(rows_ahead + upcoming, 1, now),
                margin,
                rows_ahead,
                upcoming,
                running: backlog.busy_workers(),
                has_room: backlog.has_room_for(share),
                needs_probe: backlog.needs_probe(now),
            }
        };
        let [own, other] = standings;
        let first = estimate(own);
        [first, if own == other { first } else { estimate(other) }]
    }

    /// Takes in that an answer came `late_by` later than forecast; zero where it came earlier.
    pub fn forecast_missed(&self, late_by: Duration) {
        self.lock().errors.record(late_by, Instant::now());
    }

    /// Removes cancelled and expired jobs, which frees the memory of their inputs.
    pub fn remove_unwanted(&self) {
        self.lock().backlog.remove_unwanted(Instant::now());
    }

    /// Median service time of a run of `rows` rows.
    #[must_use]
    pub fn service_time(&self, rows: usize) -> Duration {
        self.lock().backlog.profile().service_time(rows)
    }

    /// Run times that the router compares variants by, read without a lock.
    #[must_use]
    pub fn service_times(&self) -> ServiceTimes {
        self.times.read()
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
