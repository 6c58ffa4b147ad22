//! The batching policy: which of the waiting jobs run now. The queue, the latency profile and the time come in, and a
//! [`Decision`] goes out. The policy has no state and no clock.
//!
//! **Batch size.** The best size has the best goodput: rows that are answered within their deadlines, divided by the
//! run's service time. Where no size is clearly better than the first job alone, that job runs alone, since it is
//! answered sooner.
//!
//! **Waiting.** To wait for one more job delays n + 1 rows until it arrives and until its row is computed, and saves it
//! a run of its own. So waiting pays as long as `run(1) > (n + 1) · (gap + run(n + 1) − run(n))`, where `gap` is the
//! time between arrivals. On a CPU, where n rows take n times as long as one, that never holds. On a device, where a run
//! costs much and a row costs little, it holds when requests arrive close together. The policy never waits while another
//! worker could take the next job, and never so long that the tightest deadline of the batch would be missed.
//!
//! The optimal rule for such queues is a threshold on the queue's length (Deb and Serfozo, "Optimal control of batch
//! service queues", 1973). This policy puts the threshold where one more step of waiting stops paying.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::latency_profile::LatencyProfile;

/// Factor by which a batch has to be better than the first job alone to be worth its longer run.
const CLEARLY_BETTER: f64 = 1.05;

/// Number of gaps between arrivals that are averaged.
const GAPS: usize = 16;

/// Limits of a batch, from the manifest and the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchLimits {
    /// Largest number of rows in a run.
    pub max_rows: usize,
    /// Batch sizes that may run, ascending; the last is at least `max_rows`. A batch is padded up to the next of them.
    /// Where the list is empty, every size may run.
    pub buckets: Vec<usize>,
    /// Longest time that a job may wait for others while a worker is free; none means as long as it pays.
    pub max_delay: Option<Duration>,
}

impl BatchLimits {
    /// Number of rows that a batch of `rows` rows is padded to.
    #[must_use]
    pub fn padded_rows(&self, rows: usize) -> usize {
        self.buckets.iter().copied().find(|&bucket| bucket >= rows).unwrap_or(rows)
    }
}

/// The powers of two below `max`, and `max` itself: 1, 2, 4, …, `max`.
#[must_use]
pub fn powers_up_to(max: usize) -> Vec<usize> {
    let powers = std::iter::successors(Some(1usize), |size| size.checked_mul(2));
    powers.take_while(|size| *size < max).chain([max]).collect()
}

/// A waiting job as the policy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Number of rows.
    pub rows: usize,
    /// Whether other jobs may share its run.
    pub batchable: bool,
    /// When it was queued.
    pub queued_at: Instant,
    /// When its answer comes too late.
    pub deadline: Instant,
}

/// Times of the latest arrivals, from which the gap between arrivals is estimated.
#[derive(Debug, Clone, Default)]
pub struct Arrivals(VecDeque<Instant>);

impl Arrivals {
    /// Takes in an arrival.
    pub fn record(&mut self, now: Instant) {
        if self.0.len() > GAPS {
            self.0.pop_front();
        }
        self.0.push_back(now);
    }

    /// Mean time between arrivals, including the time since the last one; none before the second arrival.
    #[must_use]
    pub fn gap(&self, now: Instant) -> Option<Duration> {
        let (first, arrivals) = (self.0.front()?, u32::try_from(self.0.len()).ok()?);
        (arrivals > 1).then(|| now.saturating_duration_since(*first) / arrivals)
    }
}

/// State of a variant's queue and workers at the moment of a decision.
#[derive(Debug)]
pub struct Snapshot<'a> {
    /// Waiting jobs in the order of service. Jobs beyond `max_rows` rows may be left out.
    pub pending: &'a [Pending],
    /// Latest arrivals.
    pub arrivals: &'a Arrivals,
    /// Run times by batch size.
    pub profile: &'a LatencyProfile,
    /// Number of idle workers, the one that asks included.
    pub idle_workers: usize,
}

