//! What came out: as a table, as JSON, as a chart.

use std::fmt;

use serde::Serialize;

use super::{BenchTarget, Load, LoadPlan, LoadResult, MOST_OUTSTANDING};
use crate::tools::plot::{Axis, Chart, Reference, Series};

/// All loads of one run.
#[derive(Debug, Clone, Serialize)]
pub struct BenchReport {
    /// The version of ounce that asked.
    pub ounce: &'static str,
    /// Where requests went.
    pub url: String,
    /// How many images were sent in turn.
    #[serde(rename = "pictures")]
    pub images: usize,
    /// How large they were in the mean.
    #[serde(rename = "picture_bytes")]
    pub image_bytes: usize,
    /// Was the image made up, since none was given?
    #[serde(rename = "generated_picture")]
    pub generated_image: bool,
    /// Of each load, before anything counts.
    pub warmup_s: f64,
    /// Of each load.
    pub duration_s: f64,
    /// What an answer had to take at most to count as goodput.
    pub slo_p99_ms: f64,
    /// Of a sweep: the most answers a second of its closed loops.
    pub capacity_per_s: Option<f64>,
    /// Was it ended early?
    pub interrupted: bool,
    /// A load each.
    pub steps: Vec<LoadResult>,
}

impl BenchReport {
    pub(super) fn new(target: &BenchTarget, plan: &LoadPlan) -> Self {
        let (images, image_bytes) = target.images();
        Self {
            ounce: env!("CARGO_PKG_VERSION"),
            url: target.url(),
            images,
            image_bytes,
            generated_image: false,
            warmup_s: plan.warmup.as_secs_f64(),
            duration_s: plan.duration.as_secs_f64(),
            slo_p99_ms: plan.slo_p99.as_secs_f64() * 1e3,
            capacity_per_s: None,
            interrupted: false,
            steps: Vec::new(),
        }
    }

    /// Answers of all loads.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.steps.iter().map(|step| step.answered).sum()
    }

    /// The first answer that was not 2xx, in words.
    #[must_use]
    pub fn first_error(&self) -> Option<&str> {
        self.steps.iter().find_map(|step| step.first_error.as_deref())
    }

    /// Latency quantiles over the offered rate where there are open loops, else over connections.
    #[must_use]
    pub fn chart(&self) -> Chart {
        let open = self.steps.iter().any(|step| matches!(step.load, Load::Open { .. }));
        let x = |step: &LoadResult| match step.load {
            Load::Open { rate_per_s } => open.then_some(rate_per_s),
            Load::Closed { connections } => (!open).then_some(connections as f64),
        };
        let axis = if open { Axis::linear("requests offered a second") } else { Axis::log("connections") };
        let title = format!("latency of {}", self.url);
        let mut chart = Chart::new(title, axis, Axis::log("latency in ms"));
        let line = |name: &str, quantile: &dyn Fn(&LoadResult) -> Option<f64>| {
            let mut points: Vec<_> = self.steps.iter().filter_map(|step| Some((x(step)?, quantile(step)?))).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Series::line(name, points).with_markers()
        };
        chart.series = vec![line("p50", &|step| step.p50_ms), line("p99", &|step| step.p99_ms)];
        chart.across.push(Reference { at: self.slo_p99_ms, label: format!("SLO {} ms", self.slo_p99_ms) });
        if let Some(at) = self.capacity_per_s.filter(|_| open) {
            chart.upright.push(Reference { at, label: format!("capacity {at:.0}/s") });
        }
        chart
    }
}

const HEAD: [&str; 13] = [
    "sent",
    "answered",
    "refused",
    "late",
    "errors",
    "answers/s",
    "goodput/s",
    "p50 ms",
    "p90",
    "p99",
    "p99.9",
    "max",
    "$/million",
];

