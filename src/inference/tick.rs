//! What is done once a second: the books are balanced, shed tiers are restored where there is room, and the load of this
//! replica is estimated.

use std::time::Instant;

use super::{
    Inference,
    select::{candidates, usual_choice},
};
use crate::{
    capacity::{ModelLoad, VariantLoad},
    manifest::VariantId,
    models::Model,
    routing::{Candidate, Choice},
};

/// Smaller differences in demand between two variants are ignored.
const FELT: f64 = 0.05;

/// The load of this replica at the last tick.
#[derive(Debug, Clone, Default)]
pub struct ReplicaLoad {
    /// What requests ask of this replica over what it can give within the promise; 1 is full.
    pub load: f64,
    /// Answers a second that it can give, by model, as far as that is known.
    pub answers_per_second: Vec<(String, f64)>,
}

/// To be called every second.
pub fn tick(inference: &Inference) {
    inference.ledger.balance();
    inference.pace.refresh(Instant::now());
    let (busy, now) = (inference.ledger.cpu_utilization(), Instant::now());
    let models = inference.models.models();
    for model in &models {
        degrade(inference, model, busy, now);
        let (shed, changes) = model.routing.degrade(|degradation| (degradation.shed(), degradation.take_changes()));
        inference.metrics.router_switched(&model.info.name, changes);
        if changes > 0 {
            let model = &model.info.name;
            tracing::info!(model, closed = shed, "load has closed heavier variants, or they are open again");
        }
    }
    let loads: Vec<ModelLoad> = models.iter().map(|model| load(inference, model)).collect();
    let estimate =
        inference.estimator().update(&loads, inference.take_refused(), inference.ledger.process_usage(), now);
    let names = models.iter().map(|model| model.info.name.clone());
    let answers_per_second =
        names.zip(estimate.answers_per_second).filter_map(|(name, per_second)| Some((name, per_second?)));
    inference.publish(ReplicaLoad { load: estimate.load, answers_per_second: answers_per_second.collect() });
}

/// Sheds a tier of a model where requests ask for more than the machine has, and restores one where there is room again.
fn degrade(inference: &Inference, model: &Model, busy: f64, now: Instant) {
    let routing = &model.routing;
    let Some(rates) = routing.demand.update(now) else { return };
    // Where one variant always answers, there is nothing to shed.
    if routing.policy.fixed {
        return;
    }
    let cpus = inference.ledger.cpus;
    let candidates = candidates(model, &inference.ledger);
    let shed = routing.tiers_shed();
    let at = |shed: usize| usual_choice(model, &candidates, shed);
    let demand = |choice: Option<Choice>| demand_of(&candidates, choice) * rates.arrivals_per_second;
    let (here, above) = (at(shed), at(shed.saturating_sub(1)));
    // What the process uses for anything but this model's routed requests: other models, requests that name a variant,
    // sockets. It counts only where another variant would change the demand noticeably; otherwise shedding or
    // restoring would not help.
    let beside = (busy - rates.cpu_seconds_per_second / cpus).max(0.0);
    let felt = |difference: f64| if difference > FELT { beside } else { 0.0 };
    let lightest = demand(at(usize::MAX));
    let busy_here = demand(here) + felt(demand(here) - lightest);
    let busy_above = demand(above) + felt(demand(above) - demand(here));
    routing.degrade(|degradation| {
        let overloaded = degradation.update(busy_here, busy_above, now);
        if let Some(choice) = here.filter(|choice| overloaded && choice.lighter) {
            degradation.shed_tier(choice.tier, now);
        }
    });
}

fn demand_of(candidates: &[Candidate<'_>], choice: Option<Choice>) -> f64 {
    choice.and_then(|choice| candidates.get(choice.variant)).map_or(0.0, |candidate| candidate.demand)
}

/// What the requests of a model asked for since the last tick, and what its answers take.
fn load(inference: &Inference, model: &Model) -> ModelLoad {
    let candidates = candidates(model, &inference.ledger);
    let policy = &model.routing.policy;
    let choice = if policy.fixed { None } else { usual_choice(model, &candidates, 0) };
    let preferred = VariantId::new(choice.map_or(0, |choice| choice.variant));
    let promised = policy.slo.unwrap_or(inference.config.requests.deadline);
    // A request may have to wait for one run before its own, so a run may take at most half of the promise.
    let longest = promised.saturating_sub(model.routing.demand.overhead()) / 2;
    let variant_load = |variant: &crate::models::Variant| VariantLoad {
        footprint: variant.info.footprint(),
        service_time: variant.queue.least_service_time_within(longest),
    };
    ModelLoad {
        asked: model.tally.take(),
        preferred,
        alone: candidates.get(preferred.index()).map(|candidate| candidate.alone).unwrap_or_default(),
        promised,
        variants: model.variants.iter().map(variant_load).collect(),
    }
}
