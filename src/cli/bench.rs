//! The subcommand `ounce bench`: it puts load on a server and reports latencies and capacity.

use std::{num::NonZeroUsize, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::bail;
use clap::Args;
use indicatif::ProgressBar;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    http_client::Roots,
    tools::bench::{self, BenchProgress, BenchReport, BenchTarget, LoadPlan, LoadSeries, RunControl},
};

/// Load a server with pictures: how fast it answers, how many it can take, what they cost.
///
/// A closed loop (--connections) keeps so many requests waiting for answers. An open loop (--rate) sends requests at
/// random moments at a rate, whatever the answers do, and counts latency from when a request was due, which is the
/// correction for coordinated omission. --sweep finds capacity by the first and offers fractions of it by the second.
#[derive(Debug, Args)]
pub(super) struct Bench {
    /// Where to: http://HOST:PORT or https://HOST:PORT, with /v1/detect or any other path that takes a picture by POST
    url: String,
    /// A picture to send, or a folder of pictures; may be given again, then they are sent in turn
    #[arg(long = "picture", value_name = "FILE|DIR")]
    images: Vec<PathBuf>,
    /// Closed loops with so many connections
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "1,8,32")]
    connections: Vec<NonZeroUsize>,
    /// Open loops at so many requests a second instead
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with_all = ["connections", "sweep"], value_parser = rate)]
    rate: Vec<f64>,
    /// Closed loops to find capacity, then open loops at 0.1 to 1.5 of it
    #[arg(long)]
    sweep: bool,
    /// How long each load is measured, as in 10s, 500ms or 2m
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    duration: Duration,
    /// How long each load goes on before that
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = duration)]
    warmup: Duration,
    /// Answers within this time are goodput
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = duration)]
    slo_p99: Duration,
    /// A header to send, as in 'Authorization: Bearer KEY'; may be given again
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,
    /// Over https: believe the server whose certificate an authority of this file has signed (PEM), instead of those of the system
    #[arg(long, value_name = "FILE", conflicts_with = "insecure")]
    cacert: Option<PathBuf>,
    /// Over https: believe any server
    #[arg(long)]
    insecure: bool,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
    /// Draw latency over load to this file (.svg)
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Bench {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(path) = &self.output {
            super::check_chart_path(path)?;
        }
        if self.duration.is_zero() {
            bail!("--duration is longer than nothing");
        }
        allow_many_connections();
        let images = if self.images.is_empty() {
            bench::generated_image().map(|image| vec![image])
        } else {
            bench::read_images(&self.images)
        };
        let roots = match (&self.cacert, self.insecure) {
            (Some(path), _) => Roots::File(path.clone()),
            (None, true) => Roots::Anybody,
            (None, false) => Roots::System,
        };
        let target = BenchTarget::new(&self.url, images.map_err(anyhow::Error::msg)?, &self.header, &roots);
        let target = target.map_err(anyhow::Error::msg)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let report = runtime.block_on(self.measure(&target))?;
        // The connections have to be closed before the runtime is.
        drop(target);
        self.show(&report)?;
        if report.answered() == 0 {
            bail!("nothing was answered: {}", report.first_error().unwrap_or("no answer came in time"));
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn measure(&self, target: &BenchTarget) -> anyhow::Result<BenchReport> {
        target.probe().await.map_err(|why| anyhow::anyhow!("nothing was answered: {why}"))?;
        let connections = || self.connections.iter().map(|count| count.get()).collect();
        let series = match () {
            () if self.sweep => LoadSeries::Sweep(connections()),
            () if self.rate.is_empty() => LoadSeries::Closed(connections()),
            () => LoadSeries::Open(self.rate.clone()),
        };
        let plan = LoadPlan { warmup: self.warmup, duration: self.duration, slo_p99: self.slo_p99 };
        let bar = super::progress(series.steps() as u64 * millis(plan.total()), "{wide_bar} {msg}");
        let control = RunControl::new({
            let (bar, steps) = (bar.clone(), series.steps());
            move |progress| show_progress(&bar, steps, &progress)
        });
        super::stop_on_ctrl_c(control.clone());
        let report = bench::run(target, &series, &plan, &control).await;
        bar.finish_and_clear();
        let report = report.map_err(anyhow::Error::msg)?;
        Ok(BenchReport { generated_image: self.images.is_empty(), ..report })
    }

    fn show(&self, report: &BenchReport) -> anyhow::Result<()> {
        super::print(report, self.json)?;
        self.output.as_deref().map_or(Ok(()), |path| super::draw(&report.chart(), path))
    }
}

fn show_progress(bar: &ProgressBar, steps: usize, progress: &BenchProgress) {
    bar.set_position(progress.step as u64 * millis(progress.total) + millis(progress.elapsed));
    let left = bar.length().unwrap_or(0).saturating_sub(bar.position()).div_ceil(1000);
    let BenchProgress { step, load, answered, .. } = *progress;
    bar.set_message(format!("{} of {steps}: {load}, {answered} answers, {left} s left", step + 1));
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Raises the limit of open files to its maximum, since every request in flight holds a socket.
fn allow_many_connections() {
    let limit = getrlimit(Resource::Nofile);
    // Where that fails, requests that find no socket are counted as errors.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

/// Reads a duration: a number and its unit, or several of them.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).ok();
    duration
        .filter(|long| long.as_secs() <= 86_400)
        .ok_or("a duration is as in 500ms, 10s or 2m, a day at most".to_owned())
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.trim().parse().ok().filter(|rate: &f64| rate.is_finite() && *rate > 0.0);
    rate.ok_or("a rate is a number of requests a second above 0".to_owned())
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("a header is as in 'Name: value'")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        let millis = |text| duration(text).map(|duration| duration.as_millis());
        assert_eq!(millis("10s"), Ok(10_000));
        assert_eq!(millis("1.5m"), Ok(90_000));
        assert_eq!(millis("250ms"), Ok(250));
        assert_eq!(millis("0s"), Ok(0));
        assert_eq!(millis("2min"), Ok(120_000));
        assert_eq!(millis("0.5h"), Ok(1_800_000));
        assert_eq!(millis("24h"), Ok(86_400_000));
        assert_eq!(millis("1m 30s"), Ok(90_000));
        for wrong in ["", "10", "s", "-1s", "1e99s", "10 parsecs", "nans", "25h"] {
            assert!(millis(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_and_headers_are_checked() {
        assert_eq!(rate("2.5"), Ok(2.5));
        assert!(["0", "-1", "inf", "NaN", "many"].into_iter().all(|wrong| rate(wrong).is_err()));
        assert_eq!(header("X-Key: a:b "), Ok(("X-Key".to_owned(), "a:b".to_owned())));
        assert!(header("X-Key").is_err());
    }
}