/// What a free worker does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// No job waits, so there is nothing to do.
    Idle,
    /// The first jobs of the queue, this many, run now.
    Run(usize),
    /// Waiting for more jobs pays until that time. The worker asks again then, or at the next arrival.
    WaitUntil(Instant),
}

/// Decides what the worker that asks does now.
#[must_use]
pub fn decide(snapshot: &Snapshot<'_>, limits: &BatchLimits, now: Instant) -> Decision {
    let candidates = candidates(snapshot.pending, limits);
    let Some((jobs, rows)) = best_size(snapshot, limits, &candidates, now) else { return Decision::Idle };
    // Another job can only join when all waiting jobs go into this batch and there is room for more.
    let complete =
        jobs < snapshot.pending.len() || rows >= limits.max_rows || !snapshot.pending.iter().all(|job| job.batchable);
    if complete || snapshot.idle_workers > 1 {
        return Decision::Run(jobs);
    }
    match worth_waiting_until(snapshot, limits, rows, now) {
        Some(until) if until > now => Decision::WaitUntil(until),
        _ => Decision::Run(jobs),
    }
}

/// The batches that could run (the first job, the first two, …), each as its number of jobs and of rows.
fn candidates(pending: &[Pending], limits: &BatchLimits) -> Vec<(usize, usize)> {
    let mut rows = 0;
    let mut candidates: Vec<(usize, usize)> = Vec::new();
    for (index, job) in pending.iter().enumerate() {
        rows += job.rows;
        if index > 0 && (rows > limits.max_rows || !job.batchable) {
            break;
        }
        candidates.push((index + 1, rows));
        if !job.batchable {
            break;
        }
    }
    candidates
}

/// The batch to explore instead of the first `jobs` jobs: about twice as many, with the sizes of both.
///
/// None where so many do not wait or may not run together. None, too, where the larger size is known to be better: then
/// it was deadlines that ruled it out.
#[must_use]
pub fn larger_batch(snapshot: &Snapshot<'_>, limits: &BatchLimits, jobs: usize) -> Option<(usize, Exploration)> {
    let candidates = candidates(snapshot.pending, limits);
    let (_, rows) = *candidates.iter().find(|(some, _)| *some == jobs)?;
    let (more, larger) = *candidates.iter().rev().find(|(more, _)| *more <= 2 * jobs)?;
    let exploration = Exploration { size: limits.padded_rows(larger), instead_of: limits.padded_rows(rows) };
    let unknown = exploration.size != exploration.instead_of && !exploration.was_better(snapshot.profile);
    unknown.then_some((more, exploration))
}

/// A batch size that is run to measure it, instead of the one that seems best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exploration {
    size: usize,
    instead_of: usize,
}

impl Exploration {
    /// Whether the explored size is the better one, by what the profile knows now.
    #[must_use]
    pub fn was_better(self, profile: &LatencyProfile) -> bool {
        let rate = |size| per_second(size, profile.service_time(size));
        rate(self.size) > CLEARLY_BETTER * rate(self.instead_of)
    }
}

/// The batch with the best goodput, as its number of jobs and of rows.
fn best_size(
    snapshot: &Snapshot<'_>,
    limits: &BatchLimits,
    candidates: &[(usize, usize)],
    now: Instant,
) -> Option<(usize, usize)> {
    let goodput = |&(jobs, rows): &(usize, usize)| {
        let size = limits.padded_rows(rows);
        let end = now + snapshot.profile.p95(size);
        let batch = snapshot.pending.iter().take(jobs);
        let in_time: usize = batch.filter(|job| job.deadline >= end).map(|job| job.rows).sum();
        per_second(in_time, snapshot.profile.service_time(size))
    };
    // Where no batch is sure to meet its deadlines, the most efficient one is the best that is left.
    let throughput =
        |&(_, rows): &(usize, usize)| per_second(rows, snapshot.profile.service_time(limits.padded_rows(rows)));
    let mut rates: Vec<f64> = candidates.iter().map(goodput).collect();
    if rates.iter().all(|rate| *rate <= 0.0) {
        rates = candidates.iter().map(throughput).collect();
    }
    candidates.get(best_of(&rates)?).copied()
}

