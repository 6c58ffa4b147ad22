//! The jobs that wait for one variant, and what is known about those that wait for them. Pure: it has no clock and no
//! lock, so that a test can move time as it likes. [`super::queue`] puts the lock around it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use super::{
    job::{Job, JobError},
    latency_profile::LatencyProfile,
    policy::{self, Arrivals, Decision, Exploration, Limits, Pending, Snapshot},
    stats::{Done, Stats},
};

/// Who waits, who works, what runs cost.
#[derive(Debug)]
pub struct Backlog {
    limits: Limits,
    capacity: usize,
    // By turn, then by arrival: the order of service.
    jobs: BTreeMap<(Instant, u64), Job>,
    pushed: u64,
    arrivals: Arrivals,
    profile: LatencyProfile,
    stats: Stats,
    // Until when each worker is busy, by the profile; none when it is free.
    busy_until: Vec<Option<Instant>>,
    // The next try of a larger size: in so many runs, then every so many; and the last one.
    try_in: u64,
    try_every: u64,
    tried: Option<Exploration>,
    // When the profile last learned; at first from the warm-up.
    learned_at: Instant,
}

/// A size that was measured in a bad moment would never be tried again. So of so many runs one is twice as large as
/// seems best, if as many wait: often as long as that turns out to be better, else ever more rarely.
const TRIED_EVERY: (u64, u64) = (32, 4096);

/// After so long without a run the profile may be about another machine than today's.
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
    /// Its deadline has passed.
    DeadlineExceeded,
    /// It would be answered after that time, which is past its deadline.
    TooSlow(Duration),
    /// The backlog has ended.
    Closed,
}

impl Backlog {
    /// An empty backlog for at most `capacity` jobs, before `workers`.
    #[must_use]
    pub fn new(capacity: usize, workers: usize, limits: Limits, profile: LatencyProfile, now: Instant) -> Self {
        Self {
            limits,
            capacity,
            jobs: BTreeMap::new(),
            pushed: 0,
            arrivals: Arrivals::default(),
            profile,
            stats: Stats::default(),
            busy_until: vec![None; workers],
            try_in: TRIED_EVERY.0,
            try_every: TRIED_EVERY.0,
            tried: None,
            learned_at: now,
        }
    }

    /// Takes a job in, if there is room and it can be answered before its deadline.
    ///
    /// # Errors
    /// With the reason why not.
    pub fn push(&mut self, job: Job, now: Instant) -> Result<(), Refusal> {
        if now >= job.waiting.deadline {
            return Err(Refusal::DeadlineExceeded);
        }
        // Those whom nobody waits for take nobody's place.
        self.drop_unwanted(now);
        let turn = job.priority.turn(job.waiting.queued_at);
        let ahead = self.rows_before(turn);
        let expected = self.expected(ahead, job.waiting.rows, now);
        if self.jobs.len() >= self.capacity {
            return Err(Refusal::Full(expected));
        }
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
        if rows_ahead == 0 && self.busy_until.iter().any(Option::is_none) {
            // Where nobody is in its way, a few p95 runs of others must not keep it away.
            return self.profile.p50(self.limits.padded(rows));
        }
        let busy = self.busy_until.iter().flatten().map(|until| until.saturating_duration_since(now)).sum();
        let (workers, gap) = (self.busy_until.len(), self.arrivals.gap(now));
        let (wait, size) = policy::expected_wait(&self.profile, &self.limits, (rows_ahead, rows), busy, workers, gap);
        wait + self.profile.p95(self.limits.padded(size))
    }

    /// The rows that go before a job with that turn.
    #[must_use]
    pub fn rows_before(&self, turn: Instant) -> usize {
        self.jobs.range(..(turn, u64::MAX)).map(|(_, job)| job.waiting.rows).sum()
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
        let waiting: Vec<Pending> = self.jobs.values().take(self.limits.max_rows + 1).map(|job| job.waiting).collect();
        let idle_workers =
            if hurry { usize::MAX } else { self.busy_until.iter().filter(|busy| busy.is_none()).count() };
        let snapshot = Snapshot { waiting: &waiting, arrivals: &self.arrivals, profile: &self.profile, idle_workers };
        match policy::decide(&snapshot, &self.limits, now) {
            Decision::Idle => Next::Idle,
            Decision::WaitUntil(until) => Next::WaitUntil(until),
            Decision::Run(jobs) => {
                let larger = policy::twice_as_large(&snapshot, &self.limits, jobs);
                let jobs = self.explore(larger).unwrap_or(jobs);
                let batch: Vec<Job> = (0..jobs).map_while(|_| self.jobs.pop_first()).map(|(_, job)| job).collect();
                let rows = batch.iter().map(|job| job.waiting.rows).sum();
                self.set_busy(worker, Some(now + self.profile.p50(self.limits.padded(rows))));
                Next::Batch(batch)
            }
        }
    }

