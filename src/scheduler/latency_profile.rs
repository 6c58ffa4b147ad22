//! The latency profile of a variant: how long a run of n rows takes on this machine, learned from warm-up and traffic.
//!
//! Runs go in ([`LatencyProfile::record`]), and medians and other quantiles by batch size come out. The recent runs of
//! each size are kept, and sizes in between are interpolated. Old runs are forgotten by count, so the profile follows a
//! machine that becomes slower or faster. Sizes that seem not to pay are explored from time to time (see
//! [`mod@super::backlog`]).

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::stats::quantile;

/// Number of runs of each batch size that are kept.
const KEPT_RUNS: usize = 64;

/// Duration of one run, as its worker measured it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunTiming {
    /// Wall-clock time from start to end, which is what requests wait for.
    pub wall: Duration,
    /// Time that the run occupies what runs compete for. For a one-thread session this is its CPU time, which other
    /// threads on the same cores do not stretch; for a device or a thread pool it is the wall-clock time.
    pub service_time: Duration,
}

/// Run times by batch size (rows).
///
/// ```
/// use std::time::Duration;
///
/// use ounce::scheduler::latency_profile::{LatencyProfile, RunTiming};
///
/// let ms = Duration::from_millis;
/// let mut profile = LatencyProfile::default();
/// for wall in [2, 2, 3] {
///     profile.record(1, RunTiming { wall: ms(wall), service_time: ms(wall) });
/// }
/// profile.record(4, RunTiming { wall: ms(5), service_time: ms(5) });
/// assert_eq!(profile.p50(1), ms(2));
/// assert_eq!(profile.p50(4), ms(5));
/// assert_eq!(profile.sizes().collect::<Vec<_>>(), [1, 4]);
/// // Sizes in between are interpolated.
/// assert!(profile.p50(2) > ms(2) && profile.p50(2) < ms(5));
/// ```
#[derive(Debug, Clone, Default)]
pub struct LatencyProfile {
    points: BTreeMap<usize, RecentRuns>,
}

/// Quantiles of the runs of one batch size, for display.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfilePoint {
    /// Rows in the run.
    pub rows: usize,
    /// Number of runs that the quantiles are of, at most 64.
    pub runs: usize,
    /// Median wall-clock time of a run.
    pub p50: Duration,
    /// Time that nine in ten runs did not exceed.
    pub p90: Duration,
    /// Time that 99 in 100 runs did not exceed.
    pub p99: Duration,
}

/// The recent runs of one batch size, oldest first, with the quantiles that the scheduler reads most.
#[derive(Debug, Clone, Default)]
struct RecentRuns {
    runs: VecDeque<RunTiming>,
    fastest: Duration,
    p50: Duration,
    p95: Duration,
    service_time: Duration,
}

impl LatencyProfile {
    /// Takes in a run of `rows` rows, padding included.
    pub fn record(&mut self, rows: usize, run: RunTiming) {
        self.points.entry(rows).or_default().record(run);
    }

    /// Median wall-clock time of a run of `rows` rows; zero while no run has been recorded.
    #[must_use]
    pub fn p50(&self, rows: usize) -> Duration {
        self.at(rows, |recent| recent.p50)
    }

    /// Wall-clock time that 19 in 20 runs of `rows` rows do not exceed. The slowest of the kept runs is left out.
    #[must_use]
    pub fn p95(&self, rows: usize) -> Duration {
        self.at(rows, |recent| recent.p95)
    }

    /// Least wall-clock time of a run of `rows` rows.
    #[must_use]
    pub fn fastest(&self, rows: usize) -> Duration {
        self.at(rows, |recent| recent.fastest)
    }

    /// Median service time of a run of `rows` rows (see [`RunTiming::service_time`]).
    #[must_use]
    pub fn service_time(&self, rows: usize) -> Duration {
        self.at(rows, |recent| recent.service_time)
    }

    /// Least service time a row, over the batch sizes whose runs (p95) take no longer than `longest`. Where no size is
    /// that fast, it is the service time of a run of one row.
    #[must_use]
    pub fn least_service_time_within(&self, longest: Duration) -> Duration {
        let each = |rows: usize| self.service_time(rows) / u32::try_from(rows).unwrap_or(u32::MAX).max(1);
        let short = self.sizes().filter(|rows| self.p95(*rows) <= longest);
        short.map(each).min().unwrap_or_else(|| self.service_time(1))
    }