/// Index of the best rate, or of the first one as long as none is clearly better.
fn best_of(rates: &[f64]) -> Option<usize> {
    let first = *rates.first()?;
    let (index, best) = rates.iter().copied().enumerate().rev().max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    Some(if best > first * CLEARLY_BETTER { index } else { 0 })
}

/// Time until which one more job is worth waiting for; none when waiting does not pay.
fn worth_waiting_until(snapshot: &Snapshot<'_>, limits: &BatchLimits, rows: usize, now: Instant) -> Option<Instant> {
    let gap = snapshot.arrivals.gap(now)?;
    let last = *snapshot.arrivals.0.back()?;
    let profile = snapshot.profile;
    let (size, joined) = (limits.padded_rows(rows), limits.padded_rows(rows + 1));
    let added = profile.service_time(joined).saturating_sub(profile.service_time(size));
    let saved = profile.service_time(limits.padded_rows(1)) / u32::try_from(rows + 1).ok()?;
    let patience = saved.checked_sub(added)?;
    if gap >= patience {
        return None;
    }
    let oldest = snapshot.pending.iter().map(|job| job.queued_at).min()?;
    let tightest = snapshot.pending.iter().map(|job| job.deadline).min()?;
    let safe = tightest.checked_sub(profile.p95(joined))?;
    let until = (last + patience).min(safe);
    Some(limits.max_delay.map_or(until, |most| until.min(oldest + most)))
}

/// What stands between a job and its run.
#[derive(Debug, Clone, Copy)]
pub struct QueueAhead {
    /// Rows that are served before the job.
    pub rows_ahead: usize,
    /// Sum over the workers of the time that each is still busy.
    pub busy: Duration,
    /// Number of workers.
    pub workers: usize,
    /// Mean time between arrivals, where it is known.
    pub arrival_gap: Option<Duration>,
}

/// Estimate of the run that a job will be part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExpectedRun {
    /// Time until the run begins.
    pub wait: Duration,
    /// Rows in the run.
    pub rows: usize,
}

/// Estimates when a job of `rows` rows will run, and in how large a batch.
///
/// The rows ahead of it go in full batches. The job goes with the rest of them, and with jobs that arrive while it waits.
#[must_use]
pub fn expected_run(profile: &LatencyProfile, limits: &BatchLimits, rows: usize, ahead: &QueueAhead) -> ExpectedRun {
    let &QueueAhead { rows_ahead, busy, workers, arrival_gap } = ahead;
    let full = efficient_size(profile, limits);
    let (runs, rest) = (rows_ahead / full, rows_ahead % full);
    let (runs, size) = if rest + rows > full && rest > 0 { (runs + 1, rows) } else { (runs, rest + rows) };
    let work = busy + profile.p50(limits.padded_rows(full)).saturating_mul(u32::try_from(runs).unwrap_or(u32::MAX));
    let wait = work / u32::try_from(workers.max(1)).unwrap_or(u32::MAX);
    let joining = arrival_gap.map_or(0.0, |gap| wait.as_secs_f64() / gap.as_secs_f64().max(1e-9));
    ExpectedRun { wait, rows: size.saturating_add(joining as usize).min(full.max(size)) }
}

/// The batch size with the best throughput, which a long queue is worked off with.
fn efficient_size(profile: &LatencyProfile, limits: &BatchLimits) -> usize {
    let sizes: Vec<usize> = profile.sizes().filter(|&size| size < limits.max_rows).chain([limits.max_rows]).collect();
    let rates: Vec<f64> =
        sizes.iter().map(|&size| per_second(size, profile.service_time(limits.padded_rows(size)))).collect();
    best_of(&rates).and_then(|index| sizes.get(index).copied()).unwrap_or(limits.max_rows).max(1)
}

/// Rows a second. An empty profile has a service time of zero, which makes larger batches better.
fn per_second(rows: usize, service_time: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
    let rows = rows as f64;
    rows / service_time.as_secs_f64().max(1e-9)
}
