//! How much later than forecast the latest answers came. Pure: `now` is an argument.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// How many answers are remembered. The margin covers all of them: where so many requests come that some have to be refused,
/// a shorter queue costs no throughput, as long as it does not run empty.
const REMEMBERED: usize = 256;

/// How long an answer is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(5);

/// The errors of the latest forecasts, oldest first.
#[derive(Debug, Default)]
pub struct ForecastErrors(VecDeque<(Instant, Duration)>);

impl ForecastErrors {
    /// An answer came so much later than forecast; zero where it came earlier.
    pub fn record(&mut self, late_by: Duration, now: Instant) {
        let old = |at: &Instant| now.saturating_duration_since(*at) > REMEMBERED_FOR;
        while self.0.len() >= REMEMBERED || self.0.front().is_some_and(|(at, _)| old(at)) {
            self.0.pop_front();
        }
        self.0.push_back((now, late_by));
    }

    /// What to add to a forecast so that nearly all answers come within it: the worst of the latest errors.
    #[must_use]
    pub fn margin(&self, now: Instant) -> Duration {
        let recent = self.0.iter().filter(|(at, _)| now.saturating_duration_since(*at) <= REMEMBERED_FOR);
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
        assert_eq!(errors.margin(now + ms(6_000)), ms(0), "forgotten");
        (0..256).for_each(|_| errors.record(ms(1), now + ms(100)));
        assert_eq!(errors.margin(now + ms(100)), ms(1), "so many came since");
    }
}
