//! Which variant answers, by what is known here: what answers cost lately, how long the queues are, who may still spend.

use std::time::{Duration, Instant};

use super::{Pipeline, RequestContext, ServedModel, ServedVariant};
use crate::{
    config::{Millis, ModelOverrides, NonNegative, Provider, Ratio},
    cost::{BudgetExceeded, BudgetState, CpuTime, Ledger, Meter, RequestCost, ResourceUsage, Tenant},
    error::Error,
    models::folder::ModelFolder,
    routing::{self, Asked, Candidate, Choice, Objective, Reason, Unmet},
    scheduler::job::Priority,
};

/// Below this part of the machine's time a variant is not felt.
const FELT: f64 = 0.05;

/// What a request wants of the variant that answers it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VariantPreference {
    /// This one.
    pub variant: Option<String>,
    /// What is best.
    pub objective: Option<Objective>,
    /// None that is less accurate.
    pub min_accuracy: Option<f64>,
    /// None that costs more dollars.
    pub max_cost_usd: Option<f64>,
}

/// The variant that answers a request, and why.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    pub(super) variant: usize,
    /// Why this one.
    pub reason: Reason,
}

/// A model's routing, as the manifest and the settings have it.
#[derive(Debug, Default)]
pub(super) struct Routing {
    /// The variant that is best, whatever the objective.
    pub default: Option<String>,
    pub objective: Option<Objective>,
    pub slo: Option<Duration>,
    pub min_accuracy: Option<f64>,
    pub min_agreement: Option<f64>,
    pub max_cost_usd: Option<f64>,
    /// The first variant answers whatever happens, where a request wants nothing: the operator named it and nothing
    /// else, or nobody knows how good the others are.
    pub steady: bool,
}

impl Pipeline {
    /// Chooses the variant for a request. That can be done before its body is read: a refusal costs nothing.
    ///
    /// # Errors
    /// [`Error::OverBudget`], [`Error::NoVariant`] when no variant meets a limit, [`Error::BadParameter`] for a variant
    /// that there is not.
    pub fn route(
        &self,
        model: &ServedModel,
        preference: &VariantPreference,
        terms: RequestContext,
    ) -> Result<Route, Error> {
        let route = self.ended(model, "", self.try_route(model, preference, terms))?;
        if route.reason != Reason::Requested {
            model.traffic.arrived(1);
        }
        self.metrics().routed(&model.name, &model.of(route).name, route.reason.name());
        Ok(route)
    }

    /// A request that was routed holds so many pictures more.
    pub fn more_pictures(&self, model: &ServedModel, route: Route, more: usize) {
        if route.reason != Reason::Requested {
            model.traffic.arrived(more);
        }
    }

    /// May this tenant's requests cost anything at all? Asked early, where a request is worth reading only then.
    ///
    /// # Errors
    /// [`Error::OverBudget`].
    pub fn may_spend(&self, model: &ServedModel, tenant: Tenant) -> Result<(), Error> {
        self.ended(model, "", self.means(tenant).map(drop))
    }

    fn means(&self, tenant: Tenant) -> Result<BudgetState, Error> {
        self.0.ledger.budget_state(tenant).map_err(|BudgetExceeded { tenant, usd_per_hour, retry_after }| {
            Error::OverBudget { tenant, usd_per_hour, retry_after }
        })
    }

    fn try_route(
        &self,
        model: &ServedModel,
        preference: &VariantPreference,
        terms: RequestContext,
    ) -> Result<Route, Error> {
        let save = self.means(terms.tenant)? == BudgetState::Low;
        if model.routing.steady && *preference == VariantPreference::default() && !save {
            return Ok(Route { variant: 0, reason: Reason::Default });
        }
        let left = terms.deadline.at.saturating_duration_since(Instant::now());
        let within = model.routing.slo.map_or(left, |slo| slo.min(left));
        let asked = Asked { within: Some(within), save, ..model.asked(preference) };
        let candidates = model.candidates(&self.0.ledger);
        let choice = match asked.variant {
            Some(_) => model.choose(&candidates, &asked)?,
            None => self.choose_under_load(model, &candidates, asked, (terms, within))?,
        };
        Ok(Route { variant: choice.variant, reason: choice.reason })
    }

