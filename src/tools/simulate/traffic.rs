//! The requests of a day, from a recorded trace or made up.

use std::f64::consts::TAU;

use fastrand::Rng;

/// Seconds of a day.
const DAY_S: usize = 86_400;

/// Rate of the quietest hour of a made-up day, as a share of its peak.
const NIGHT: f64 = 0.1;

/// Longest trace in seconds, which is a month.
const MAX_S: usize = 31 * DAY_S;

/// Rate in requests a second, for each second of the day.
#[derive(Debug, Clone)]
pub struct Traffic(Vec<f64>);

/// Spikes of a made-up day.
const SPIKES: [Spike; 4] = [
    Spike { at_h: 8.5, minutes: 10.0, height: 0.5 },
    Spike { at_h: 12.25, minutes: 20.0, height: 0.8 },
    Spike { at_h: 18.0, minutes: 15.0, height: 0.4 },
    Spike { at_h: 22.5, minutes: 5.0, height: 0.6 },
];

/// A spike that rises within two minutes and falls as fast.
#[derive(Debug, Clone, Copy)]
struct Spike {
    at_h: f64,
    minutes: f64,
    /// Height as a share of the day's peak without spikes.
    height: f64,
}

const RAMP_S: f64 = 120.0;

impl Spike {
    fn at(self, second: f64) -> f64 {
        let after = second - self.at_h * 3600.0;
        let left = self.minutes * 60.0 - after;
        self.height * (after.min(left) / RAMP_S).clamp(0.0, 1.0)
    }
}

impl Traffic {
    /// Makes up a day that is quiet at night and highest in the afternoon, with four spikes. `peak_per_s` is its highest
    /// rate.
    #[must_use]
    pub fn day(peak_per_s: f64) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a day")]
        let shape = |second: usize| {
            let second = second as f64;
            // Lowest at four in the morning, highest at four in the afternoon.
            let wave = f64::midpoint(1.0, -((second / 3600.0 - 4.0) / 24.0 * TAU).cos());
            NIGHT + (1.0 - NIGHT) * wave + SPIKES.iter().map(|spike| spike.at(second)).sum::<f64>()
        };
        let day: Vec<f64> = (0..DAY_S).map(shape).collect();
        let highest = day.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        Self(day.into_iter().map(|rate| rate / highest * peak_per_s).collect())
    }

    /// Reads a trace: lines of `seconds,requests_per_second`, each of which holds until the next. The first line may be a
    /// heading.
    ///
    /// # Errors
    /// A line cannot be read. The message names it and says how one is written.
    pub fn read(trace: &str) -> Result<Self, String> {
        let mut points: Vec<(usize, f64)> = Vec::new();
        for (number, line) in trace.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let read = line.split_once(',').and_then(|(seconds, rate)| {
                let (seconds, rate): (f64, f64) = (seconds.trim().parse().ok()?, rate.trim().parse().ok()?);
                (seconds >= 0.0 && rate >= 0.0 && rate.is_finite()).then_some((seconds as usize, rate))
            });
            match read {
                Some((seconds, _)) if points.last().is_some_and(|(last, _)| seconds <= *last) => {
                    return Err(format!("line {}: {seconds} s is not after the line before", number + 1));
                }
                Some((seconds, _)) if seconds > MAX_S => {
                    return Err(format!("line {}: a trace is no longer than 31 days, which are {MAX_S} s", number + 1));
                }
                Some(point) => points.push(point),
                None if points.is_empty() && number == 0 => {}
                None => {
                    return Err(format!(
                        "line {}: \"{line}\" is not as in `60,120.5`: seconds, requests a second",
                        number + 1
                    ));
                }
            }
        }
        let (Some(first), Some(last)) = (points.first().copied(), points.last().copied()) else {
            return Err("it holds no line as in `60,120.5`: seconds, requests a second".to_owned());
        };
        if points.len() < 2 {
            return Err("one line alone says no time: the last one ends the trace".to_owned());
        }
        let mut seconds = Vec::with_capacity(last.0 - first.0);
        for pair in points.windows(2) {
            seconds.resize(pair[1].0 - first.0, pair[0].1);
        }
        Ok(Self(seconds))
    }

    /// Rates in requests a second, one for each second.
    #[must_use]
    pub fn each_second(&self) -> &[f64] {
        &self.0
    }

    /// Highest rate in requests a second.
    #[must_use]
    pub fn peak(&self) -> f64 {
        self.0.iter().copied().fold(0.0, f64::max)
    }

    /// Mean rate in requests a second.
    #[must_use]
    pub fn mean(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a month at most")]
        let seconds = self.0.len().max(1) as f64;
        self.0.iter().sum::<f64>() / seconds
    }

    /// Random deviation of the requests from their rate, with the same seed for each run.
    pub(super) fn noise(&self) -> Noise {
        Noise(Rng::with_seed(2))
    }
}

/// Random number of requests in a second at a given rate: a Poisson distribution, by its normal approximation.
#[derive(Debug)]
pub(super) struct Noise(Rng);

impl Noise {
    pub(super) fn second(&mut self, rate: f64) -> f64 {
        // Twelve uniform numbers have the variance of one normal.
        let normal = (0..12).map(|_| self.0.f64()).sum::<f64>() - 6.0;
        (rate + rate.sqrt() * normal).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_has_a_night_and_spikes() {
        let day = Traffic::day(1000.0);
        let at = |hour: f64| day.each_second()[(hour * 3600.0) as usize];
        assert!((day.peak() - 1000.0).abs() < 1e-6 && at(4.0) < 80.0, "{}", at(4.0));
        assert!(at(12.3) > at(12.0) * 1.5, "a spike at noon");
    }

    #[test]
    fn a_trace_holds_each_line_until_the_next() {
        let trace = Traffic::read("seconds,requests_per_second\n0,10\n2,20.5\n\n3,0\n").expect("a trace");
        assert_eq!(trace.each_second(), [10.0, 10.0, 20.5]);
    }

    #[test]
    fn a_trace_that_cannot_be_read_says_where() {
        let wrong = |trace: &str| Traffic::read(trace).expect_err("refused");
        assert!(wrong("0,1\nsix,2\n").contains("line 2"));
        assert!(wrong("5,1\n5,2\n").contains("not after"));
        assert!(wrong("0,-1\n").contains("no line"));
        assert!(wrong("0,1\n").contains("one line"));
        assert!(wrong("0,1\n1e12,2\n").contains("31 days"));
    }
}
