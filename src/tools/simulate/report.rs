//! What came out: as a table, as an image of the day.

use std::fmt;

use super::{RuleOutcome, SimulationReport};
use crate::tools::plot::{Axis, Chart, Series};

/// The names of the lines need room above them.
const LEGEND: f64 = 1.5;

/// A chart has no more points a line than these.
const POINTS: usize = 720;

impl fmt::Display for SimulationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[expect(clippy::cast_precision_loss, reason = "a month at most")]
        let hours = self.seconds as f64 / 3600.0;
        writeln!(
            f,
            "{:.0} requests in {hours:.1} h, {:.0} a second at the peak; a replica answers {:.1} a second within the promise\n",
            self.requests, self.peak_per_s, self.capacity_per_s
        )?;
        let width = self.outcomes.iter().map(|outcome| outcome.rule.chars().count()).max().unwrap_or(0);
        writeln!(f, "{:<width$}  fewest    mean    most  turns   refused  $ a day  $ a million   idle", "replicas")?;
        for RuleOutcome {
            rule,
            replicas: (fewest, mean, most),
            refused_ratio,
            usd_per_day,
            usd_per_million,
            idle_ratio,
            turns,
            ..
        } in &self.outcomes
        {
            let (refused, idle) = (refused_ratio * 100.0, idle_ratio * 100.0);
            writeln!(
                f,
                "{rule:<width$}  {fewest:>6}  {mean:>6.1}  {most:>6}  {turns:>5}  {refused:>6.3} %  {usd_per_day:>7.2}  {usd_per_million:>11.4}  {idle:>3.0} %"
            )?;
        }
        Ok(())
    }
}

impl SimulationReport {
    /// Replicas over the hours of the day, and those that the requests needed at full load.
    #[must_use]
    pub fn chart(&self) -> Chart {
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53")]
        let most = self.outcomes.iter().map(|outcome| outcome.replicas.2).max().unwrap_or(1) as f64;
        let mut chart = Chart::new(
            format!("a day with {:.0} requests a second at its peak", self.peak_per_s),
            Axis::linear("hours"),
            Axis::linear("replicas").range(0.0, most * LEGEND),
        );
        let every = self.seconds.div_ceil(POINTS).max(1);
        #[expect(clippy::cast_precision_loss, reason = "a month at most")]
        let hours = |place: usize| (place * every) as f64 / 3600.0;
        let needed =
            self.traffic.chunks(every).map(|rates| rates.iter().copied().fold(0.0, f64::max) / self.capacity_per_s);
        let needed = needed.enumerate().map(|(place, replicas)| (hours(place), replicas)).collect();
        for outcome in &self.outcomes {
            #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53")]
            let most =
                outcome.each_second.chunks(every).map(|replicas| replicas.iter().max().copied().unwrap_or(0) as f64);
            let name = format!(
                "{} ({:.2} % refused, ${:.2})",
                outcome.rule,
                outcome.refused_ratio * 100.0,
                outcome.usd_per_day
            );
            let points = most.enumerate().map(|(place, replicas)| (hours(place), replicas)).collect();
            chart.series.push(Series::steps(name, points));
        }
        chart.series.push(Series::line("needed by the requests", needed));
        chart
    }
}
