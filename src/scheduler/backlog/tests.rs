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
    job_of(FairShare::default(), now, deadline_ms, priority)
}

fn job_of(share: FairShare, now: Instant, deadline_ms: u64, priority: u8) -> (Job, Reply) {
    let (reply, receiver) = oneshot::channel();
    let pending = Pending { rows: 1, batchable: true, queued_at: now, deadline: now + ms(deadline_ms) };
    let priority = Priority::new(priority).expect("0 to 9");
    (Job { inputs: Vec::new(), pending, priority, share, reply, meter: None }, receiver)
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
fn a_tenant_that_floods_neither_goes_first_nor_keeps_another_out() {
    let now = Instant::now();
    let (mut backlog, other) = (backlog(4, now), FairShare::new(1, 1.0));
    let mut flood: Vec<_> = (0..4)
        .map(|later| {
            let (job, reply) = job(now, 1_000 + later, 9);
            backlog.push(job, now).expect("room");
            reply
        })
        .collect();
    let (more, _reply) = job(now, 2_000, 9);
    assert_eq!(backlog.push(more, now), Err(PushError::Full(ms(50))));
    let (late, _reply) = job_of(other, now, 9, 0);
    assert!(matches!(backlog.push(late, now), Err(PushError::TooSlow(_))), "nobody makes room for what is too late");
    let (theirs, _reply) = job_of(other, now, 500, 0);
    backlog.push(theirs, now).expect("the last of those who have more gives way");
    let last = flood.pop().expect("four").try_recv().expect("an answer").err();
    assert!(matches!(last, Some(JobError::Displaced(_))), "{last:?}");
    let order: Vec<_> = (0..4).flat_map(|_| taken(&mut backlog, now)).collect();
    assert_eq!(order, [ms(1_000), ms(500), ms(1_001), ms(1_002)]);
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