    /// The batch sizes that were run, ascending.
    pub fn sizes(&self) -> impl Iterator<Item = usize> {
        self.points.keys().copied()
    }

    /// Quantiles of every batch size that was run, in ascending order of size.
    #[must_use]
    pub fn points(&self) -> Vec<ProfilePoint> {
        let point = |(&rows, recent): (&usize, &RecentRuns)| {
            let walls = sorted(recent.runs.iter().map(|run| run.wall));
            let wall = |q| quantile(&walls, q).unwrap_or_default();
            ProfilePoint { rows, runs: walls.len(), p50: wall(0.5), p90: wall(0.9), p99: wall(0.99) }
        };
        self.points.iter().map(point).collect()
    }

    /// Interpolates the time `of` a run of `rows` rows.
    ///
    /// Between two sizes that were run, it lies on the straight line through them; above the largest size, on the line
    /// through the last two. Where only one size was run, the line goes through the origin, so that a larger batch
    /// promises no gain.
    fn at(&self, rows: usize, of: impl Fn(&RecentRuns) -> Duration) -> Duration {
        let seconds = |recent: &RecentRuns| of(recent).as_secs_f64();
        let mut below = self.points.range(..=rows).rev().map(|(&rows, recent)| (rows, seconds(recent)));
        let above = self.points.range(rows..).next().map(|(&rows, recent)| (rows, seconds(recent)));
        let (low, high) = match (below.next(), above) {
            (Some(low), Some(high)) => (low, high),
            (None, Some(high)) => ((0, 0.0), high),
            (Some(high), None) => (below.next().unwrap_or((0, 0.0)), high),
            (None, None) => return Duration::ZERO,
        };
        #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
        let line = |(x0, y0): (usize, f64), (x1, y1): (usize, f64)| {
            let slope = if x1 == x0 { 0.0 } else { (y1 - y0) / (x1 - x0) as f64 };
            // A larger batch that was measured as faster is noise, so the line never falls.
            y1 + slope.max(0.0) * (rows as f64 - x1 as f64)
        };
        Duration::from_secs_f64(line(low, high).max(0.0))
    }
}

impl RecentRuns {
    fn record(&mut self, run: RunTiming) {
        if self.runs.len() == KEPT_RUNS {
            self.runs.pop_front();
        }
        self.runs.push_back(run);
        let walls = sorted(self.runs.iter().map(|run| run.wall));
        let service_times = sorted(self.runs.iter().map(|run| run.service_time));
        // The slowest run is left out of the p95: among few runs, a single one may be slow by chance.
        let without_slowest = walls.get(..walls.len() - 1).filter(|rest| !rest.is_empty()).unwrap_or(&walls);
        self.fastest = quantile(&walls, 0.0).unwrap_or_default();
        self.p50 = quantile(&walls, 0.5).unwrap_or_default();
        self.p95 = quantile(without_slowest, 0.95).unwrap_or_default();
        self.service_time = quantile(&service_times, 0.5).unwrap_or_default();
    }
}

fn sorted(times: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn profile(runs: &[(usize, u64)]) -> LatencyProfile {
        let mut profile = LatencyProfile::default();
        for &(rows, wall) in runs {
            profile.record(rows, RunTiming { wall: ms(wall), service_time: ms(wall) });
        }
        profile
    }

    #[test]
    fn sizes_between_and_beyond_lie_on_the_line() {
        let profile = profile(&[(1, 11), (4, 14), (8, 18)]);
        let times: Vec<_> = [1, 2, 4, 6, 16].iter().map(|&rows| profile.p50(rows)).collect();
        assert_eq!(times, [ms(11), ms(12), ms(14), ms(16), ms(26)]);
    }

    #[test]
    fn one_size_alone_promises_no_gain() {
        assert_eq!(profile(&[(1, 5)]).p50(4), ms(20));
        assert_eq!(LatencyProfile::default().p50(4), ms(0));
    }

    #[test]
    fn quantiles_are_those_of_the_recent_runs() {
        let mut profile = profile(&[(1, 500)]);
        (1..=64).for_each(|wall| profile.record(1, RunTiming { wall: ms(wall), service_time: ms(1) }));
        let point = profile.points().remove(0);
        assert_eq!((point.rows, point.runs), (1, 64));
        assert_eq!([point.p50, point.p90, point.p99], [ms(32), ms(58), ms(64)]);
        assert_eq!((profile.fastest(1), profile.p95(1), profile.service_time(1)), (ms(1), ms(60), ms(1)));
    }
}
