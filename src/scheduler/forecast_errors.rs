//! Errors of the latest forecasts: by how much answers came later than forecast. From these a safety margin is derived.
//!
//! It has no clock: `now` is an argument.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Number of errors that are kept. The margin covers all of them. It shortens the queue under overload, which costs no
/// throughput as long as the queue does not run empty.
const KEPT: usize = 256;

/// Time for which an error is kept.
const KEPT_FOR: Duration = Duration::from_secs(5);

/// The errors of the latest forecasts, oldest first.
#[derive(Debug, Default)]
pub struct ForecastErrors(VecDeque<(Instant, Duration)>);

impl ForecastErrors {
    /// Takes in that an answer came `late_by` later than forecast; zero where it came earlier.
    pub fn record(&mut self, late_by: Duration, now: Instant) {
        let old = |at: &Instant| now.saturating_duration_since(*at) > KEPT_FOR;
        while self.0.len() >= KEPT || self.0.front().is_some_and(|(at, _)| old(at)) {
            self.0.pop_front();
        }
        self.0.push_back((now, late_by));
    }

    /// The largest of the latest errors. With it added, nearly all answers come within their forecast.
    #[must_use]
    pub fn margin(&self, now: Instant) -> Duration {
        let recent = self.0.iter().filter(|(at, _)| now.saturating_duration_since(*at) <= KEPT_FOR);
        recent.map(|(_, late_by)| *late_by).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_margin_is_the_worst_of_the_last_seconds() {
        let (mut errors, now) = (ForecastErrors::default(), Instant::now());
        let ms = Duration::from_millis;
        assert_eq!(errors.margin(now), ms(0));
        [3, 20, 5].into_iter().for_each(|late| errors.record(ms(late), now));
        assert_eq!(errors.margin(now + ms(4_000)), ms(20));
        assert_eq!(errors.margin(now + ms(6_000)), ms(0), "it is too old");
        (0..256).for_each(|_| errors.record(ms(1), now + ms(100)));
        assert_eq!(errors.margin(now + ms(100)), ms(1), "256 newer errors have replaced it");
    }
}
