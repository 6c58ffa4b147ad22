//! Forecasts whether a request will be answered before its deadline. A forecast is made at admission, and again when
//! the body took long or a request has several images. It uses recent decode and run times, and how far recent
//! forecasts were off.

use std::time::{Duration, Instant};

use super::{
    call::Deadline,
    cpu_pool::CpuPool,
    record::{Observer, Outcome, RequestRecord},
};
use crate::{
    error::Error,
    models::Variant,
    scheduler::{job::Priority, queue::WaitEstimate},
};

/// When an answer would come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forecast {
    /// When the forecast was made.
    pub made_at: Instant,
    /// The time from then to the answer.
    pub expected: Duration,
    margin: Duration,
    /// Whether no other request is ahead of it and a decode thread is free.
    unobstructed: bool,
    /// How long a run alone takes; zero where that has to be learned first.
    alone: Duration,
    /// The number of requests before it, queued or still to be.
    pub ahead: usize,
}

/// The forecast for a request of some priority, and for one of the default priority.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forecasts {
    pub own: Forecast,
    pub usual: Forecast,
}

impl Forecasts {
    /// Forecasts the answer of a variant to an image that comes now.
    pub(super) fn new(decoding: &CpuPool, variant: &Variant, priority: Priority) -> Self {
        let now = Instant::now();
        let [own, usual] = variant.queue.wait_estimates(priority);
        Self { own: Forecast::new(decoding, own, now), usual: Forecast::new(decoding, usual, now) }
    }
}

impl Forecast {
    /// Decoding and running overlap between requests: the slower of the two decides how long those ahead take. (Requests
    /// that wait to be decoded go in the order of arrival, whatever their priority.)
    fn new(decoding: &CpuPool, wait: WaitEstimate, now: Instant) -> Self {
        let ahead = wait.waiting + wait.upcoming;
        Self {
            made_at: now,
            expected: (decoding.expected() + wait.if_queued_now).max(wait.behind_upcoming),
            margin: wait.margin,
            unobstructed: ahead == 0 && (!decoding.is_full() || wait.needs_probe),
            alone: if wait.needs_probe { Duration::ZERO } else { wait.if_queued_now },
            ahead,
        }
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
    /// rush no errors are known yet) and at most half (one bad moment must not refuse everybody).
    fn with_margin(&self, left: Duration) -> Duration {
        self.expected + self.margin.clamp(left / 5, left / 2)
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
