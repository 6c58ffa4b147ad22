//! The jobs that wait for one variant: takes them in or refuses them, and hands batches of them to workers.
//!
//! It knows which workers are busy and what runs cost, so it can estimate when a new job would be answered. Jobs come in
//! through [`Backlog::push`], and batches go out through [`Backlog::next_work`]. It has no clock and no lock, so that a
//! test can move time as it likes; [`super::queue`] puts the lock around it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    job::{Job, JobError},
    latency_profile::LatencyProfile,
    policy::{self, Arrivals, BatchLimits, Decision, Exploration, Pending, QueueAhead, Snapshot},
    stats::{CompletedRun, VariantStats},
};

/// Waiting jobs, busy workers and the latency profile of one variant.
#[derive(Debug)]
pub struct Backlog {
    limits: BatchLimits,
    capacity: usize,
    // Keyed by effective arrival, then by number of arrival. This is the order of service.
    jobs: BTreeMap<(Instant, u64), Job>,
    pushed: u64,
    arrivals: Arrivals,
    profile: LatencyProfile,
    stats: VariantStats,
    // When each worker's run is expected to end, by the profile; none while the worker is free.
    busy_until: Vec<Option<Instant>>,
    // Runs until the next exploration of a larger batch.
    explore_in: u64,
    // Runs from one exploration to the next.
    explore_every: u64,
    last_exploration: Option<Exploration>,
    // When the profile last took in a run; at first the end of the warm-up.
    last_run_at: Instant,
}

/// Smallest number of runs between two explorations.
///
/// A batch size that was measured in a bad moment would never be chosen again. So one run in [`EXPLORE_EVERY_MIN`] is
/// twice as large as seems best, if enough jobs wait. The number doubles, up to [`EXPLORE_EVERY_MAX`], each time that the
/// larger size turns out not to be better.
const EXPLORE_EVERY_MIN: u64 = 32;

/// Largest number of runs between two explorations.
const EXPLORE_EVERY_MAX: u64 = 4096;

/// Time without a run after which the profile may no longer describe the machine.
const STALE_AFTER: Duration = Duration::from_secs(1);

/// What a free worker does next.
#[derive(Debug)]
pub enum NextWork {
    /// The worker runs these jobs together.
    Batch(Vec<Job>),
    /// The worker waits for more jobs. It asks again at that time, or when a job arrives.
    WaitUntil(Instant),
    /// No job waits. The worker asks again when one arrives.
    Idle,
}

/// Why a job was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushError {
    /// The queue is full; a place may be free after that time.
    Full(Duration),
    /// The job's deadline has passed.
    DeadlineExceeded,
    /// The job would be answered after that time, which is past its deadline.
    TooSlow(Duration),
    /// The queue is closed.
    Closed,
}

impl Backlog {
    /// Makes an empty backlog for at most `capacity` jobs, which `workers` threads serve.
    #[must_use]
    pub fn new(capacity: usize, workers: usize, limits: BatchLimits, profile: LatencyProfile, now: Instant) -> Self {
        Self {
            limits,
            capacity,
            jobs: BTreeMap::new(),
            pushed: 0,
            arrivals: Arrivals::default(),
            profile,
            stats: VariantStats::default(),
            busy_until: vec![None; workers],
            explore_in: EXPLORE_EVERY_MIN,
            explore_every: EXPLORE_EVERY_MIN,
            last_exploration: None,
            last_run_at: now,
        }
    }

    /// Queues a job, if there is room and it can be answered before its deadline.
    ///
    /// # Errors
    /// A [`PushError`] says why the job is refused.
    pub fn push(&mut self, job: Job, now: Instant) -> Result<(), PushError> {
        if now >= job.pending.deadline {
            return Err(PushError::DeadlineExceeded);
        }
        // Cancelled and expired jobs must not take the place of this one.
        self.remove_unwanted(now);
        let arrival = job.priority.effective_arrival(job.pending.queued_at);
        let rows_ahead = self.rows_ahead_of(arrival);
        let expected = self.expected_latency(rows_ahead, job.pending.rows, now);
        if self.jobs.len() >= self.capacity {
            return Err(PushError::Full(expected));
        }
        if now + expected > job.pending.deadline && !self.needs_probe(now) {
            return Err(PushError::TooSlow(expected));
        }
        self.arrivals.record(now);
        self.jobs.insert((arrival, self.pushed), job);
        self.pushed += 1;
        Ok(())
    }

