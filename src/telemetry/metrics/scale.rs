//! How full the replica is, and the refusals that say so.

use prometheus::core::Collector;

use super::Metrics;

/// Reasons that want of room or of time is behind.
const ROOM: [&str; 4] = ["busy", "queue_full", "too_slow", "deadline"];

impl Metrics {
    /// How full this replica is, and the number of replicas that this asks for.
    pub fn scale(&self, load_ratio: f64, desired_replicas: f64) {
        self.load_ratio.set(load_ratio);
        self.desired_replicas.set(desired_replicas);
    }

    /// Forgets how many answers models can give.
    pub fn forget_capacity(&self) {
        self.capacity_per_second.reset();
    }

    /// How many answers a model can give.
    pub fn capacity(&self, model: &str, per_second: f64) {
        self.capacity_per_second.with_label_values(&[model]).set(per_second);
    }

    /// Refusals so far, whatever the reason.
    #[must_use]
    pub fn refused_in_all(&self) -> u64 {
        let families = self.refused_total.collect();
        let counters =
            families.iter().flat_map(|family| family.get_metric()).map(|metric| metric.get_counter().get_value());
        counters.sum::<f64>() as u64
    }

    /// Requests that another replica would have answered; `model` is empty for those of whom nobody knows which they wanted.
    #[must_use]
    pub fn refused_for_room(&self, model: &str) -> u64 {
        let reasons = if model.is_empty() { &ROOM[..1] } else { &ROOM };
        reasons.iter().map(|reason| self.refused_total.with_label_values(&[model, reason]).get()).sum()
    }

    /// What has not happened yet is told as 0, or nobody would see it begin: a counter's first value is no increase.
    pub(super) fn begin_at_zero(&self, model: &str, variant: &str) {
        self.requests_total.with_label_values(&[model, variant, "error"]);
        self.model_loads_total.with_label_values(&[model, "failed"]);
        self.cancelled_total.with_label_values(&[model]);
        for reason in ROOM {
            self.refused_total.with_label_values(&[model, reason]);
        }
        self.refused_total.with_label_values(&["", ROOM[0]]);
    }
}
