//! The backlog behind one lock, with threads that wait for it.

use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    backlog::{Backlog, Next, Refusal},
    forecast_errors::ForecastErrors,
    job::{Job, Priority},
    latency_profile::{LatencyProfile, ProfilePoint},
    policy::Limits,
    stats::{Done, Stats},
};
use crate::stats::InFlight;

/// A bounded queue that worker threads pull from.
#[derive(Debug)]
pub struct Queue {
    // A std mutex: it is held for a push or a pop, never across an await.
    state: Mutex<State>,
    arrived: Condvar,
    /// Requests that will be queued soon: their images are being decoded.
    pub upcoming: InFlight,
    // What the profile says most often, for those who only read it.
    times: AtomicServiceTimes,
}

/// What awaits a request that comes now.
#[derive(Debug, Clone, Copy)]
pub struct WaitEstimate {
    /// The time until it is answered, if it were queued now.
    pub alone: Duration,
    /// The time until it is answered behind the upcoming requests, which are still to be queued.
    pub behind: Duration,
    /// How much later than forecast the latest answers came, at the worst.
    pub margin: Duration,
    /// The number of requests that wait.
    pub waiting: usize,
    /// The number of requests that are still to be queued.
    pub upcoming: usize,
    /// Whether nothing has run for so long that the latency profile may be wrong.
    pub must_learn: bool,
}

/// What runs of a variant take.
#[derive(Debug, Clone, Copy, Default)]
pub struct ServiceTimes {
    /// The least time of a run of one row, lately. (The median of a variant that nobody asks may be that of a bad moment,
    /// and would stay it.)
    pub fastest: Duration,
    /// The median time that a run of one row occupies its session.
    pub service_time: Duration,
    /// The time that one row occupies a session in a run of the size where that is least.
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
struct State {
    backlog: Backlog,
    errors: ForecastErrors,
    closed: bool,
}

impl Queue {
    /// An empty queue for at most `capacity` jobs, before `workers` that number themselves from 0.
    #[must_use]
    pub fn new(capacity: usize, workers: usize, limits: Limits, profile: LatencyProfile) -> Self {
        let backlog = Backlog::new(capacity, workers, limits, profile, Instant::now());
        let times = AtomicServiceTimes::default();
        times.publish(backlog.profile());
        let state = State { backlog, errors: ForecastErrors::default(), closed: false };
        Self { state: Mutex::new(state), arrived: Condvar::new(), upcoming: InFlight::default(), times }
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
        let mut state = self.lock();
        state.backlog.done(done, Instant::now());
        self.times.publish(state.backlog.profile());
    }

    /// A job has failed for good.
    pub fn failed(&self, took: Duration) {
        self.lock().backlog.failed(took);
    }

    /// What awaits a request of one row that comes now, by its own priority and by the default one.
    #[must_use]
    pub fn wait_estimates(&self, priority: Priority) -> [WaitEstimate; 2] {
        let (mut state, now) = (self.lock(), Instant::now());
        let upcoming = self.upcoming.count();
        state.backlog.drop_unwanted(now);
        let (backlog, margin) = (&state.backlog, state.errors.margin(now));
        let estimate = |priority: Priority| {
            let before = backlog.rows_before(priority.turn(now));
            WaitEstimate {
                alone: backlog.expected(before, 1, now),
                behind: backlog.expected(before + upcoming, 1, now),
                margin,
                waiting: backlog.len(),
                upcoming,
                must_learn: backlog.must_learn(now),
            }
        };
        let own = estimate(priority);
        [own, if priority == Priority::default() { own } else { estimate(Priority::default()) }]
    }

    /// An answer came so much later than forecast; zero where it came earlier.
    pub fn forecast_missed(&self, late_by: Duration) {
        self.lock().errors.record(late_by, Instant::now());
    }

    /// Forgets those who have gone, and what they left in memory.
    pub fn sweep(&self) {
        self.lock().backlog.drop_unwanted(Instant::now());
    }

    /// The median time that a run of so many rows occupies its session.
    #[must_use]
    pub fn service_time(&self, rows: usize) -> Duration {
        self.lock().backlog.profile().service_time(rows)
    }

    /// What runs take, by the latest ones.
    #[must_use]
    pub fn service_times(&self) -> ServiceTimes {
        self.times.read()
    }

    /// The least time that one row occupies a session, of the sizes whose runs take no longer than `longest`; of a run of one
    /// row where none does.
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
