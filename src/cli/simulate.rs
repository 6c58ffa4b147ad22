//! The subcommand `ounce simulate`: it simulates a day of requests under several autoscaling rules.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use clap::Args;

use super::{ask, bench};
use crate::tools::simulate::{self, SimulationPlan, SimulationReport, traffic::Traffic};

/// Run a day of requests on paper: how many replicas autoscalers would start, what they refuse, what they cost.
///
/// A replica gives so many answers a second within its promise as a running server has learned (--url; let it answer
/// pictures like yours first), or as you say (--capacity). The day is a trace of yours, or a made-up one with a night and
/// four spikes. Beside fixed replicas it is run with Kubernetes' autoscaler going by CPU, and by ounce_desired_replicas.
#[derive(Debug, Args)]
pub(super) struct Simulate {
    /// A running server: its capacity and price are taken
    #[arg(long, value_name = "URL", required_unless_present = "capacity")]
    url: Option<String>,
    /// Which of its models, where it serves several
    #[arg(long, value_name = "NAME", requires = "url")]
    model: Option<String>,
    /// Answers a second that a replica can give within the promise
    #[arg(long, value_name = "N", conflicts_with = "url", value_parser = positive)]
    capacity: Option<f64>,
    /// Dollars an hour for a replica [default: the server's, or 0.10]
    #[arg(long, value_name = "USD", value_parser = positive)]
    usd_per_hour: Option<f64>,
    /// A trace: lines of `seconds,requests_per_second`, the last one ends it
    #[arg(long, value_name = "FILE", required_unless_present = "peak")]
    trace: Option<PathBuf>,
    /// A made-up day with so many requests a second at its peak
    #[arg(long, value_name = "N", conflicts_with = "trace", value_parser = positive)]
    peak: Option<f64>,
    /// How long a request may wait before it is refused
    #[arg(long, value_name = "DURATION", default_value = "100ms", value_parser = bench::duration)]
    promise: Duration,
    /// How full replicas should be, 0.1 to 1: the setting `scale.target_load`
    #[arg(long, value_name = "PART", default_value = "0.8", value_parser = part)]
    target_load: f64,
    /// From the decision to start a replica to its first answer
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = bench::duration)]
    ready_after: Duration,
    /// Never fewer replicas
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    min_replicas: u64,
    /// Never more
    #[arg(long, value_name = "N", default_value = "100000", value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    max_replicas: u64,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
    /// Draw replicas over the day to this file (.svg)
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Simulate {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        if let Some(path) = &self.output {
            super::check_chart_path(path)?;
        }
        if self.min_replicas > self.max_replicas {
            bail!("--min-replicas {} is more than --max-replicas {}", self.min_replicas, self.max_replicas);
        }
        let (capacity, usd_per_hour) = match (&self.url, self.capacity) {
            (Some(url), _) => self.read_capacity(url)?,
            (None, capacity) => (capacity.context("name a server with --url, or --capacity")?, None),
        };
        let traffic = match (&self.trace, self.peak) {
            (Some(path), _) => {
                let trace = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
                Traffic::read(&trace).map_err(|why| anyhow::anyhow!("{}: {why}", path.display()))?
            }
            (None, peak) => Traffic::day(peak.context("name a trace with --trace, or --peak")?),
        };
        let plan = SimulationPlan {
            capacity_per_s: capacity,
            usd_per_hour: self.usd_per_hour.or(usd_per_hour).unwrap_or(0.10),
            promise: self.promise,
            ready_after: self.ready_after,
            target_load: self.target_load,
            min_replicas: self.min_replicas,
            max_replicas: self.max_replicas,
        };
        self.show(&simulate::compare(&plan, &traffic))?;
        Ok(ExitCode::SUCCESS)
    }

    /// Reads from a server's metrics its capacity in answers a second and its price in dollars an hour.
    fn read_capacity(&self, url: &str) -> anyhow::Result<(f64, Option<f64>)> {
        let (status, text) = ask::get(url, "metrics", Duration::from_secs(5))?;
        if !status.is_success() {
            bail!("{url}/metrics answers {status}: name the address where the metrics are (setting `admin_listen`)");
        }
        let text = String::from_utf8_lossy(&text);
        let number = |line: &str| line.rsplit_once(' ').and_then(|(_, number)| number.parse::<f64>().ok());
        let models: Vec<(&str, f64)> = text
            .lines()
            .filter_map(|line| {
                let (model, _) = line.strip_prefix("ounce_capacity_per_second{model=\"")?.split_once('"')?;
                Some((model, number(line)?))
            })
            .collect();
        if models.is_empty() {
            bail!("{url} has answered nothing yet, so it knows no capacity: send it pictures like yours first");
        }
        let names: Vec<&str> = models.iter().map(|(name, _)| *name).collect();
        let chosen = match (&self.model, &models[..]) {
            (Some(name), _) => models.iter().find(|(model, _)| model == name),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        let Some((_, capacity)) = chosen else {
            bail!("name one of the models of {url} with --model: it tells the capacity of {}", names.join(", "));
        };
        let price = text.lines().find(|line| line.starts_with("ounce_price_usd_per_hour "));
        Ok((*capacity, price.and_then(number)))
    }

    fn show(&self, report: &SimulationReport) -> anyhow::Result<()> {
        super::print(report, self.json)?;
        self.output.as_deref().map_or(Ok(()), |path| super::draw(&report.chart(), path))
    }
}

fn positive(text: &str) -> Result<f64, String> {
    let number = text.trim().parse().ok().filter(|number: &f64| *number > 0.0 && *number <= 1e12);
    number.ok_or("it is a number above 0".to_owned())
}

fn part(text: &str) -> Result<f64, String> {
    let number = text.trim().parse().ok().filter(|number: &f64| (0.1..=1.0).contains(number));
    number.ok_or("it is a number from 0.1 to 1".to_owned())
}