/// The table, then what is worth knowing beside it.
impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let made = if self.generated_image { " generated" } else { "" };
        let s = if self.images == 1 { "" } else { "s" };
        let size = (self.image_bytes as f64 / 1e3).ceil();
        writeln!(f, "{}, {}{made} picture{s} of {size} kB\n", self.url, self.images)?;
        let (closed, open): (Vec<_>, Vec<_>) =
            self.steps.iter().partition(|step| matches!(step.load, Load::Closed { .. }));
        let mut rows = Vec::new();
        for (title, steps) in [("closed loop", closed), ("open loop", open)] {
            if !steps.is_empty() {
                rows.push([title].into_iter().chain(HEAD).map(ToOwned::to_owned).collect());
                rows.extend(steps.into_iter().map(|step| self.row(step)));
            }
        }
        write_aligned(f, &rows)?;
        let slo = self.slo_p99_ms;
        writeln!(
            f,
            "\nMilliseconds of those answered; in an open loop from when a request was due. Refused: 429, 503; late: 504. \
             Goodput: answers within {slo} ms."
        )?;
        if let Some(capacity) = self.capacity_per_s {
            writeln!(f, "Capacity, the most answers of the closed loops: {capacity:.0}/s.")?;
        }
        for step in &self.steps {
            self.remarks(f, step)?;
        }
        if self.interrupted {
            writeln!(f, "It was ended early: the last load is not whole, and those after it are missing.")?;
        }
        Ok(())
    }
}

impl BenchReport {
    fn row(&self, step: &LoadResult) -> Vec<String> {
        let errors: u64 = step.errors.values().sum();
        let counts = [step.sent, step.answered, step.refused, step.late, errors].map(|count| count.to_string());
        let rates = [step.answers_per_s, step.goodput_per_s].map(|rate| format!("{rate:.1}"));
        let quantiles = [step.p50_ms, step.p90_ms, step.p99_ms, step.p99_9_ms, step.max_ms].map(milliseconds);
        let usd = step.usd_per_million.map_or("-".to_owned(), |usd| format!("{usd:.3}"));
        let mut row = vec![step.load.to_string()];
        if let (Load::Open { rate_per_s }, Some(capacity)) = (step.load, self.capacity_per_s) {
            row[0] += &format!(" ({:.2})", rate_per_s / capacity);
        }
        row.extend(counts.into_iter().chain(rates).chain(quantiles).chain([usd]));
        row
    }

    /// What a table has no column for.
    fn remarks(&self, f: &mut fmt::Formatter<'_>, step: &LoadResult) -> fmt::Result {
        let at = step.load;
        let list = |counts: &std::collections::BTreeMap<String, u64>| {
            counts.iter().map(|(name, count)| format!("{name} ×{count}")).collect::<Vec<_>>().join(", ")
        };
        if step.variants.len() > 1 {
            writeln!(f, "{at}: answered by {}.", list(&step.variants))?;
        }
        if let Some(first) = &step.first_error {
            let errors = if step.errors.is_empty() { String::new() } else { format!("{}; ", list(&step.errors)) };
            writeln!(f, "{at}: {errors}the first that was not answered: {first}")?;
        }
        if step.not_sent > 0 {
            let count = step.not_sent;
            writeln!(f, "{at}: {count} requests were due while {MOST_OUTSTANDING} waited, and were not sent.")?;
        }
        if step.client_was_limit {
            let lag = milliseconds(step.send_lag_p99_ms);
            writeln!(
                f,
                "{at}: THE CLIENT ITSELF WAS A LIMIT: one request in a hundred was sent {lag} ms late or more, over a tenth \
                 of the SLO."
            )?;
        }
        Ok(())
    }
}

/// With no more digits than can be read.
fn milliseconds(ms: Option<f64>) -> String {
    ms.map_or("-".to_owned(), |ms| if ms < 10.0 { format!("{ms:.2}") } else { format!("{ms:.1}") })
}

/// The first column to the left, the others to the right, each as wide as it must be; an empty line before each title.
fn write_aligned(f: &mut fmt::Formatter<'_>, rows: &[Vec<String>]) -> fmt::Result {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for (at, row) in rows.iter().enumerate() {
        if at > 0 && row.get(1).is_some_and(|cell| cell == HEAD[0]) {
            writeln!(f)?;
        }
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            if column == 0 { write!(f, "{cell:<width$}")? } else { write!(f, "  {cell:>width$}")? }
        }
        writeln!(f)?;
    }
    Ok(())
}
