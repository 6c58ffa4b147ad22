//! A device that exists in virtual time: the real line and policy of ounce in front of it, or a batcher with a fixed
//! size, and arrivals from a seeded generator. Nothing sleeps, and the same seed gives the same run.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use ounce::cost::FairShare;
use ounce::scheduler::{
    backlog::{Backlog, NextWork},
    job::{Job, JobError, Priority, RunOutput},
    latency_profile::{LatencyProfile, RunTiming},
    policy::{BatchLimits, Pending},
    stats::CompletedRun,
};
use tokio::sync::oneshot;

/// A batch of n costs `per_run + n · per_row`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Device {
    pub(crate) per_run: Duration,
    pub(crate) per_row: Duration,
}

impl Device {
    pub(crate) fn run(self, rows: usize) -> Duration {
        self.per_run + self.per_row * u32::try_from(rows).expect("few")
    }

    /// Rows a second with batches of that size and no pause.
    pub(crate) fn capacity(self, rows: usize) -> f64 {
        rows as f64 / self.run(rows).as_secs_f64()
    }

    /// What the warm-up would have measured.
    pub(crate) fn warmed_up(self, max_rows: usize) -> LatencyProfile {
        let mut curve = LatencyProfile::default();
        for rows in (0..).map(|power| 1 << power).take_while(|rows| *rows < max_rows).chain([max_rows]) {
            let wall = self.run(rows);
            (0..3).for_each(|_| curve.record(rows, RunTiming { wall, service_time: wall }));
        }
        curve
    }
}

/// One request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    /// Since the beginning.
    pub(crate) at: Duration,
    pub(crate) deadline: Duration,
    pub(crate) priority: Priority,
    pub(crate) share: FairShare,
    pub(crate) rows: usize,
    /// Its client hangs up after that time, if it has no answer by then.
    pub(crate) patience: Option<Duration>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Refused,
    Late,
    Gone,
    /// In the so-many-th run; since the beginning.
    RunOutput {
        run: usize,
        started: Duration,
        ended: Duration,
    },
}

/// The whole story: each arrival's fate, and the sizes of the runs.
#[derive(Debug)]
pub(crate) struct Story {
    pub(crate) fates: Vec<Fate>,
    pub(crate) runs: Vec<usize>,
}

impl Story {
    /// Answers before their deadlines.
    pub(crate) fn in_time(&self, arrivals: &[Arrival]) -> usize {
        let in_time = |(fate, arrival): &(&Fate, &Arrival)| matches!(fate, Fate::RunOutput { ended, .. } if *ended <= arrival.at + arrival.deadline);
        self.fates.iter().zip(arrivals).filter(in_time).count()
    }
}

/// Random numbers, the same for the same seed.
#[derive(Debug)]
pub(crate) struct Random(fastrand::Rng);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(fastrand::Rng::with_seed(seed))
    }

    /// A number from 0 to below 1.
    pub(crate) fn unit(&mut self) -> f64 {
        self.0.f64()
    }

    /// Poisson arrivals.
    pub(crate) fn arrivals(&mut self, per_second: f64, seconds: f64, deadline: Duration) -> Vec<Arrival> {
        let mut at = 0.0;
        let mut arrivals = Vec::new();
        loop {
            at -= (1.0 - self.unit()).ln() / per_second;
            if at >= seconds {
                return arrivals;
            }
            let at = Duration::from_secs_f64(at);
            arrivals.push(Arrival {
                at,
                deadline,
                priority: Priority::default(),
                share: FairShare::default(),
                rows: 1,
                patience: None,
            });
        }
    }
}

type Reply = oneshot::Receiver<Result<RunOutput, JobError>>;

/// A batch that runs.
struct Running {
    ends: Instant,
    rows: usize,
    jobs: Vec<Job>,
}

