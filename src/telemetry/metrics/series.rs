//! The time series of one variant, looked up once when it is loaded: then counting takes no lock.

use std::{sync::Arc, time::Duration};

use prometheus::{Histogram, IntCounter};

use super::Metrics;
use crate::telemetry::{Stage, StageTimes};

/// The sizes of a model's batches.
#[derive(Debug, Clone)]
pub struct BatchSizeSeries(Histogram);

impl BatchSizeSeries {
    pub(super) fn new(metrics: &Metrics, model: &str) -> Self {
        Self(metrics.batch_size.with_label_values(&[model]))
    }

    /// Counts one run of a graph.
    pub fn ran(&self, batch_size: usize) {
        #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
        self.0.observe(batch_size as f64);
    }
}

/// The counters and histograms that an answer of one variant touches.
#[derive(Debug)]
pub struct VariantSeries {
    metrics: Arc<Metrics>,
    model: String,
    variant: String,
    answered: IntCounter,
    failed: IntCounter,
    cancelled: IntCounter,
    request_seconds: Histogram,
    stage_seconds: [Histogram; Stage::ALL.len()],
}

impl VariantSeries {
    pub(super) fn new(metrics: &Arc<Metrics>, model: &str, variant: &str) -> Self {
        let ended = |outcome| metrics.requests_total.with_label_values(&[model, variant, outcome]);
        Self {
            answered: ended("ok"),
            failed: ended("error"),
            cancelled: metrics.cancelled_total.with_label_values(&[model]),
            request_seconds: metrics.request_seconds.with_label_values(&[model]),
            stage_seconds: Stage::ALL.map(|stage| metrics.stage_seconds.with_label_values(&[model, stage.name()])),
            metrics: Arc::clone(metrics),
            model: model.to_owned(),
            variant: variant.to_owned(),
        }
    }

    /// Counts a request for which this variant was chosen.
    pub fn routed(&self, reason: &str) {
        self.metrics.routed_total.with_label_values(&[&self.model, &self.variant, reason]).inc();
    }

    /// Counts an answer, with where its time went.
    pub fn answered(&self, total: Duration, stages: &StageTimes) {
        self.answered.inc();
        self.request_seconds.observe(total.as_secs_f64());
        for (series, (stage, time)) in self.stage_seconds.iter().zip(stages.iter()) {
            // Requests that send tensors get the outputs as they are.
            if stage != Stage::Postprocess || !time.is_zero() {
                series.observe(time.as_secs_f64());
            }
        }
    }

    /// Counts a request that failed for a reason that is the server's.
    pub fn failed(&self) {
        self.failed.inc();
    }

    /// Counts a request whose client went away before its answer was there.
    pub fn cancelled(&self) {
        self.cancelled.inc();
    }
}
