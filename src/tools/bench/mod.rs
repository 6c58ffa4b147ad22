//! A load generator: it measures how fast a server answers and how many requests a second it can take.
//!
//! - [`closed_loop`]: each of several connections always waits for one answer. It finds the capacity. A slow server slows
//!   the load down, so the latencies look better than they are.
//! - [`open_loop`]: requests are sent at a given rate, whether answers come or not. Latency counts from the time when a
//!   request was due, so that a server or client that stalls cannot hide how long requests waited (the correction for
//!   coordinated omission).
//! - [`run`]: several of these, one after the other, with a [`BenchReport`] as the result.
//!
//! It knows nothing of the rest of ounce: any server that takes an image by POST will do. `cost.usd` and `variant` of
//! the answers are read where they are present.

mod closed;
mod control;
mod images;
mod measure;
mod open;
mod report;
mod send;
mod target;

use std::{fmt, time::Duration};

use serde::Serialize;

pub use self::{
    closed::closed_loop,
    control::{BenchProgress, RunControl},
    images::{EncodedImage, generated_image, read_images},
    measure::LoadResult,
    open::{MAX_IN_FLIGHT, open_loop},
    report::BenchReport,
    target::BenchTarget,
};

/// Fractions of the capacity that a sweep offers.
pub const SWEEP: [f64; 8] = [0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.25, 1.5];

/// How each load of a series is measured.
#[derive(Debug, Clone, Copy)]
pub struct LoadPlan {
    /// Time for which the load goes on before anything is measured.
    pub warmup: Duration,
    /// Time after the warm-up in which requests are measured.
    pub duration: Duration,
    /// Latency up to which an answer counts as goodput.
    pub slo_p99: Duration,
}

/// One load on a server.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "loop", rename_all = "snake_case")]
pub enum Load {
    /// Each connection sends its next request when it has its answer.
    Closed {
        /// Number of connections, each with one request in flight.
        connections: usize,
    },
    /// Requests are sent when they are due, whether answers come or not.
    Open {
        /// Mean number of requests that are due a second.
        rate_per_s: f64,
    },
}

/// Several loads, which are measured one after the other.
#[derive(Debug, Clone)]
pub enum LoadSeries {
    /// Closed loops with these numbers of connections.
    Closed(Vec<usize>),
    /// Open loops at these rates (requests a second).
    Open(Vec<f64>),
    /// Closed loops with these numbers of connections to find the capacity, then open loops at the fractions [`SWEEP`] of
    /// it.
    Sweep(Vec<usize>),
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed { connections: 1 } => f.write_str("1 connection"),
            Self::Closed { connections } => write!(f, "{connections} connections"),
            Self::Open { rate_per_s } => write!(f, "{rate_per_s:.1}/s"),
        }
    }
}

impl LoadSeries {
    /// Number of loads in the series.
    #[must_use]
    pub fn steps(&self) -> usize {
        match self {
            Self::Closed(connections) => connections.len(),
            Self::Open(rates) => rates.len(),
            Self::Sweep(connections) => connections.len() + SWEEP.len(),
        }
    }
}

impl LoadPlan {
    /// Duration of one load, from its first request to its last.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.warmup + self.duration
    }
}

/// Measures all loads of a series, or those that are finished until `control` stops it.
///
/// # Errors
/// A rate is not a positive number, a sweep finds no capacity, or the system gives no thread.
pub async fn run(
    target: &BenchTarget,
    series: &LoadSeries,
    plan: &LoadPlan,
    control: &RunControl,
) -> Result<BenchReport, String> {
    let mut report = BenchReport::new(target, plan);
    let (connections, rates) = match series {
        LoadSeries::Closed(connections) | LoadSeries::Sweep(connections) => (&connections[..], Vec::new()),
        LoadSeries::Open(rates) => (&[][..], rates.clone()),
    };
    for connections in connections {
        if control.is_stopped() {
            break;
        }
        report.steps.push(closed_loop(target, *connections, plan, &control.at_step(report.steps.len())).await?);
    }
    let rates = if matches!(series, LoadSeries::Sweep(_)) && !control.is_stopped() {
        let capacity = report.steps.iter().map(|step| step.answers_per_s).fold(0.0, f64::max);
        if capacity <= 0.0 {
            let why = report.steps.iter().find_map(|step| step.first_error.clone());
            return Err(format!("the server answered nothing: {}", why.unwrap_or_else(|| "no answer came".to_owned())));
        }
        report.capacity_per_s = Some(capacity);
        SWEEP.iter().map(|share| share * capacity).collect()
    } else {
        rates
    };
    for rate in rates {
        if control.is_stopped() {
            break;
        }
        report.steps.push(open_loop(target, rate, plan, &control.at_step(report.steps.len())).await?);
    }
    report.interrupted = control.is_stopped();
    Ok(report)
}
