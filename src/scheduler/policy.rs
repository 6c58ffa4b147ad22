//! Which of the waiting jobs run now. Pure: the queue, the profile and the time come in, a decision goes out.
//!
//! **The size** is the one with the best goodput: rows answered within their deadlines a second of what the run
//! runs_on. Where none is clearly better than the first job alone, that one runs alone: it is answered sooner.
//!
//! **Pending** for one more job makes n + 1 rows wait until it comes and until its row is computed, and saves it a run
//! of its own. So it pays as long as `run(1) > (n + 1) · (gap + run(n + 1) − run(n))`, with `gap` the time between
//! arrivals. On a CPU, where n rows take n times as long as one, that never holds; on a device, where a run costs much
//! and a row little, it holds when requests come close together. It never waits while another worker could take the
//! next job, and never past the last moment at which the tightest deadline of the batch is still safe. (The optimal
//! rule for such queues is a threshold on the queue's length: Deb and Serfozo, "Optimal control of batch service
//! queues", 1973; this one puts the threshold where one step of waiting stops paying.)

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::latency_profile::LatencyProfile;

/// The best batch has to be better than the first job alone by this factor, to be worth its longer run.
const WORTH_IT: f64 = 1.05;

/// The gaps between arrivals are averaged over so many.
const GAPS: usize = 16;

/// What a batch may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The most rows in a run.
    pub max_rows: usize,
    /// The sizes that a run may have, ascending, the last at least `max_rows`; fewer rows are padded. Empty: any.
    pub buckets: Vec<usize>,
    /// The longest that a job may be made to wait for others while a worker is free; none: as long as it pays.
    pub max_delay: Option<Duration>,
}

impl Limits {
    /// The rows that are run when `rows` are there.
    #[must_use]
    pub fn padded(&self, rows: usize) -> usize {
        self.buckets.iter().copied().find(|&bucket| bucket >= rows).unwrap_or(rows)
    }
}

/// 1, 2, 4, … and `max`.
#[must_use]
pub fn powers_up_to(max: usize) -> Vec<usize> {
    let powers = std::iter::successors(Some(1usize), |size| size.checked_mul(2));
    powers.take_while(|size| *size < max).chain([max]).collect()
}

/// A job as the policy sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Its rows.
    pub rows: usize,
    /// May others share its run?
    pub shares: bool,
    /// When it was queued.
    pub queued_at: Instant,
    /// When its answer stops being wanted.
    pub deadline: Instant,
}

/// The times of the latest arrivals.
#[derive(Debug, Clone, Default)]
pub struct Arrivals(VecDeque<Instant>);

impl Arrivals {
    /// One more.
    pub fn record(&mut self, now: Instant) {
        if self.0.len() > GAPS {
            self.0.pop_front();
        }
        self.0.push_back(now);
    }

    /// The mean time between them, the time since the last one included; none as long as there was only one.
    #[must_use]
    pub fn gap(&self, now: Instant) -> Option<Duration> {
        let (first, arrivals) = (self.0.front()?, u32::try_from(self.0.len()).ok()?);
        (arrivals > 1).then(|| now.saturating_duration_since(*first) / arrivals)
    }
}

/// What is known at the moment of a decision.
#[derive(Debug)]
pub struct Snapshot<'a> {
    /// Who waits, in the order of service; those beyond `max_rows` may be left out.
    pub waiting: &'a [Pending],
    /// When the latest came.
    pub arrivals: &'a Arrivals,
    /// What runs cost.
    pub profile: &'a LatencyProfile,
    /// Workers that have nothing to do, the one that asks included.
    pub idle_workers: usize,
}

/// What a free worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nobody waits.
    Idle,
    /// The first so many jobs run now.
    Run(usize),
    /// More may join until then; ask again at that time, or at the next arrival.
    WaitUntil(Instant),
}

/// What the worker that asks does now.
#[must_use]
pub fn decide(snapshot: &Snapshot<'_>, limits: &Limits, now: Instant) -> Decision {
    let candidates = candidates(snapshot.waiting, limits);
    let Some((jobs, rows)) = best_size(snapshot, limits, &candidates, now) else { return Decision::Idle };
    // Company can only come when everybody who is here goes, and there is room for more.
    let complete =
        jobs < snapshot.waiting.len() || rows >= limits.max_rows || !snapshot.waiting.iter().all(|job| job.shares);
    if complete || snapshot.idle_workers > 1 {
        return Decision::Run(jobs);
    }
    match worth_waiting_until(snapshot, limits, rows, now) {
        Some(until) if until > now => Decision::WaitUntil(until),
        _ => Decision::Run(jobs),
    }
}

/// The batches that could run: the first job, the first two, … with their rows.
fn candidates(waiting: &[Pending], limits: &Limits) -> Vec<(usize, usize)> {
    let mut rows = 0;
    let mut candidates: Vec<(usize, usize)> = Vec::new();
    for (index, job) in waiting.iter().enumerate() {
        rows += job.rows;
        if index > 0 && (rows > limits.max_rows || !job.shares) {
            break;
        }
        candidates.push((index + 1, rows));
        if !job.shares {
            break;
        }
    }
    candidates
}

