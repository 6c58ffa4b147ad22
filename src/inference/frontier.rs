//! The frontier of a model on this machine: every variant at every batch size that was measured.

use crate::{
    cost::Ledger,
    models::Model,
    routing::frontier::{Point, dominated},
};

/// A point of the frontier, or one that another beats.
#[derive(Debug, Clone, PartialEq)]
pub struct FrontierPoint {
    /// What was measured.
    pub point: Point,
    /// Whether another point beats it in everything.
    pub dominated: bool,
}

/// All points of a model, by what was measured before the first request and by the latest traffic.
#[must_use]
pub fn frontier(model: &Model, ledger: &Ledger) -> Vec<FrontierPoint> {
    let overhead = model.routing.demand.overhead();
    let mut points = Vec::new();
    for variant in &model.variants {
        let footprint = variant.info.footprint();
        for measured in variant.latency_profile() {
            let run = variant.queue.service_time(measured.rows);
            let parallel = footprint.parallel_runs(ledger.cpus);
            #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
            let each = run.as_secs_f64() / measured.rows as f64 + overhead.as_secs_f64() * parallel / ledger.cpus;
            points.push(Point {
                variant: variant.info.name.clone(),
                batch_size: measured.rows,
                runs: measured.runs,
                p50: measured.p50,
                p90: measured.p90,
                p99: measured.p99,
                answers_per_second: if each > 0.0 { parallel / each } else { 0.0 },
                usd_per_million: ledger.usd(footprint.usage(run, measured.rows, overhead)) * 1e6,
                accuracy: model.info.quality(&variant.info),
            });
        }
    }
    let dominated = dominated(&points);
    points.into_iter().zip(dominated).map(|(point, dominated)| FrontierPoint { point, dominated }).collect()
}
