//! A load generator: how fast a server answers, and how many requests it can take.
//!
//! - [`closed_loop`]: so many connections, each always waiting for one answer. Finds capacity; a slow server slows the
//!   load down, so its latencies flatter.
//! - [`open_loop`]: requests come at a rate whatever the answers do, as those of the world do. Latency counts from when
//!   a request was due, so that a server (or client) that stalls cannot hide what it kept waiting: the correction for
//!   coordinated omission.
//! - [`run`]: several of these in a row, as a [`BenchReport`].
//!
//! It knows nothing of the rest of ounce: any server that takes an image by POST will do. `cost.usd` and `variant` of
//! the answers are read where they are told.

mod closed;
mod images;
mod measure;
mod open;
mod report;
mod send;
mod target;
mod watch;

use std::{fmt, time::Duration};

use serde::Serialize;

pub use self::{
    closed::closed_loop,
    images::{EncodedImage, generated_image, read_images},
    measure::LoadResult,
    open::{MOST_OUTSTANDING, open_loop},
    report::BenchReport,
    target::BenchTarget,
    watch::{BenchProgress, RunControl},
};

/// What fractions of capacity a sweep offers.
pub const SWEEP: [f64; 8] = [0.1, 0.25, 0.5, 0.75, 0.9, 1.0, 1.25, 1.5];

/// How one load is measured.
#[derive(Debug, Clone, Copy)]
pub struct LoadPlan {
    /// The load goes on for so long before anything counts.
    pub warmup: Duration,
    /// What is due in this time after it counts.
    pub duration: Duration,
    /// An answer within this time is a good one.
    pub slo_p99: Duration,
}

/// One load on a server.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "loop", rename_all = "snake_case")]
pub enum Load {
    /// The next request goes when an answer has come.
    Closed {
        /// Requests that wait for answers at any time.
        connections: usize,
    },
    /// Requests go when they are due.
    Open {
        /// How many are due a second, in the mean.
        rate_per_s: f64,
    },
}

/// Loads, one after the other.
#[derive(Debug, Clone)]
pub enum LoadSeries {
    /// Closed loops with so many connections.
    Closed(Vec<usize>),
    /// Open loops at these rates a second.
    Open(Vec<f64>),
    /// Closed loops with so many connections, then open loops at [`SWEEP`] of the best one's answers a second.
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
    /// How many loads that are.
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
    /// From the first request of a load to the last one.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.warmup + self.duration
    }
}

/// Measures all loads, or as many as there is time for until `watch` is stopped.
///
/// # Errors
/// When a rate is no positive number, when a sweep finds no capacity, or when the system gives no thread.
pub async fn run(
    target: &BenchTarget,
    work: &LoadSeries,
    plan: &LoadPlan,
    watch: &RunControl,
) -> Result<BenchReport, String> {
    let mut report = BenchReport::new(target, plan);
    let (connections, rates) = match work {
        LoadSeries::Closed(connections) | LoadSeries::Sweep(connections) => (&connections[..], Vec::new()),
        LoadSeries::Open(rates) => (&[][..], rates.clone()),
    };
    for connections in connections {
        if watch.is_stopped() {
            break;
        }
        report.steps.push(closed_loop(target, *connections, plan, &watch.at_step(report.steps.len())).await?);
    }
    let rates = if matches!(work, LoadSeries::Sweep(_)) && !watch.is_stopped() {
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
        if watch.is_stopped() {
            break;
        }
        report.steps.push(open_loop(target, rate, plan, &watch.at_step(report.steps.len())).await?);
    }
    report.interrupted = watch.is_stopped();
    Ok(report)
}