/// About twice as many jobs as `jobs`, if they wait, may run together, and are not known to be better anyway (then it was
/// deadlines that spoke against them); with the rows of both.
#[must_use]
pub fn twice_as_large(snapshot: &Snapshot<'_>, limits: &Limits, jobs: usize) -> Option<(usize, Exploration)> {
    let candidates = candidates(snapshot.waiting, limits);
    let (_, rows) = *candidates.iter().find(|(some, _)| *some == jobs)?;
    let (more, larger) = *candidates.iter().rev().find(|(more, _)| *more <= 2 * jobs)?;
    let tried = Exploration { size: limits.padded(larger), instead_of: limits.padded(rows) };
    (tried.size != tried.instead_of && !tried.was_better(snapshot.profile)).then_some((more, tried))
}

/// A size that was run to see what it costs, instead of the one that seemed best.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exploration {
    size: usize,
    instead_of: usize,
}

impl Exploration {
    /// By what is known now, was it better?
    #[must_use]
    pub fn was_better(self, profile: &LatencyProfile) -> bool {
        let rate = |size| per_second(size, profile.service_time(size));
        rate(self.size) > WORTH_IT * rate(self.instead_of)
    }
}

/// The batch with the best goodput, in jobs and rows.
fn best_size(
    snapshot: &Snapshot<'_>,
    limits: &Limits,
    candidates: &[(usize, usize)],
    now: Instant,
) -> Option<(usize, usize)> {
    let goodput = |&(jobs, rows): &(usize, usize)| {
        let size = limits.padded(rows);
        let end = now + snapshot.profile.p95(size);
        let batch = snapshot.waiting.iter().take(jobs);
        let in_time: usize = batch.filter(|job| job.deadline >= end).map(|job| job.rows).sum();
        per_second(in_time, snapshot.profile.service_time(size))
    };
    // Deadlines that nobody can be sure to meet do not choose: then the most efficient batch is the best that is left.
    let throughput = |&(_, rows): &(usize, usize)| per_second(rows, snapshot.profile.service_time(limits.padded(rows)));
    let mut rates: Vec<f64> = candidates.iter().map(goodput).collect();
    if rates.iter().all(|rate| *rate <= 0.0) {
        rates = candidates.iter().map(throughput).collect();
    }
    candidates.get(best_of(&rates)?).copied()
}

/// The place of the best rate; of the first one, as long as none is clearly better.
fn best_of(rates: &[f64]) -> Option<usize> {
    let first = *rates.first()?;
    let (place, best) = rates.iter().copied().enumerate().rev().max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    Some(if best > first * WORTH_IT { place } else { 0 })
}

/// Until when one more job is worth waiting for; none when it is not.
fn worth_waiting_until(snapshot: &Snapshot<'_>, limits: &Limits, rows: usize, now: Instant) -> Option<Instant> {
    let gap = snapshot.arrivals.gap(now)?;
    let last = *snapshot.arrivals.0.back()?;
    let profile = snapshot.profile;
    let (size, joined) = (limits.padded(rows), limits.padded(rows + 1));
    let added = profile.service_time(joined).saturating_sub(profile.service_time(size));
    let saved = profile.service_time(limits.padded(1)) / u32::try_from(rows + 1).ok()?;
    let patience = saved.checked_sub(added)?;
    if gap >= patience {
        return None;
    }
    let oldest = snapshot.waiting.iter().map(|job| job.queued_at).min()?;
    let tightest = snapshot.waiting.iter().map(|job| job.deadline).min()?;
    let safe = tightest.checked_sub(profile.p95(joined))?;
    let until = (last + patience).min(safe);
    Some(limits.max_delay.map_or(until, |most| until.min(oldest + most)))
}

/// How long a job waits behind `rows_ahead` until its own run begins, when the workers are still busy for `busy` in all,
/// and the rows of that run. Those ahead go in full batches; with the last of them it goes itself, and with those who
/// come while it waits.
#[must_use]
pub fn expected_wait(
    profile: &LatencyProfile,
    limits: &Limits,
    (rows_ahead, rows): (usize, usize),
    busy: Duration,
    workers: usize,
    gap: Option<Duration>,
) -> (Duration, usize) {
    let full = efficient_size(profile, limits);
    let (runs, rest) = (rows_ahead / full, rows_ahead % full);
    let (runs, size) = if rest + rows > full && rest > 0 { (runs + 1, rows) } else { (runs, rest + rows) };
    let work = busy + profile.p50(limits.padded(full)).saturating_mul(u32::try_from(runs).unwrap_or(u32::MAX));
    let wait = work / u32::try_from(workers.max(1)).unwrap_or(u32::MAX);
    let joining = gap.map_or(0.0, |gap| wait.as_secs_f64() / gap.as_secs_f64().max(1e-9));
    (wait, size.saturating_add(joining as usize).min(full.max(size)))
}

/// The size that a long queue is worked off with.
fn efficient_size(profile: &LatencyProfile, limits: &Limits) -> usize {
    let sizes: Vec<usize> = profile.sizes().filter(|&size| size < limits.max_rows).chain([limits.max_rows]).collect();
    let rates: Vec<f64> =
        sizes.iter().map(|&size| per_second(size, profile.service_time(limits.padded(size)))).collect();
    best_of(&rates).and_then(|place| sizes.get(place).copied()).unwrap_or(limits.max_rows).max(1)
}

/// A profile that knows nothing makes every size equally good.
fn per_second(rows: usize, service_time: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
    let rows = rows as f64;
    rows / service_time.as_secs_f64().max(1e-9)
}
