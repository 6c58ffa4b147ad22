//! What the gauges show when somebody scrapes: read off the state of the server at that moment.

use super::Inference;
use crate::{
    engine::thread_plan::usable_cpus,
    models::{Model, Variant},
    telemetry::metrics::{GaugeSource, Gauges},
};

impl GaugeSource for Inference {
    fn read(&self, gauges: &Gauges) {
        self.ledger.read(gauges);
        gauges.cpus(usable_cpus(), self.decoding.threads());
        gauges.memory(self.gate.bodies.bytes(), self.gate.memory.used_bytes(), self.gate.memory.max_bytes());
        gauges.coming(self.gate.bodies.coming());
        let replica = self.replica_load();
        gauges.load(replica.load, replica.load / f64::from(self.config.scale.target_load.get()));
        for (model, per_second) in &replica.answers_per_second {
            gauges.capacity(model, *per_second);
        }
        for model in self.models.models() {
            gauges.waiting(&model.info.name, model.waiting());
            gauges.tiers_shed(&model.info.name, model.routing.tiers_shed());
            model.variants.iter().for_each(|variant| read_variant(&model, variant, gauges));
        }
    }
}

fn read_variant(model: &Model, variant: &Variant, gauges: &Gauges) {
    let (info, routing) = (&variant.info, &model.routing);
    let labels = [model.info.name.as_str(), info.name.as_str()];
    gauges.sessions(labels, info.instances, info.threads);
    for (providers, in_use) in [(&info.providers, true), (&info.missing_providers, false)] {
        providers.iter().for_each(|provider| gauges.provider(labels, provider.name(), in_use));
    }
    if let Some(usd) = routing.usd_per_answer(info.id) {
        gauges.usd_per_answer(labels, usd);
    }
    if let (Some(shadow), Some(agreement)) = (&routing.shadow, routing.agreement_so_far(info.id)) {
        gauges.agreement(labels, &model.variant(shadow.variant).info.name, agreement);
    }
    for point in variant.latency_profile() {
        for (percentile, time) in [("50", point.p50), ("90", point.p90), ("99", point.p99)] {
            gauges.run_time(labels, point.rows, percentile, time);
        }
    }
}
