//! Will a picture be answered before its deadline? Said before anything is done for it, by what decoding and running
//! have taken lately, and by how wrong such sayings have been.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Deadline, Pipeline, ServedModel, ServedVariant};
use crate::error::Error;

/// How many answers are remembered, and for how long. The margin covers all of them: where so many requests come that
/// some have to be refused, a shorter queue costs no throughput, as long as it does not run empty.
const REMEMBERED: (usize, Duration) = (256, Duration::from_secs(5));

/// How much later than expected the latest answers came.
#[derive(Debug, Default)]
pub(super) struct Surprises(Mutex<VecDeque<(Instant, Duration)>>);

impl Surprises {
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
pub(super) struct Promise<'a> {
    surprises: &'a Surprises,
    made_at: Instant,
    expected: Duration,
    kept: bool,
}

impl Promise<'_> {
    /// The answer is there.
    pub(super) fn kept(mut self) {
        self.kept = true;
    }
}

impl Drop for Promise<'_> {
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
    pub fn may_promise(&self, model: &ServedModel, variant: Option<&str>, deadline: Deadline) -> Result<(), Error> {
        // A variant that there is not is refused later, with the rest of the request.
        let Ok(chosen) = model.variant(variant) else { return Ok(()) };
        self.ended(model, &chosen.name, self.expected(model, chosen, deadline).map(drop))
    }

    /// As [`Pipeline::may_promise`], for a picture whose bytes are here.
    pub(super) fn promise(
        &self,
        model: &ServedModel,
        variant: &ServedVariant,
        deadline: Deadline,
    ) -> Result<Promise<'_>, Error> {
        let expected = self.expected(model, variant, deadline)?;
        Ok(Promise { surprises: &self.0.surprises, made_at: Instant::now(), expected, kept: false })
    }

    /// Decoding and running overlap between requests: the slower of the two decides how long those ahead take.
    fn expected(&self, model: &ServedModel, variant: &ServedVariant, deadline: Deadline) -> Result<Duration, Error> {
        let (decoding, now) = (&self.0.decoding, Instant::now());
        let ahead = decoding.inside();
        let alone = variant.queue.expected(0);
        let expected = (decoding.expected() + alone).max(variant.queue.expected(ahead));
        let left = deadline.at.saturating_duration_since(now);
        // A margin there always is, since the first surprises of a rush come before any is known; and never more than half of
        // the time, so that a bad moment cannot keep everybody away.
        let margin = self.0.surprises.margin(now).clamp(left / 8, left / 2);
        // With nobody in its way there is nothing to refuse it for; whether a run is fast enough, the queue says.
        let in_its_way = ahead > 0 || !variant.queue.is_empty();
        if in_its_way && expected + margin > left {
            return Err(model.too_slow(expected + margin, deadline));
        }
        Ok(expected)
    }
}
