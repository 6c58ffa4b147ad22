//! Will a picture be answered before its deadline? Said before anything is done for it, by what decoding and running
//! have taken lately, and by how wrong such sayings have been.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Pipeline, RequestContext, Route, ServedModel, ServedVariant};
use crate::{error::Error, scheduler::job::Priority};

/// How many answers are remembered, and for how long. The margin covers all of them: where so many requests come that
/// some have to be refused, a shorter queue costs no throughput, as long as it does not run empty.
const REMEMBERED: (usize, Duration) = (256, Duration::from_secs(5));

/// How much later than expected the latest answers came.
#[derive(Debug, Default)]
pub(super) struct ForecastErrors(Mutex<VecDeque<(Instant, Duration)>>);

impl ForecastErrors {
    fn record(&self, late: Duration, now: Instant) {
        let mut surprises = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (most, time) = REMEMBERED;
        while surprises.len() >= most || surprises.front().is_some_and(|(at, _)| now.duration_since(*at) > time) {
            surprises.pop_front();
        }
        surprises.push_back((now, late));
    }

    /// What to add to an expectation, so that nearly all answers come within it.
    fn margin(&self, now: Instant) -> Duration {
        let (_, time) = REMEMBERED;
        let surprises = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = surprises.iter().filter(|(at, _)| now.saturating_duration_since(*at) <= time);
        recent.map(|(_, late)| *late).max().unwrap_or_default()
    }
}

/// An expectation that is compared with what happens until it is dropped.
#[derive(Debug)]
pub(super) struct ForecastGuard<'a> {
    surprises: &'a ForecastErrors,
    made_at: Instant,
    expected: Duration,
    kept: bool,
}

impl ForecastGuard<'_> {
    /// The answer is there.
    pub(super) fn kept(mut self) {
        self.kept = true;
    }
}

impl Drop for ForecastGuard<'_> {
    fn drop(&mut self) {
        let (now, took) = (Instant::now(), self.made_at.elapsed());
        // What ended early without an answer says nothing; what ran out of time says that it took longer.
        if self.kept || took > self.expected {
            self.surprises.record(took.saturating_sub(self.expected), now);
        }
    }
}

impl Pipeline {
    /// May a picture for this model come in, by what its answer would take? Asked before its body is read, so that a
    /// refusal costs nothing.
    ///
    /// # Errors
    /// [`Error::TooSlow`] when its deadline would pass first.
    pub fn may_promise(&self, model: &ServedModel, route: Route, terms: RequestContext) -> Result<(), Error> {
        let chosen = model.of(route);
        self.ended(model, &chosen.name, self.expected(model, chosen, terms).map(drop))
    }

    /// Lets a picture in whose bytes are here, if it can be answered in time.
    pub(super) fn promise<'a>(
        &self,
        model: &ServedModel,
        variant: &'a ServedVariant,
        terms: RequestContext,
    ) -> Result<ForecastGuard<'a>, Error> {
        let expected = self.expected(model, variant, terms)?;
        Ok(ForecastGuard { surprises: &variant.surprises, made_at: Instant::now(), expected, kept: false })
    }

    /// How long an answer would take, or the refusal where that is longer than there is time.
    fn expected(&self, model: &ServedModel, variant: &ServedVariant, terms: RequestContext) -> Result<Duration, Error> {
        let left = terms.deadline.at.saturating_duration_since(Instant::now());
        let forecast = self.forecast(variant, terms.priority, left);
        if forecast.is_late(left) {
            return Err(model.too_slow(forecast.expected + forecast.margin, forecast.hopeless, terms.deadline));
        }
        Ok(forecast.expected)
    }

    /// Decoding and running overlap between requests: the slower of the two decides how long those ahead take. (Those
    /// who wait to be decoded go in the order of arrival, whatever their priority.)
    pub(super) fn forecast(&self, variant: &ServedVariant, priority: Priority, left: Duration) -> Forecast {
        let decoding = &self.0.decoding;
        let mine = variant.decoding.inside();
        let wait_estimate = variant.queue.wait_estimate(mine, priority);
        let expected = (decoding.expected() + wait_estimate.if_queued_now).max(wait_estimate.behind_rows_ahead);
        // A margin there always is, since the first surprises of a rush come before any is known; and never more than
        // half of the time, so that a bad moment cannot keep everybody away.
        let margin = variant.surprises.margin(Instant::now()).clamp(left / 5, left / 2);
        // Where nobody is in its way, it is refused only when a run alone takes too long.
        let nobody_here = mine == 0 && wait_estimate.queue_is_empty;
        let welcome = nobody_here && (decoding.inside() < decoding.threads() || wait_estimate.needs_probe);
        let hopeless = wait_estimate.if_queued_now > left && !wait_estimate.needs_probe;
        Forecast { expected, margin, welcome, hopeless }
    }
}

/// When an answer would come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Forecast {
    /// After so long.
    expected: Duration,
    /// Or so much later.
    margin: Duration,
    /// Nobody is in its way.
    welcome: bool,
    /// A run alone takes too long.
    hopeless: bool,
}

impl Forecast {
    /// Would that be too late?
    pub(super) fn is_late(&self, left: Duration) -> bool {
        self.hopeless || (!self.welcome && self.expected + self.margin > left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_the_worst_of_the_last_seconds() {
        let (surprises, now) = (ForecastErrors::default(), Instant::now());
        let ms = Duration::from_millis;
        assert_eq!(surprises.margin(now), ms(0));
        [3, 20, 5].into_iter().for_each(|late| surprises.record(ms(late), now));
        assert_eq!(surprises.margin(now + ms(4_000)), ms(20));
        assert_eq!(surprises.margin(now + ms(6_000)), ms(0), "forgotten");
        (0..256).for_each(|_| surprises.record(ms(1), now + ms(100)));
        assert_eq!(surprises.margin(now + ms(100)), ms(1), "so many came since");
    }

    #[test]
    fn only_what_was_answered_or_took_too_long_is_a_surprise() {
        let surprises = ForecastErrors::default();
        let promise =
            |expected| ForecastGuard { surprises: &surprises, made_at: Instant::now(), expected, kept: false };
        drop(promise(Duration::from_secs(60)));
        assert_eq!(surprises.0.lock().expect("no panic").len(), 0, "its client hung up");
        promise(Duration::from_secs(60)).kept();
        drop(promise(Duration::ZERO));
        assert_eq!(surprises.0.lock().expect("no panic").len(), 2);
    }
}
