//! Which variant answers a request, by what is known at this moment: what answers cost lately, how long the queues are, who may
//! still spend.

use std::time::{Duration, Instant};

use super::{
    Inference,
    call::{Asker, Terms},
    forecast::Forecasts,
    record::Route,
};
use crate::{
    cost::{BudgetState, Ledger},
    error::Error,
    manifest::VariantId,
    models::Model,
    routing::{self, Candidate, Choice, Reason, Requirements, Unmet, policy::VariantPreference},
};

/// The chosen variant, with the forecast of its answer where one was made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Selected {
    pub route: Route,
    pub forecasts: Option<Forecasts>,
}

/// Chooses the variant for a request. That can be done before its body is read: a refusal costs nothing.
pub(super) fn select(
    inference: &Inference,
    model: &Model,
    terms: &Terms,
    asker: Asker,
    budget: BudgetState,
) -> Result<Selected, Error> {
    let save = budget == BudgetState::Low;
    let policy = &model.routing.policy;
    if policy.fixed && terms.preference == VariantPreference::default() && !save {
        let route = Route { variant: VariantId::DEFAULT, reason: Reason::Default };
        return Ok(Selected { route, forecasts: None });
    }
    let left = terms.deadline.left();
    let within = policy.slo.map_or(left, |slo| slo.min(left));
    let requirements = Requirements { within: Some(within), save, ..policy.requirements(&terms.preference) };
    let candidates = candidates(model, &inference.ledger);
    if requirements.variant.is_some() {
        let choice = choose(model, &candidates, &requirements)?;
        return Ok(Selected { route: choice.into(), forecasts: None });
    }
    under_load(inference, model, &candidates, requirements, asker)
}

/// If the chosen variant's queue is too long, a lighter one answers. If that happens often, the heavier tier is shed
/// for all requests for a while.
fn under_load(
    inference: &Inference,
    model: &Model,
    candidates: &[Candidate<'_>],
    mut requirements: Requirements<'_>,
    asker: Asker,
) -> Result<Selected, Error> {
    let policy = &model.routing.policy;
    let within = requirements.within.unwrap_or(Duration::MAX);
    // Whether the queue is too long is judged alike for all requests: by the model's promise and the default priority.
    let promised = policy.slo.unwrap_or(inference.config.requests.deadline);
    requirements.shed = model.routing.tiers_shed();
    let mut first = true;
    loop {
        let choice = choose(model, candidates, &requirements)?;
        let variant = model.variant(VariantId::new(choice.variant));
        let forecasts = Forecasts::new(inference, variant, asker, None);
        let full = forecasts.own.is_full(model.info.max_queue);
        if first && !policy.fixed {
            let late = choice.lighter && (full || forecasts.usual.is_late(promised));
            let now = Instant::now();
            model.routing.degrade(|degradation| degradation.observe(late, choice.tier, choice.lighter, now));
        }
        first = false;
        if !choice.lighter || !(full || forecasts.own.is_late(within)) {
            return Ok(Selected { route: choice.into(), forecasts: Some(forecasts) });
        }
        requirements.shed = choice.tier + 1;
    }
}

/// What is known about the variants of a model now.
pub(super) fn candidates<'a>(model: &'a Model, ledger: &Ledger) -> Vec<Candidate<'a>> {
    let overhead = model.routing.demand.overhead();
    let candidate = |variant: &'a crate::models::Variant| {
        let (info, times) = (&variant.info, variant.queue.service_times());
        let footprint = info.footprint();
        Candidate {
            name: &info.name,
            accuracy: model.info.quality(info),
            agreement: model.routing.agreement(info.id),
            usd: ledger.usd(footprint.usage(times.service_time, 1, overhead)),
            alone: times.fastest + overhead,
            demand: footprint.demand(times.least_service_time, overhead, ledger.cpus),
        }
    };
    model.variants.iter().map(candidate).collect()
}

/// The variant for requests without preferences, with `shed` tiers shed.
pub(super) fn usual_choice(model: &Model, candidates: &[Candidate<'_>], shed: usize) -> Option<Choice> {
    let preference = VariantPreference::default();
    let policy = &model.routing.policy;
    let requirements = Requirements { within: policy.slo, shed, ..policy.requirements(&preference) };
    choose(model, candidates, &requirements).ok()
}

fn choose(model: &Model, candidates: &[Candidate<'_>], requirements: &Requirements<'_>) -> Result<Choice, Error> {
    routing::select(candidates, requirements).map_err(|unmet| {
        let model = model.info.name.clone();
        match unmet {
            Unmet::Unknown(why) => Error::BadParameter { name: "variant".to_owned(), why },
            Unmet::Accuracy(why) => Error::NoVariant { name: "min_accuracy", model, why },
            Unmet::Cost(why) => Error::NoVariant { name: "max_cost_usd", model, why },
        }
    })
}

impl From<Choice> for Route {
    fn from(choice: Choice) -> Self {
        Self { variant: VariantId::new(choice.variant), reason: choice.reason }
    }
}
