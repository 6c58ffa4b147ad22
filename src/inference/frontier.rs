//! The frontier of a model on this machine: every variant at every batch size that was measured.

use super::{Pipeline, ServedModel};
use crate::routing::frontier::{Point, dominated};

/// A point of the frontier, or one that another beats.
#[derive(Debug, Clone, PartialEq)]
pub struct FrontierPoint {
    /// What was measured.
    pub point: Point,
    /// Does another beat it in everything?
    pub dominated: bool,
}

impl Pipeline {
    /// All points of a model, by what was measured before the first request and by the latest traffic.
    #[must_use]
    pub fn frontier(&self, model: &ServedModel) -> Vec<FrontierPoint> {
        let (ledger, aside) = (&self.0.ledger, model.traffic.aside());
        let mut points = Vec::new();
        for variant in &model.variants {
            for of in variant.queue.profile() {
                let service_time = variant.queue.service_time(of.rows);
                let run = service_time.as_secs_f64();
                #[expect(clippy::cast_precision_loss, reason = "few")]
                let at_once = (ledger.cpus / variant.threads as f64).min(variant.instances as f64);
                #[expect(clippy::cast_precision_loss, reason = "few")]
                let each = run / of.rows as f64 + aside.as_secs_f64() * at_once / ledger.cpus;
                points.push(Point {
                    variant: variant.name.clone(),
                    batch_size: of.rows,
                    runs: of.runs,
                    p50: of.p50,
                    p90: of.p90,
                    p99: of.p99,
                    answers_per_second: if each > 0.0 { at_once / each } else { 0.0 },
                    usd_per_million: variant.usd((service_time, of.rows), aside, ledger) * 1e6,
                    accuracy: model.quality(variant),
                });
            }
        }
        let dominated = dominated(&points);
        points.into_iter().zip(dominated).map(|(point, dominated)| FrontierPoint { point, dominated }).collect()
    }
}
