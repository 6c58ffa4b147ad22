//! Forecasts whether a request will be answered before its deadline. A forecast is made at admission, and again when
//! the body took long or a request has several images. It uses recent decode and run times, and how far recent
//! forecasts were off.

use std::time::{Duration, Instant};

use super::{
    Inference,
    call::{Asker, Deadline},
    record::{Observer, Outcome, RequestRecord},
    thread_queue::PoolWait,
    work_times::WorkEstimate,
};
use crate::{
    error::Error,
    models::Variant,
    scheduler::{
        job::Priority,
        queue::{QueueStanding, WaitEstimate},
    },
};

/// When an answer would come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forecast {
    /// When the forecast was made.
    pub made_at: Instant,
    /// The time from then to the answer.
    pub expected: Duration,
    margin: Duration,
    /// How long a quota of CPU time may hold up the answer.
    pause: Duration,
    /// Whether no other request is ahead of it and a decode thread is free.
    unobstructed: bool,
    /// How long decoding and a run alone take; zero where that has to be learned first.
    alone: Duration,
    /// The number of requests before it, queued or still to be.
    ahead: usize,
    has_room: bool,
}

/// What a request needs of the CPUs, and how fast that is done.
#[derive(Debug, Clone, Copy)]
struct Work {
    /// Its image.
    decoding: WorkEstimate,
    /// CPU seconds of a run of one row.
    run: f64,
    /// CPU seconds that are done a second, while some work waits.
    pace: f64,
    /// The longest time for which nothing is done.
    pause: Duration,
}

/// The forecast for a request of some priority, and for one of the default priority.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forecasts {
    pub own: Forecast,
    pub usual: Forecast,
}

impl Forecasts {
    /// Forecasts the answer of a variant to an image that comes now. `image` is what is known of the image.
    pub(super) fn new(inference: &Inference, variant: &Variant, asker: Asker, image: Option<WorkEstimate>) -> Self {
        let (now, pool) = (Instant::now(), &inference.decoding);
        let decoding = image.unwrap_or_else(|| WorkEstimate { expected: pool.typical(), least: Duration::ZERO });
        let wait = |priority: Priority| pool.wait(asker.share, priority.effective_arrival(now), decoding.expected);
        let own = wait(asker.priority);
        let usual = if asker.priority == Priority::default() { own } else { wait(Priority::default()) };
        let standing = |priority, pool: PoolWait| QueueStanding { priority, decoded_before: pool.ahead };
        let standings = [standing(asker.priority, own), standing(Priority::default(), usual)];
        let queues = variant.queue.wait_estimates(asker.share, standings);
        let usage = variant.info.footprint().usage(variant.queue.service_times().service_time, 1, Duration::ZERO);
        let work = Work { decoding, run: usage.cpu.seconds(), pace: inference.pace.get(), pause: inference.pace.pause };
        let free = !pool.is_full();
        let forecast = |pool: PoolWait, queue: WaitEstimate| Forecast::new(work, pool, queue, free, now);
        Self { own: forecast(own, queues[0]), usual: forecast(usual, queues[1]) }
    }
}

impl Forecast {
    /// Decoding and running overlap between requests: the slower of the two decides how long those ahead take. Where all of
    /// it together asks for more than the CPUs give, the pace at which they work decides.
    fn new(work: Work, pool: PoolWait, queue: WaitEstimate, free: bool, now: Instant) -> Self {
        let ahead = queue.rows_ahead + queue.upcoming;
        let in_stages = (pool.wait + work.decoding.expected + queue.if_queued_now).max(queue.behind_upcoming);
        #[expect(clippy::cast_precision_loss, reason = "few")]
        let runs = (queue.rows_ahead + pool.ahead + queue.running + 1) as f64 * work.run;
        let cpu_seconds = (pool.work_ahead + work.decoding.expected).as_secs_f64() + runs;
        let together = Duration::try_from_secs_f64(cpu_seconds / work.pace).unwrap_or(Duration::MAX);
        Self {
            made_at: now,
            expected: if ahead + pool.ahead + queue.running == 0 { in_stages } else { in_stages.max(together) },
            margin: queue.margin,
            pause: work.pause,
            unobstructed: ahead == 0 && (free || queue.needs_probe),
            alone: work.decoding.least + if queue.needs_probe { Duration::ZERO } else { queue.if_queued_now },
            ahead,
            has_room: queue.has_room,
        }
    }

    /// Whether the variant has no place for it, now or when those have come that are decoded before it.
    pub(super) fn is_full(&self, max_queue: usize) -> bool {
        !self.has_room || self.ahead >= max_queue
    }

    /// The same forecast, made at this moment.
    pub(super) fn renewed(self) -> Self {
        Self { made_at: Instant::now(), ..self }
    }

    /// Whether the answer would come later than in `left`.
    pub(super) fn is_late(&self, left: Duration) -> bool {
        self.is_hopeless(left) || (!self.unobstructed && self.with_margin(left) > left)
    }

    /// Whether even a run alone takes longer than that.
    fn is_hopeless(&self, left: Duration) -> bool {
        self.alone > left
    }

    /// The expected time plus a margin: the largest recent error, but at least a fifth of `left` (at the start of a
    /// rush no errors are known yet) and at most half (one bad moment must not refuse everybody). The pace is a mean, so an answer
    /// that is due when the quota is used up comes a pause later.
    fn with_margin(&self, left: Duration) -> Duration {
        self.expected + (self.margin.clamp(left / 5, left / 2) + self.pause).min(left * 2 / 3)
    }

    /// Learns how far the forecast was off, now that the request has ended.
    pub(super) fn compare(&self, variant: &Variant, answered: bool) {
        let took = self.made_at.elapsed();
        // A request that ended early without an answer tells nothing; one that ran past the forecast shows that the
        // forecast was too short.
        if answered || took > self.expected {
            variant.queue.forecast_missed(took.saturating_sub(self.expected));
        }
    }

    /// Refuses a request whose answer would come too late.
    ///
    /// # Errors
    /// [`Error::TooSlow`].
    pub(super) fn check_deadline(&self, model: &str, deadline: Deadline) -> Result<(), Error> {
        let left = deadline.left();
        if self.is_late(left) {
            return Err(too_slow(model, self.with_margin(left), self.is_hopeless(left), deadline));
        }
        Ok(())
    }
}

/// The refusal of a request that would be answered in `expected`.
pub(super) fn too_slow(model: &str, expected: Duration, hopeless: bool, deadline: Deadline) -> Error {
    Error::TooSlow {
        model: model.to_owned(),
        expected_ms: expected.as_secs_f64() * 1e3,
        deadline_ms: deadline.budget.as_secs_f64() * 1e3,
        hopeless,
        retry_after: expected.saturating_sub(deadline.left()),
    }
}

/// Observes requests, to learn how far forecasts were off.
#[derive(Debug)]
pub(super) struct ForecastGuard;

impl Observer for ForecastGuard {
    fn finished(&self, record: &RequestRecord, outcome: &Outcome<'_>) {
        let (Some(forecast), Some(variant)) = (record.forecast, record.variant()) else { return };
        forecast.compare(variant, matches!(outcome, Outcome::Answered(_)));
    }
}

#[cfg(test)]
mod tests;