    /// Where a queue is too long for a variant that would else be in time, a lighter one answers. Where that goes on, the
    /// heavier one is closed to everybody for a while.
    fn choose_under_load(
        &self,
        model: &ServedModel,
        candidates: &[Candidate<'_>],
        mut asked: Asked<'_>,
        (terms, within): (RequestContext, Duration),
    ) -> Result<Choice, Error> {
        let late = |choice: Choice, priority, within| {
            let variant = model.variants.get(choice.variant).filter(|_| choice.lighter);
            variant.is_some_and(|variant| {
                let full = variant.queue.len() + variant.decoding.inside() >= model.max_queue;
                full || self.forecast(variant, priority, within).is_late(within)
            })
        };
        asked.closed = model.traffic.load().closed();
        let mut choice = model.choose(candidates, &asked)?;
        // Everybody tells how long the queue is, by what the model promises to all, not by what one wants for itself.
        let promised = model.routing.slo.unwrap_or(self.config().requests.deadline);
        let too_long = late(choice, Priority::default(), promised);
        if !model.routing.steady {
            model.traffic.load().request(too_long, choice.weight, choice.lighter, Instant::now());
        }
        // Each one goes its own way for more than that.
        while late(choice, terms.priority, within) {
            asked.closed = choice.weight + 1;
            choice = model.choose(candidates, &asked)?;
        }
        Ok(choice)
    }

    /// An answer for so many pictures is there: books it, and learns what answers cost. `aside` is what it took beside its
    /// runs, for all; it is no measure of others where it was not as `usual`.
    pub(super) fn settle(
        &self,
        model: &ServedModel,
        route: Route,
        meter: &Meter,
        (aside, usual): (CpuTime, bool),
        pictures: usize,
    ) -> RequestCost {
        let cost = meter.bill();
        if usual {
            model.traffic.learn_aside(aside / pictures.max(1));
            #[expect(clippy::cast_precision_loss, reason = "few")]
            model.of(route).typical_usd.observe(cost.usd / pictures.max(1) as f64);
        }
        model.asked_for(route, pictures, aside);
        if route.reason != Reason::Requested {
            model.traffic.used(cost.cpu_seconds);
        }
        cost
    }

    /// To be called every second or so: balances the books, opens heavier variants again where there is room, and says how
    /// many replicas there should be.
    pub fn look_at_load(&self) {
        self.0.ledger.balance();
        let (busy, now) = (self.0.ledger.cpu_utilization(), Instant::now());
        for model in self.models() {
            model.look_at_load(&self.0.ledger, busy, now);
            let (closed, switches) = {
                let mut load = model.traffic.load();
                (load.closed(), load.news())
            };
            self.metrics().closed(&model.name, closed, switches);
            if switches > 0 {
                tracing::info!(model = model.name, closed, "load has closed heavier variants, or they are open again");
            }
        }
        self.look_at_scale(now);
    }
}

impl ServedModel {
    /// The variant of a route of this model.
    pub(super) fn of(&self, route: Route) -> &ServedVariant {
        // A route is made by this model, which always has a variant.
        &self.variants[route.variant.min(self.variants.len() - 1)]
    }

