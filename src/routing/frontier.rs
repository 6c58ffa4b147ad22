//! The frontier: of all the ways to answer, those that no other beats in everything.

use std::time::Duration;

/// A variant at one batch size, as measured on this machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// The variant.
    pub variant: String,
    /// Images in a run.
    pub batch_size: usize,
    /// Runs that the quantiles are read from.
    pub runs: usize,
    /// Half of the runs took no longer.
    pub p50: Duration,
    /// Nine in ten took no longer.
    pub p90: Duration,
    /// 99 in 100 took no longer.
    pub p99: Duration,
    /// Answers a second at that size, if the machine does nothing else.
    pub answers_per_second: f64,
    /// Dollars for a million answers: decoding, postprocessing, and an image's share of a run.
    pub usd_per_million: f64,
    /// Its quality, by the model's first metric.
    pub accuracy: Option<f64>,
}

impl Point {
    /// Whether it is at least as fast, cheap and accurate as the other, and better in one of these.
    #[must_use]
    pub fn beats(&self, other: &Self) -> bool {
        let accuracy = |point: &Self| point.accuracy.unwrap_or(f64::NEG_INFINITY);
        let no_worse =
            self.p50 <= other.p50 && self.usd_per_million <= other.usd_per_million && accuracy(self) >= accuracy(other);
        let better =
            self.p50 < other.p50 || self.usd_per_million < other.usd_per_million || accuracy(self) > accuracy(other);
        no_worse && better
    }
}

/// For each point, whether another beats it.
#[must_use]
pub fn dominated(points: &[Point]) -> Vec<bool> {
    points.iter().map(|point| points.iter().any(|other| other.beats(point))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_beats_in_everything_is_not_on_the_frontier() {
        let point = |variant: &str, ms, usd_per_million, accuracy| Point {
            variant: variant.to_owned(),
            batch_size: 1,
            runs: 16,
            p50: Duration::from_millis(ms),
            p90: Duration::from_millis(ms),
            p99: Duration::from_millis(ms),
            answers_per_second: 1.0,
            usd_per_million,
            accuracy,
        };
        let points = [
            point("int8", 1, 0.1, Some(0.8)),
            point("fp32", 2, 0.2, Some(0.7)),
            point("large", 5, 0.5, Some(0.9)),
            point("unknown", 1, 0.1, None),
            point("twin", 1, 0.1, Some(0.8)),
        ];
        assert_eq!(dominated(&points), [false, true, false, true, false]);
    }
}