    /// Estimates the time from now to the answer of a job of `rows` rows that is queued behind `rows_ahead` rows.
    #[must_use]
    pub fn expected_latency(&self, rows_ahead: usize, rows: usize, now: Instant) -> Duration {
        if rows_ahead == 0 && self.busy_until.iter().any(Option::is_none) {
            // The job would run at once. The median is used here, so that a few slow runs do not keep every job away.
            return self.profile.p50(self.limits.padded_rows(rows));
        }
        let ahead = QueueAhead {
            rows_ahead,
            busy: self.busy_until.iter().flatten().map(|until| until.saturating_duration_since(now)).sum(),
            workers: self.busy_until.len(),
            arrival_gap: self.arrivals.gap(now),
        };
        let run = policy::expected_run(&self.profile, &self.limits, rows, &ahead);
        run.wait + self.profile.p95(self.limits.padded_rows(run.rows))
    }

    /// Number of waiting rows that are served before a job with that effective arrival.
    #[must_use]
    pub fn rows_ahead_of(&self, arrival: Instant) -> usize {
        self.jobs.range(..(arrival, u64::MAX)).map(|(_, job)| job.pending.rows).sum()
    }

    /// Number of waiting jobs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Whether no job waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// Decides what `worker`, which is free, does now. With `closing`, it runs what is there and waits for no more jobs.
    ///
    /// Expired and cancelled jobs are removed first, so neither is computed.
    pub fn next_work(&mut self, worker: usize, closing: bool, now: Instant) -> NextWork {
        self.remove_unwanted(now);
        self.set_busy(worker, None);
        let pending: Vec<Pending> = self.jobs.values().take(self.limits.max_rows + 1).map(|job| job.pending).collect();
        let idle_workers =
            if closing { usize::MAX } else { self.busy_until.iter().filter(|busy| busy.is_none()).count() };
        let snapshot = Snapshot { pending: &pending, arrivals: &self.arrivals, profile: &self.profile, idle_workers };
        match policy::decide(&snapshot, &self.limits, now) {
            Decision::Idle => NextWork::Idle,
            Decision::WaitUntil(until) => NextWork::WaitUntil(until),
            Decision::Run(jobs) => {
                let larger = policy::larger_batch(&snapshot, &self.limits, jobs);
                let jobs = self.explore(larger).unwrap_or(jobs);
                let batch: Vec<Job> = (0..jobs).map_while(|_| self.jobs.pop_first()).map(|(_, job)| job).collect();
                let rows = batch.iter().map(|job| job.pending.rows).sum();
                self.set_busy(worker, Some(now + self.profile.p50(self.limits.padded_rows(rows))));
                NextWork::Batch(batch)
            }
        }
    }

    /// Takes a successful run into the profile and the statistics.
    pub fn record_run(&mut self, run: &CompletedRun, now: Instant) {
        self.last_run_at = now;
        self.profile.record(run.padded_rows, run.timing);
        self.stats.record_run(run);
    }

    /// Counts a job whose run failed after `took`.
    pub fn record_failure(&mut self, took: Duration) {
        self.stats.record_failure(took);
    }

    /// Drops all waiting jobs. Their clients see that the reply channel is closed.
    pub fn clear(&mut self) {
        self.jobs.clear();
    }

    /// Run times by batch size.
    #[must_use]
    pub fn profile(&self) -> &LatencyProfile {
        &self.profile
    }

    /// Statistics of all runs so far.
    #[must_use]
    pub fn stats(&self) -> &VariantStats {
        &self.stats
    }

    /// Whether one job may run although it seems too slow.
    ///
    /// A profile that says "too slow" refuses every job, and so never learns that the machine has become faster. So one
    /// job is let through when nothing waits or runs and the last run was a while ago.
    #[must_use]
    pub fn needs_probe(&self, now: Instant) -> bool {
        self.jobs.is_empty()
            && self.busy_until.iter().all(Option::is_none)
            && now.saturating_duration_since(self.last_run_at) > STALE_AFTER
    }

    /// Returns the larger batch (in jobs) when it is time to explore one.
    fn explore(&mut self, larger: Option<(usize, Exploration)>) -> Option<usize> {
        let (jobs, exploration) = larger?;
        self.explore_in = self.explore_in.saturating_sub(1);
        if self.explore_in > 0 {
            return None;
        }
        if let Some(last) = self.last_exploration.replace(exploration) {
            self.explore_every = if last.was_better(&self.profile) {
                EXPLORE_EVERY_MIN
            } else {
                (self.explore_every * 2).min(EXPLORE_EVERY_MAX)
            };
        }
        self.explore_in = self.explore_every;
        Some(jobs)
    }

    fn set_busy(&mut self, worker: usize, until: Option<Instant>) {
        if let Some(busy) = self.busy_until.get_mut(worker) {
            *busy = until;
        }
    }

