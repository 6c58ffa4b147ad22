//! The jobs that wait for one variant: takes them in or refuses them, and hands batches of them to workers.
//!
//! It knows which workers are busy and what runs cost, so it can estimate when a new job would be answered. Jobs come in
//! through [`Backlog::push`], and batches go out through [`Backlog::next_work`]. It has no clock and no lock, so that a
//! test can move time as it likes; [`super::queue`] puts the lock around it.

use std::time::{Duration, Instant};

use super::{
    fair_queue::FairQueue,
    job::{Job, JobError, Priority},
    latency_profile::LatencyProfile,
    policy::{self, Arrivals, BatchLimits, Decision, Exploration, Pending, QueueAhead, Snapshot},
    stats::{CompletedRun, VariantStats},
};
use crate::cost::FairShare;

/// Waiting jobs, busy workers and the latency profile of one variant.
#[derive(Debug)]
pub struct Backlog {
    limits: BatchLimits,
    capacity: usize,
    // In the order of service: tenants by their shares, and a tenant's jobs by effective arrival.
    jobs: FairQueue<Job>,
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
            jobs: FairQueue::default(),
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
        let rows_ahead = self.rows_ahead_of(job.share, job.priority, job.pending.queued_at);
        let expected = self.expected_latency(rows_ahead, job.pending.rows, now);
        if !self.has_room_for(job.share) {
            return Err(PushError::Full(expected));
        }
        if now + expected > job.pending.deadline && !self.needs_probe(now) {
            return Err(PushError::TooSlow(expected));
        }
        if self.jobs.len() >= self.capacity
            && let Some(displaced) = self.jobs.displace(job.share)
        {
            displaced.answer(Err(JobError::Displaced(expected)));
        }
        self.arrivals.record(now);
        let arrival = job.priority.effective_arrival(job.pending.queued_at);
        self.jobs.push(job.share, arrival, cost(job.pending.rows), job);
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

    /// Number of waiting rows that are served before a job of that tenant and priority that is queued at `now`.
    #[must_use]
    pub fn rows_ahead_of(&self, share: FairShare, priority: Priority, now: Instant) -> usize {
        let ahead = self.jobs.ahead_of(share, priority.effective_arrival(now), |_| true);
        usize::try_from(ahead.cost).unwrap_or(usize::MAX)
    }

    /// Whether one more job of that tenant may wait. In a full queue, it takes the place of a tenant that has more than its
    /// share.
    #[must_use]
    pub fn has_room_for(&self, share: FairShare) -> bool {
        self.jobs.len() < self.capacity || self.jobs.can_displace(share)
    }

    /// Number of workers that are running a batch.
    #[must_use]
    pub fn busy_workers(&self) -> usize {
        self.busy_until.iter().flatten().count()
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
        let most = self.limits.max_rows + 1;
        let mut pending: Vec<Pending> = Vec::with_capacity(self.jobs.len().min(most));
        self.jobs.peek(most, |job| pending.push(job.pending));
        let idle_workers =
            if closing { usize::MAX } else { self.busy_until.iter().filter(|busy| busy.is_none()).count() };
        let snapshot = Snapshot { pending: &pending, arrivals: &self.arrivals, profile: &self.profile, idle_workers };
        match policy::decide(&snapshot, &self.limits, now) {
            Decision::Idle => {
                if self.busy_workers() == 0 {
                    self.jobs.rest();
                }
                NextWork::Idle
            }
            Decision::WaitUntil(until) => NextWork::WaitUntil(until),
            Decision::Run(jobs) => {
                let larger = policy::larger_batch(&snapshot, &self.limits, jobs);
                let jobs = self.explore(larger).unwrap_or(jobs);
                let batch: Vec<Job> = (0..jobs).map_while(|_| self.jobs.pop()).map(|(_, job)| job).collect();
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
        let unwanted = |job: &Job| job.is_cancelled() || now + fastest >= job.pending.deadline;
        self.jobs.extract(unwanted, |job| {
            if !job.is_cancelled() {
                job.answer(Err(JobError::DeadlineExceeded));
            }
        });
    }
}

/// A row costs about as much as another, so the rows are the cost.
fn cost(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
