//! The backlog behind one lock, with threads that wait for it.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    backlog::{Backlog, Next, Refusal},
    job::{Job, Priority},
    latency_profile::{LatencyProfile, ProfilePoint},
    policy::Limits,
    stats::{Done, Stats},
};

/// A bounded queue that worker threads pull from.
#[derive(Debug)]
pub struct Queue {
    // A std mutex: it is held for a push or a pop, never across an await.
    state: Mutex<State>,
    arrived: Condvar,
}

/// What awaits a picture.
#[derive(Debug, Clone, Copy)]
pub struct WaitEstimate {
    /// How long until it is answered, if it were queued now.
    pub alone: Duration,
    /// How long until it is answered behind those who are still to be queued.
    pub behind: Duration,
    /// Is the queue empty?
    pub nobody_waits: bool,
    /// Has nothing run for so long that the profile may be wrong?
    pub must_learn: bool,
}

/// What runs of a variant take.
#[derive(Debug, Clone, Copy)]
pub struct ServiceTimes {
    /// The least time of a run of one row, lately. (The median of a variant that nobody asks may be that of a bad moment,
    /// and would stay it.)
    pub fastest: Duration,
    /// The median time that a run of one row runs_on what runs share.
    pub service_time: Duration,
    /// The same for one row of a run of the size where that is least.
    pub least_service_time: Duration,
}

#[derive(Debug)]
struct State {
    backlog: Backlog,
    closed: bool,
}

impl Queue {
    /// An empty queue for at most `capacity` jobs, before `workers` that number themselves from 0.
    #[must_use]
    pub fn new(capacity: usize, workers: usize, limits: Limits, profile: LatencyProfile) -> Self {
        let backlog = Backlog::new(capacity, workers, limits, profile, Instant::now());
        Self { state: Mutex::new(State { backlog, closed: false }), arrived: Condvar::new() }
    }

    /// Takes a job in.
    ///
    /// # Errors
    /// When there is no room, when its deadline cannot be met, or when the queue is closed.
    pub fn push(&self, job: Job) -> Result<(), Refusal> {
        let mut state = self.lock();
        if state.closed {
            return Err(Refusal::Closed);
        }
        state.backlog.push(job, Instant::now())?;
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Waits until there is something to run for `worker`; `None` once the queue is closed and empty.
    pub fn take(&self, worker: usize) -> Option<Vec<Job>> {
        let mut state = self.lock();
        loop {
            let closed = state.closed;
            state = match state.backlog.next(worker, closed, Instant::now()) {
                Next::Batch(jobs) => {
                    // This worker may have been the one that was told of a job that it did not take.
                    if !state.backlog.is_empty() {
                        self.arrived.notify_one();
                    }
                    return Some(jobs);
                }
                Next::Idle if closed => return None,
                Next::Idle => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
                Next::WaitUntil(until) => {
                    let wait = until.saturating_duration_since(Instant::now());
                    self.arrived.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// A run has ended well.
    pub fn done(&self, done: &Done) {
        self.lock().backlog.done(done, Instant::now());
    }

    /// A job has failed for good.
    pub fn failed(&self, took: Duration) {
        self.lock().backlog.failed(took);
    }

    /// What awaits a picture that comes now, when `rows_ahead` are still to be queued before it.
    #[must_use]
    pub fn wait_estimate(&self, rows_ahead: usize, priority: Priority) -> WaitEstimate {
        let (mut state, now) = (self.lock(), Instant::now());
        let backlog = &mut state.backlog;
        backlog.drop_unwanted(now);
        let before = backlog.rows_before(priority.turn(now));
        WaitEstimate {
            alone: backlog.expected(before, 1, now),
            behind: backlog.expected(before + rows_ahead, 1, now),
            nobody_waits: backlog.is_empty(),
            must_learn: backlog.must_learn(now),
        }
    }

    /// Forgets those who have gone, and what they left in memory.
    pub fn sweep(&self) {
        self.lock().backlog.drop_unwanted(Instant::now());
    }

    /// The least time that a run of one row took lately.
    #[must_use]
    pub fn fastest(&self) -> Duration {
        self.lock().backlog.profile().fastest(1)
    }

    /// The median time that a run of so many rows runs_on what runs share.
    #[must_use]
    pub fn service_time(&self, rows: usize) -> Duration {
        self.lock().backlog.profile().service_time(rows)
    }

    /// What the router goes by.
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

    /// The least time that one row runs_on, of the sizes whose runs take no longer than that; of a run of one row where
    /// none does.
    #[must_use]
    pub fn least_service_time_within(&self, longest: Duration) -> Duration {
        self.lock().backlog.profile().least_service_time_within(longest)
    }

    /// What runs cost, by rows.
    #[must_use]
    pub fn profile(&self) -> Vec<ProfilePoint> {
        self.lock().backlog.profile().points()
    }

    /// What has been run so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.lock().backlog.stats().clone()
    }

    /// Takes no more jobs; workers end when what is there is done, or was dropped with `abandon`.
    pub fn close(&self, abandon: bool) {
        let mut state = self.lock();
        state.closed = true;
        if abandon {
            state.backlog.clear();
        }
        drop(state);
        self.arrived.notify_all();
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().backlog.len()
    }

    /// Does none wait?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock is held cannot leave the backlog half changed, so poison means nothing here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