/// ounce's line in front of `workers` such devices.
pub(crate) fn ounce(
    device: Device,
    workers: usize,
    limits: &BatchLimits,
    capacity: usize,
    curve: LatencyProfile,
    arrivals: &[Arrival],
) -> Story {
    let start = Instant::now();
    let mut line = Backlog::new(capacity, workers, limits.clone(), curve, start);
    let mut story = Story { fates: vec![Fate::Refused; arrivals.len()], runs: Vec::new() };
    let mut replies: Vec<Option<Reply>> = arrivals.iter().map(|_| None).collect();
    let mut running: Vec<Option<Running>> = (0..workers).map(|_| None).collect();
    let mut hang_ups: BTreeSet<(Instant, usize)> = BTreeSet::new();
    let (mut next_arrival, mut now) = (0, start);
    loop {
        for batch in running.iter_mut().filter_map(|place| place.take_if(|batch| batch.ends <= now)) {
            let (wall, zero) = (device.run(batch.rows), Duration::ZERO);
            let (timing, rows, jobs) = (RunTiming { wall, service_time: wall }, batch.rows, batch.jobs.len() as u64);
            line.record_run(
                &CompletedRun { rows, padded_rows: rows, jobs, queued: zero, gather: zero, timing, scatter: zero },
                now,
            );
        }
        while let Some(arrival) = arrivals.get(next_arrival).filter(|arrival| start + arrival.at <= now) {
            let (reply, receiver) = oneshot::channel();
            let pending =
                Pending { rows: arrival.rows, batchable: true, queued_at: now, deadline: now + arrival.deadline };
            if line
                .push(
                    Job {
                        inputs: Vec::new(),
                        pending,
                        priority: arrival.priority,
                        share: arrival.share,
                        reply,
                        meter: None,
                    },
                    now,
                )
                .is_ok()
            {
                replies[next_arrival] = Some(receiver);
                story.fates[next_arrival] = Fate::Late;
                hang_ups.extend(arrival.patience.map(|patience| (now + patience, next_arrival)));
            }
            next_arrival += 1;
        }
        while let Some((_, index)) = hang_ups.first().copied().filter(|(at, _)| *at <= now) {
            hang_ups.pop_first();
            replies[index] = None;
            if story.fates[index] == Fate::Late {
                story.fates[index] = Fate::Gone;
            }
        }
        let mut wake: Option<Instant> = None;
        for (worker, place) in running.iter_mut().enumerate().filter(|(_, place)| place.is_none()) {
            match line.next_work(worker, false, now) {
                NextWork::Batch(jobs) => {
                    let rows = limits.padded_rows(jobs.iter().map(|job| job.pending.rows).sum());
                    let ends = now + device.run(rows);
                    for job in &jobs {
                        let index = index_of(job, arrivals, start);
                        assert!(replies[index].is_some(), "a client that has gone is not run");
                        let (started, ended) = (now - start, ends - start);
                        story.fates[index] = Fate::RunOutput { run: story.runs.len(), started, ended };
                    }
                    story.runs.push(rows);
                    *place = Some(Running { ends, rows, jobs });
                }
                NextWork::WaitUntil(until) => wake = wake.into_iter().chain([until]).min(),
                NextWork::Idle => {}
            }
        }
        let ends = running.iter().flatten().map(|batch| batch.ends);
        let arrives = arrivals.get(next_arrival).map(|arrival| start + arrival.at);
        let hangs_up = hang_ups.first().map(|(at, _)| *at);
        match ends.chain(arrives).chain(wake).chain(hangs_up).min() {
            Some(next) => now = next.max(now),
            None => return story,
        }
    }
}

/// Which arrival a job was: the generator never gives two at one time.
fn index_of(job: &Job, arrivals: &[Arrival], start: Instant) -> usize {
    let at = job.pending.queued_at - start;
    arrivals.partition_point(|arrival| arrival.at < at)
}

/// When a batcher with a fixed size runs fewer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Fixed {
    /// At once.
    Greedy,
    /// When the oldest would be late otherwise; it knows the device.
    Patient,
}

/// The best that a fixed size can do for these arrivals, in answers in time, and that size: of sizes up to `max`, of both
/// ways to wait, and of several lengths of the queue.
pub(crate) fn best_fixed(device: Device, max: usize, arrivals: &[Arrival]) -> (usize, usize) {
    let sizes = [1, 2, 4, 8, 12, 16, 24, 32].into_iter().filter(|size| *size <= max);
    let ways = sizes.flat_map(|size| [Fixed::Greedy, Fixed::Patient].map(|when| (size, when)));
    let all = ways.flat_map(|(size, when)| [size, 2 * size, 4 * size, usize::MAX].map(|queue| (size, when, queue)));
    let tried = all.map(|(size, when, queue)| (fixed(device, size, when, queue, arrivals).in_time(arrivals), size));
    tried.max().expect("sizes")
}

/// A batcher with a fixed size in front of one such device. More than `queue` are refused; who is late is not run.
pub(crate) fn fixed(device: Device, size: usize, when: Fixed, queue: usize, arrivals: &[Arrival]) -> Story {
    let mut story = Story { fates: vec![Fate::Late; arrivals.len()], runs: Vec::new() };
    let mut waiting: VecDeque<usize> = VecDeque::new();
    let (mut now, mut next) = (Duration::ZERO, 0);
    loop {
        while arrivals.get(next).is_some_and(|arrival| arrival.at <= now) {
            if waiting.len() < queue {
                waiting.push_back(next);
            }
            next += 1;
        }
        let latest_start =
            |index: usize, rows| (arrivals[index].at + arrivals[index].deadline).saturating_sub(device.run(rows));
        waiting.retain(|index| latest_start(*index, 1) >= now);
        let rows = waiting.len().min(size);
        let due = waiting.front().map(|first| latest_start(*first, rows));
        let go = match (due, when) {
            (None, _) => false,
            (Some(_), Fixed::Greedy) => true,
            (Some(due), Fixed::Patient) => rows == size || due <= now,
        };
        if go {
            let ended = now + device.run(rows);
            for index in waiting.drain(..rows) {
                story.fates[index] = Fate::RunOutput { run: story.runs.len(), started: now, ended };
            }
            story.runs.push(rows);
            now = ended;
            continue;
        }
        let arrives = arrivals.get(next).map(|arrival| arrival.at);
        match arrives.into_iter().chain(due.filter(|due| *due > now)).min() {
            Some(then) => now = then,
            None => return story,
        }
    }
}