    pub(super) fn candidates<'a>(&'a self, ledger: &Ledger) -> Vec<Candidate<'a>> {
        let aside = self.traffic.aside();
        let candidate = |variant: &'a ServedVariant| {
            let service_times = variant.queue.service_times();
            Candidate {
                name: &variant.name,
                accuracy: self.quality(variant),
                agreement: variant.agreement.get(),
                usd: variant.usd((service_times.service_time, 1), aside, ledger),
                alone: service_times.fastest + aside,
                demand: variant.demand(aside, service_times.least_service_time, ledger.cpus),
            }
        };
        self.variants.iter().map(candidate).collect()
    }

    fn asked<'a>(&'a self, preference: &'a VariantPreference) -> Asked<'a> {
        let routing = &self.routing;
        let ours = preference.variant.is_none();
        // What a request wants is more than the model's default.
        let default = routing.default.as_deref().filter(|_| preference.objective.is_none());
        Asked {
            variant: preference.variant.as_deref(),
            default,
            objective: preference.objective.or(routing.objective),
            // Who names a variant is not held to what is said for those who do not.
            min_accuracy: preference.min_accuracy.or(routing.min_accuracy.filter(|_| ours)),
            min_agreement: routing.min_agreement.filter(|_| ours),
            max_cost_usd: preference.max_cost_usd.or(routing.max_cost_usd.filter(|_| ours)),
            ..Asked::default()
        }
    }

    fn choose(&self, candidates: &[Candidate<'_>], asked: &Asked<'_>) -> Result<Choice, Error> {
        routing::choose(candidates, asked).map_err(|unmet| match unmet {
            Unmet::Unknown(why) => Error::BadParameter { name: "variant".to_owned(), why },
            Unmet::Accuracy(why) => Error::NoVariant { name: "min_accuracy", model: self.name.clone(), why },
            Unmet::Cost(why) => Error::NoVariant { name: "max_cost_usd", model: self.name.clone(), why },
        })
    }

    /// The choice for requests that want nothing, with so many classes of weight closed.
    pub(super) fn usual(&self, candidates: &[Candidate<'_>], closed: usize) -> Option<Choice> {
        let preference = VariantPreference::default();
        let asked = Asked { within: self.routing.slo, closed, ..self.asked(&preference) };
        self.choose(candidates, &asked).ok()
    }

    fn look_at_load(&self, ledger: &Ledger, busy: f64, now: Instant) {
        let Some((per_second, used)) = self.traffic.since_last_look(now) else { return };
        // Where one variant always answers, there is nothing to close.
        if self.routing.steady {
            return;
        }
        let candidates = self.candidates(ledger);
        let closed = self.traffic.load().closed();
        let at = |closed: usize| self.usual(&candidates, closed);
        let demand =
            |choice: Option<Choice>| choice.map_or(0.0, |choice| per_second * candidates[choice.variant].demand);
        let (here, above) = (at(closed), at(closed.saturating_sub(1)));
        // What the process does beside this: other models, requests that name a variant, sockets. And where a lighter or a
        // heavier variant would hardly be felt, that is no reason for or against it.
        let beside = (busy - used / ledger.cpus).max(0.0);
        let felt = |difference: f64| if difference > FELT { beside } else { 0.0 };
        let lightest = demand(at(usize::MAX));
        let busy_here = demand(here) + felt(demand(here) - lightest);
        let busy_above = demand(above) + felt(demand(above) - demand(here));
        let mut load = self.traffic.load();
        let too_much = load.look(busy_here, busy_above, now);
        if let Some(choice) = here.filter(|choice| too_much && choice.lighter) {
            load.press(choice.weight, now);
        }
    }

    /// Is a variant passed over, since it agrees too seldom with the shadow?
    pub(super) fn passes_over(&self, variant: &ServedVariant) -> bool {
        let least = self.routing.min_agreement;
        least.zip(variant.agreement.get()).is_some_and(|(least, agreement)| agreement < least)
    }

    /// What the manifest says of a variant's quality, by the metric by which this model's variants are compared.
    #[must_use]
    pub fn quality(&self, variant: &ServedVariant) -> Option<f64> {
        variant.accuracy.get(self.metric.as_ref()?).copied()
    }
}

impl ServedVariant {
    /// The part of the machine's time that an answer a second takes, out of such a run, with so much work beside it.
    fn demand(&self, aside: Duration, run: Duration, cpus: f64) -> f64 {
        let run = run.as_secs_f64();
        let aside = aside.as_secs_f64() / cpus;
        #[expect(clippy::cast_precision_loss, reason = "few")]
        if self.on_device() {
            (run / self.instances as f64).max(aside)
        } else {
            run * self.threads as f64 / cpus + aside
        }
    }

    /// Dollars for an answer out of a run of that time and batch size, with so much work beside it.
    pub(super) fn usd(&self, (run, batch_size): (Duration, usize), aside: Duration, ledger: &Ledger) -> f64 {
        let run = CpuTime::from(run) / batch_size;
        let aside = CpuTime::from(aside);
        ledger.usd(match self.on_device() {
            true => ResourceUsage { cpu: aside, gpu: run },
            false => ResourceUsage::from(run * self.threads + aside),
        })
    }

    pub(super) fn on_device(&self) -> bool {
        match self.providers.first() {
            Some(Provider::Cuda | Provider::Tensorrt) => true,
            Some(Provider::Cpu | Provider::Openvino) | None => false,
        }
    }
}

impl Routing {
    /// What the operator's settings and the manifest say, the settings first.
    pub(super) fn new(folder: &ModelFolder, settings: &ModelOverrides) -> Self {
        let routing = &folder.manifest.routing;
        // Numbers of few digits come as they were written.
        let exact = |unit: Ratio| (f64::from(unit.get()) * 1e6).round() / 1e6;
        let default = settings.default_variant.as_ref().unwrap_or(&folder.manifest.default_variant);
        let this = Self {
            default: Some(default.clone()).filter(|name| name != "auto"),
            objective: settings.objective.or(routing.objective),
            slo: settings.slo_p99_ms.or(routing.slo_p99_ms).map(Millis::duration),
            min_accuracy: settings.min_accuracy.or(routing.min_accuracy).map(exact),
            min_agreement: routing.min_agreement.map(exact),
            max_cost_usd: routing.max_cost_usd.map(NonNegative::get),
            steady: false,
        };
        let silent = this.objective.is_none()
            && this.slo.is_none()
            && this.min_accuracy.is_none()
            && this.max_cost_usd.is_none()
            && this.min_agreement.is_none();
        let unknown = folder.variants.iter().any(|variant| variant.accuracy.is_empty());
        let steady = silent && folder.variants.len() > 1 && (this.default.is_some() || unknown);
        Self { steady, ..this }
    }
}
