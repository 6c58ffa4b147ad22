//! The jobs that wait for one variant, and what is known about those that wait for them. Pure: it has no clock and no
//! lock, so that a test can move time as it likes. [`super::queue`] puts the lock around it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    curve::Curve,
    job::{Job, JobError},
    policy::{self, Arrivals, Decision, Limits, View, Waiting},
    stats::{Done, Stats},
};

/// Who waits, who works, what runs cost.
#[derive(Debug)]
pub struct Line {
    limits: Limits,
    capacity: usize,
    // By turn, then by arrival: the order of service.
    jobs: BTreeMap<(Instant, u64), Job>,
    pushed: u64,
    arrivals: Arrivals,
    curve: Curve,
    stats: Stats,
    // Until when each worker is busy, by the curve; none when it is free.
    busy_until: Vec<Option<Instant>>,
    last_done: Option<Instant>,
}

/// After so long without a run the curve may be about another machine than today's.
const STALE: Duration = Duration::from_secs(1);

/// What a worker gets.
#[derive(Debug)]
pub enum Next {
    /// These jobs, in one run.
    Batch(Vec<Job>),
    /// Nothing yet: ask again at that time or when a job has come.
    WaitUntil(Instant),
    /// Nothing: ask again when a job has come.
    Idle,
}

/// Why a job was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// As many wait as may; a place may be free after that time.
    Full(Duration),
    /// It would be answered after that time, which is past its deadline.
    TooSlow(Duration),
    /// The line has ended.
    Closed,
}

impl Line {
    /// An empty line for at most `capacity` jobs, before `workers`.
    #[must_use]
    pub fn new(capacity: usize, workers: usize, limits: Limits, curve: Curve) -> Self {
        Self {
            limits,
            capacity,
            jobs: BTreeMap::new(),
            pushed: 0,
            arrivals: Arrivals::default(),
            curve,
            stats: Stats::default(),
            busy_until: vec![None; workers],
            last_done: None,
        }
    }

    /// Takes a job in, if there is room and it can be answered before its deadline.
    ///
    /// # Errors
    /// With the reason why not.
    pub fn push(&mut self, job: Job, now: Instant) -> Result<(), Refusal> {
        if self.jobs.len() >= self.capacity {
            // Those whom nobody waits for take nobody's place.
            self.drop_unwanted(now);
        }
        let turn = job.priority.turn(job.waiting.queued_at);
        if self.jobs.len() >= self.capacity {
            return Err(Refusal::Full(self.expected(self.rows(), job.waiting.rows, now)));
        }
        let ahead = self.jobs.range(..(turn, self.pushed)).map(|(_, job)| job.waiting.rows).sum();
        let expected = self.expected(ahead, job.waiting.rows, now);
        if now + expected > job.waiting.deadline && !self.must_learn(now) {
            return Err(Refusal::TooSlow(expected));
        }
        self.arrivals.record(now);
        self.jobs.insert((turn, self.pushed), job);
        self.pushed += 1;
        Ok(())
    }

    /// How long it takes until a job of `rows` that comes now is answered, behind `rows_ahead`.
    #[must_use]
    pub fn expected(&self, rows_ahead: usize, rows: usize, now: Instant) -> Duration {
        let free = self.busy_until.iter().filter(|until| until.is_none()).count();
        let busy = self.busy_until.iter().flatten().map(|until| until.saturating_duration_since(now)).sum();
        let workers = self.busy_until.len();
        let gap = self.arrivals.gap(now);
        let (wait, size) = policy::expected_wait(&self.curve, &self.limits, (rows_ahead, rows), busy, workers, gap);
        let at_once = free > 0 && rows_ahead == 0;
        self.curve.slow(self.limits.padded(size)) + if at_once { Duration::ZERO } else { wait }
    }

    /// The rows that wait.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.jobs.values().map(|job| job.waiting.rows).sum()
    }

    /// How many jobs wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    /// Does none wait?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.jobs.is_empty()
    }

    /// What `worker`, which is free, does now. With `hurry` it waits for no company.
    ///
    /// Jobs past their deadline are told so, and jobs whose client has gone are dropped: neither is computed.
    pub fn next(&mut self, worker: usize, hurry: bool, now: Instant) -> Next {
        self.drop_unwanted(now);
        self.set_busy(worker, None);
        let waiting: Vec<Waiting> = self.jobs.values().take(self.limits.max_rows + 1).map(|job| job.waiting).collect();
        let idle_workers =
            if hurry { usize::MAX } else { self.busy_until.iter().filter(|busy| busy.is_none()).count() };
        let view = View { waiting: &waiting, arrivals: &self.arrivals, curve: &self.curve, idle_workers };
        match policy::decide(&view, &self.limits, now) {
            Decision::Idle => Next::Idle,
            Decision::WaitUntil(until) => Next::WaitUntil(until),
            Decision::Run(jobs) => {
                let batch: Vec<Job> = (0..jobs).map_while(|_| self.jobs.pop_first()).map(|(_, job)| job).collect();
                let rows = batch.iter().map(|job| job.waiting.rows).sum();
                self.set_busy(worker, Some(now + self.curve.typical(self.limits.padded(rows))));
                Next::Batch(batch)
            }
        }
    }

    /// A run has ended: the curve and the statistics learn from it.
    pub fn done(&mut self, done: &Done, now: Instant) {
        self.last_done = Some(now);
        self.curve.record(done.rows, done.run);
        self.stats.record(done);
    }

    /// A run has failed for good.
    pub fn failed(&mut self, took: Duration) {
        self.stats.failed(took);
    }

    /// Forgets those who wait.
    pub fn clear(&mut self) {
        self.jobs.clear();
    }

    /// What runs cost.
    #[must_use]
    pub fn curve(&self) -> &Curve {
        &self.curve
    }

    /// What has been run so far.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// A curve that says "too slow" keeps everybody away who could teach it better. So when nothing has run for a
    /// while, one job may try.
    fn must_learn(&self, now: Instant) -> bool {
        self.jobs.is_empty()
            && self.busy_until.iter().all(Option::is_none)
            && self.last_done.is_none_or(|last| now.saturating_duration_since(last) > STALE)
    }

    fn set_busy(&mut self, worker: usize, until: Option<Instant>) {
        if let Some(busy) = self.busy_until.get_mut(worker) {
            *busy = until;
        }
    }

    /// The late are told, the gone are dropped. When several wait, late is also who could not be answered in time any
    /// more by the fastest run that there has been: that time is better spent on the others.
    fn drop_unwanted(&mut self, now: Instant) {
        let fastest = if self.jobs.len() > 1 { self.curve.fastest(1) } else { Duration::ZERO };
        let unwanted = |_: &_, job: &mut Job| job.is_gone() || now + fastest >= job.waiting.deadline;
        for (_, job) in self.jobs.extract_if(.., unwanted) {
            if !job.is_gone() {
                job.answer(Err(JobError::Late));
            }
        }
    }
}
