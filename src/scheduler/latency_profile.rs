//! What a run of n rows costs on this machine: the latency profile, learned from the warm-up and from traffic.
//!
//! For each size that was run, the latest runs are kept, and their quantiles are read off; sizes in between are
//! interpolated. Old runs are forgotten by count, so the profile follows a machine that becomes slower or faster; sizes that
//! seem not to pay are tried again from time to time (see [`mod@super::backlog`]).

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// How many runs of a size are remembered.
const REMEMBERED: usize = 64;

/// One run, as its worker measured it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// From its start to its end, which is what requests wait for.
    pub wall: Duration,
    /// How long it service_time what runs share: the CPU time of a one-thread session, which other threads on the same
    /// cores do not stretch, and the wall-clock time of a device.
    pub service_time: Duration,
}

/// Run times by rows.
///
/// ```
/// use std::time::Duration;
///
/// use ounce::scheduler::latency_profile::{LatencyProfile, Run};
///
/// let ms = Duration::from_millis;
/// let mut profile = LatencyProfile::default();
/// for wall in [2, 2, 3] {
///     profile.record(1, Run { wall: ms(wall), service_time: ms(wall) });
/// }
/// profile.record(4, Run { wall: ms(5), service_time: ms(5) });
/// assert_eq!(profile.p50(1), ms(2));
/// assert_eq!(profile.p50(4), ms(5));
/// assert_eq!(profile.sizes().collect::<Vec<_>>(), [1, 4]);
/// // Sizes in between are interpolated.
/// assert!(profile.p50(2) > ms(2) && profile.p50(2) < ms(5));
/// ```
#[derive(Debug, Clone, Default)]
pub struct LatencyProfile {
    points: BTreeMap<usize, Latest>,
}

/// A point of the profile, for people.
#[derive(Debug, Clone, PartialEq)]
pub struct ProfilePoint {
    /// Rows in the run.
    pub rows: usize,
    /// Runs that the quantiles are read from, at most 64.
    pub runs: usize,
    /// Half of the runs took no longer.
    pub p50: Duration,
    /// Nine in ten took no longer.
    pub p90: Duration,
    /// 99 in 100 took no longer.
    pub p99: Duration,
}

/// The latest runs of one size, oldest first, and what is asked of them most.
#[derive(Debug, Clone, Default)]
struct Latest {
    runs: VecDeque<Run>,
    fastest: Duration,
    p50: Duration,
    p95: Duration,
    service_time: Duration,
}

impl LatencyProfile {
    /// Learns from a run.
    pub fn record(&mut self, rows: usize, run: Run) {
        self.points.entry(rows).or_default().record(run);
    }

    /// The median time of a run of so many rows; zero as long as nothing is known.
    #[must_use]
    pub fn p50(&self, rows: usize) -> Duration {
        self.at(rows, |latest| latest.p50)
    }

    /// The time that 19 in 20 runs of so many rows stay below; the very slowest one does not count.
    #[must_use]
    pub fn p95(&self, rows: usize) -> Duration {
        self.at(rows, |latest| latest.p95)
    }

    /// The least time that a run of so many rows took.
    #[must_use]
    pub fn fastest(&self, rows: usize) -> Duration {
        self.at(rows, |latest| latest.fastest)
    }

    /// The median time that a run of so many rows runs_on what runs share.
    #[must_use]
    pub fn service_time(&self, rows: usize) -> Duration {
        self.at(rows, |latest| latest.service_time)
    }

    /// The least time that one row runs_on, of the sizes whose runs take no longer than that; of a run of one row where
    /// none does.
    #[must_use]
    pub fn least_service_time_within(&self, longest: Duration) -> Duration {
        let each = |rows: usize| self.service_time(rows) / u32::try_from(rows).unwrap_or(u32::MAX).max(1);
        let short = self.sizes().filter(|rows| self.p95(*rows) <= longest);
        short.map(each).min().unwrap_or_else(|| self.service_time(1))
    }

    /// The sizes that were run, ascending.
    pub fn sizes(&self) -> impl Iterator<Item = usize> {
        self.points.keys().copied()
    }

    /// Every size that was run.
    #[must_use]
    pub fn points(&self) -> Vec<ProfilePoint> {
        let point = |(&rows, latest): (&usize, &Latest)| {
            let walls = sorted(latest.runs.iter().map(|run| run.wall));
            let (p50, p90, p99) = (quantile(&walls, 0.5), quantile(&walls, 0.9), quantile(&walls, 0.99));
            ProfilePoint { rows, runs: walls.len(), p50, p90, p99 }
        };
        self.points.iter().map(point).collect()
    }

    /// Between two sizes that were run on the straight backlog through them, above the largest on the backlog through the
    /// last two. A backlog through one size alone goes through the origin: that promises nothing of a batch.
    fn at(&self, rows: usize, of: impl Fn(&Latest) -> Duration) -> Duration {
        let seconds = |latest: &Latest| of(latest).as_secs_f64();
        let mut below = self.points.range(..=rows).rev().map(|(&rows, latest)| (rows, seconds(latest)));
        let above = self.points.range(rows..).next().map(|(&rows, latest)| (rows, seconds(latest)));
        let (low, high) = match (below.next(), above) {
            (Some(low), Some(high)) => (low, high),
            (None, Some(high)) => ((0, 0.0), high),
            (Some(high), None) => (below.next().unwrap_or((0, 0.0)), high),
            (None, None) => return Duration::ZERO,
        };
        #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
        let backlog = |(x0, y0): (usize, f64), (x1, y1): (usize, f64)| {
            let slope = if x1 == x0 { 0.0 } else { (y1 - y0) / (x1 - x0) as f64 };
            // A larger batch that was measured faster was noise.
            y1 + slope.max(0.0) * (rows as f64 - x1 as f64)
        };
        Duration::from_secs_f64(backlog(low, high).max(0.0))
    }
}

impl Latest {
    fn record(&mut self, run: Run) {
        if self.runs.len() == REMEMBERED {
            self.runs.pop_front();
        }
        self.runs.push_back(run);
        let walls = sorted(self.runs.iter().map(|run| run.wall));
        self.fastest = quantile(&walls, 0.0);
        self.p50 = quantile(&walls, 0.5);
        // Of few runs one may have been anything.
        self.p95 = quantile(walls.get(..walls.len() - 1).filter(|rest| !rest.is_empty()).unwrap_or(&walls), 0.95);
        self.service_time = quantile(&sorted(self.runs.iter().map(|run| run.service_time)), 0.5);
    }
}

fn sorted(times: impl Iterator<Item = Duration>) -> Vec<Duration> {
    let mut times: Vec<_> = times.collect();
    times.sort_unstable();
    times
}

/// The least time that a share `q` of the times does not exceed (nearest rank).
fn quantile(ascending: &[Duration], q: f64) -> Duration {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few")]
    let rank = (q * ascending.len() as f64).ceil() as usize;
    ascending.get(rank.max(1) - 1).copied().unwrap_or_default()
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
            profile.record(rows, Run { wall: ms(wall), service_time: ms(wall) });
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
    fn quantiles_are_those_of_the_latest_runs() {
        let mut profile = profile(&[(1, 500)]);
        (1..=64).for_each(|wall| profile.record(1, Run { wall: ms(wall), service_time: ms(1) }));
        let point = profile.points().remove(0);
        assert_eq!((point.rows, point.runs), (1, 64));
        assert_eq!([point.p50, point.p90, point.p99], [ms(32), ms(58), ms(64)]);
        assert_eq!((profile.fastest(1), profile.p95(1), profile.service_time(1)), (ms(1), ms(60), ms(1)));
    }
}