    /// A run has ended: the profile and the statistics learn from it.
    pub fn done(&mut self, done: &Done, now: Instant) {
        self.learned_at = now;
        self.profile.record(done.padded, done.run);
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
    pub fn profile(&self) -> &LatencyProfile {
        &self.profile
    }

    /// What has been run so far.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// A profile that says "too p95" keeps everybody away who could teach it better. So when nothing has run for a
    /// while, one job may try.
    #[must_use]
    pub fn must_learn(&self, now: Instant) -> bool {
        self.jobs.is_empty()
            && self.busy_until.iter().all(Option::is_none)
            && now.saturating_duration_since(self.learned_at) > STALE
    }

    /// The larger batch, when it is time to try one.
    fn explore(&mut self, larger: Option<(usize, Exploration)>) -> Option<usize> {
        let (jobs, trying) = larger?;
        self.try_in = self.try_in.saturating_sub(1);
        if self.try_in > 0 {
            return None;
        }
        if let Some(tried) = self.tried.replace(trying) {
            let (least, most) = TRIED_EVERY;
            self.try_every = if tried.was_better(&self.profile) { least } else { (self.try_every * 2).min(most) };
        }
        self.try_in = self.try_every;
        Some(jobs)
    }

    fn set_busy(&mut self, worker: usize, until: Option<Instant>) {
        if let Some(busy) = self.busy_until.get_mut(worker) {
            *busy = until;
        }
    }

    /// The late are told, the gone are dropped. When several wait, late is also who could not be answered in time any
    /// more by the fastest run that there has been: that time is better spent on the others.
    pub fn drop_unwanted(&mut self, now: Instant) {
        let fastest = if self.jobs.len() > 1 { self.profile.fastest(1) } else { Duration::ZERO };
        let unwanted = |_: &_, job: &mut Job| job.is_cancelled() || now + fastest >= job.waiting.deadline;
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
        latency_profile::Run,
    };

    type Reply = oneshot::Receiver<Result<RunOutput, JobError>>;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A backlog before one worker, whose runs take 10 ms a row.
    fn backlog(capacity: usize, now: Instant) -> Backlog {
        let mut profile = LatencyProfile::default();
        (0..8).for_each(|_| profile.record(1, Run { wall: ms(10), service_time: ms(10) }));
        Backlog::new(capacity, 1, Limits { max_rows: 8, buckets: Vec::new(), max_delay: None }, profile, now)
    }

    fn job(now: Instant, deadline_ms: u64, priority: u8) -> (Job, Reply) {
        let (reply, receiver) = oneshot::channel();
        let waiting = Pending { rows: 1, shares: true, queued_at: now, deadline: now + ms(deadline_ms) };
        let priority = Priority::new(priority).expect("0 to 9");
        (Job { inputs: Vec::new(), waiting, priority, reply, meter: None }, receiver)
    }

    fn taken(backlog: &mut Backlog, now: Instant) -> Vec<Duration> {
        match backlog.next(0, false, now) {
            Next::Batch(jobs) => jobs.iter().map(|job| job.waiting.deadline - now).collect(),
            Next::WaitUntil(_) | Next::Idle => Vec::new(),
        }
    }

    #[test]
    fn who_cannot_be_answered_in_time_is_told_at_once_and_when() {
        let now = Instant::now();
        let mut backlog = backlog(3, now);
        let push = |backlog: &mut Backlog, deadline| {
            let (job, reply) = job(now, deadline, 5);
            backlog.push(job, now).map(|()| reply)
        };
        assert_eq!(push(&mut backlog, 0).err(), Some(Refusal::DeadlineExceeded));
        assert_eq!(push(&mut backlog, 9).err(), Some(Refusal::TooSlow(ms(10))));
        let _first = push(&mut backlog, 11).expect("room and time");
        assert_eq!(push(&mut backlog, 19).err(), Some(Refusal::TooSlow(ms(20))), "behind one other");
        let _others = [21, 31].map(|deadline| push(&mut backlog, deadline).expect("room and time"));
        assert_eq!(push(&mut backlog, 1000).err(), Some(Refusal::Full(ms(40))));
    }

    #[test]
    fn a_high_priority_overtakes_those_that_came_a_little_earlier() {
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
    fn the_late_are_told_and_the_gone_are_dropped() {
        let now = Instant::now();
        let mut backlog = backlog(8, now);
        let (late, mut told) = job(now, 15, 5);
        let (gone, hung_up) = job(now, 1_000, 5);
        let (wanted, _reply) = job(now, 2_000, 5);
        for job in [late, gone, wanted] {
            backlog.push(job, now).expect("room");
        }
        drop(hung_up);
        assert_eq!(taken(&mut backlog, now + ms(6)), [ms(1_994)], "the first could not be in time any more");
        assert_eq!(told.try_recv().expect("told").err(), Some(JobError::DeadlineExceeded));
        assert!(backlog.is_empty());
    }

    #[test]
    fn a_curve_that_keeps_everybody_away_is_put_to_the_test() {
        let now = Instant::now();
        let mut backlog = backlog(8, now);
        let (job, _reply) = job(now + ms(1_001), 5, 5);
        assert!(!backlog.must_learn(now + ms(1_000)));
        backlog.push(job, now + ms(1_001)).expect("nothing has run for a second");
        assert_eq!(taken(&mut backlog, now + ms(1_001)), [ms(5)]);
        assert!(!backlog.must_learn(now + ms(2_500)), "it runs");
    }
}