    /// Removes cancelled jobs, and answers expired ones with [`JobError::DeadlineExceeded`].
    ///
    /// When several jobs wait, a job also counts as expired when even the fastest run so far would end past its deadline:
    /// the time is better spent on the others.
    pub fn remove_unwanted(&mut self, now: Instant) {
        let fastest = if self.jobs.len() > 1 { self.profile.fastest(1) } else { Duration::ZERO };
        let unwanted = |_: &_, job: &mut Job| job.is_cancelled() || now + fastest >= job.pending.deadline;
        for (_, job) in self.jobs.extract_if(.., unwanted) {
            if !job.is_cancelled() {
                job.answer(Err(JobError::DeadlineExceeded));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;
    use crate::scheduler::{
        job::{Priority, RunOutput},
        latency_profile::RunTiming,
    };

    type Reply = oneshot::Receiver<Result<RunOutput, JobError>>;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A backlog for one worker, whose runs take 10 ms a row.
    fn backlog(capacity: usize, now: Instant) -> Backlog {
        let mut profile = LatencyProfile::default();
        (0..8).for_each(|_| profile.record(1, RunTiming { wall: ms(10), service_time: ms(10) }));
        Backlog::new(capacity, 1, BatchLimits { max_rows: 8, buckets: Vec::new(), max_delay: None }, profile, now)
    }

    fn job(now: Instant, deadline_ms: u64, priority: u8) -> (Job, Reply) {
        let (reply, receiver) = oneshot::channel();
        let pending = Pending { rows: 1, batchable: true, queued_at: now, deadline: now + ms(deadline_ms) };
        let priority = Priority::new(priority).expect("0 to 9");
        (Job { inputs: Vec::new(), pending, priority, reply, meter: None }, receiver)
    }

    /// Deadlines (from `now`) of the jobs that the worker takes.
    fn taken(backlog: &mut Backlog, now: Instant) -> Vec<Duration> {
        match backlog.next_work(0, false, now) {
            NextWork::Batch(jobs) => jobs.iter().map(|job| job.pending.deadline - now).collect(),
            NextWork::WaitUntil(_) | NextWork::Idle => Vec::new(),
        }
    }

    #[test]
    fn a_job_that_cannot_be_answered_in_time_is_refused_at_once() {
        let now = Instant::now();
        let mut backlog = backlog(3, now);
        let push = |backlog: &mut Backlog, deadline| {
            let (job, reply) = job(now, deadline, 5);
            backlog.push(job, now).map(|()| reply)
        };
        assert_eq!(push(&mut backlog, 0).err(), Some(PushError::DeadlineExceeded));
        assert_eq!(push(&mut backlog, 9).err(), Some(PushError::TooSlow(ms(10))));
        let _first = push(&mut backlog, 11).expect("room and time");
        assert_eq!(push(&mut backlog, 19).err(), Some(PushError::TooSlow(ms(20))), "it waits behind one other");
        let _others = [21, 31].map(|deadline| push(&mut backlog, deadline).expect("room and time"));
        assert_eq!(push(&mut backlog, 1000).err(), Some(PushError::Full(ms(40))));
    }

    #[test]
    fn a_high_priority_overtakes_jobs_that_came_a_little_earlier() {
        let now = Instant::now();
        let mut backlog = backlog(8, now);
        let (low, _low) = job(now, 1_000, 4);
        let (high, _high) = job(now + ms(99), 2_000, 5);
        let (later, _later) = job(now + ms(101), 3_000, 5);
        for job in [low, high, later] {
            backlog.push(job, now + ms(101)).expect("room");
        }
        let order: Vec<_> = (0..3).flat_map(|_| taken(&mut backlog, now + ms(101))).collect();
        assert_eq!(order, [ms(1_998), ms(899), ms(3_000)]);
    }

    #[test]
    fn expired_jobs_get_an_error_and_cancelled_ones_are_dropped() {
        let now = Instant::now();
        let mut backlog = backlog(8, now);
        let (expired, mut reply) = job(now, 15, 5);
        let (cancelled, cancelled_reply) = job(now, 1_000, 5);
        let (wanted, _reply) = job(now, 2_000, 5);
        for job in [expired, cancelled, wanted] {
            backlog.push(job, now).expect("room");
        }
        drop(cancelled_reply);
        assert_eq!(taken(&mut backlog, now + ms(6)), [ms(1_994)], "the first could not be in time any more");
        assert_eq!(reply.try_recv().expect("an answer").err(), Some(JobError::DeadlineExceeded));
        assert!(backlog.is_empty());
    }

    #[test]
    fn a_profile_that_refuses_every_job_is_probed() {
        let now = Instant::now();
        let mut backlog = backlog(8, now);
        let (job, _reply) = job(now + ms(1_001), 5, 5);
        assert!(!backlog.needs_probe(now + ms(1_000)));
        backlog.push(job, now + ms(1_001)).expect("nothing has run for a second");
        assert_eq!(taken(&mut backlog, now + ms(1_001)), [ms(5)]);
        assert!(!backlog.needs_probe(now + ms(2_500)), "it runs");
    }
}
