//! Which variant answers, by what is known here: what answers cost lately, how long the queues are, who may still spend.

use std::time::{Duration, Instant};

use super::{Pipeline, ServedModel, ServedVariant, Terms};
use crate::{
    cost::{CpuTime, Ledger, Means, Spent, Used},
    error::Error,
    router::{self, Asked, Candidate, Choice, Objective, Reason, Unmet},
};

/// What a request wants of the variant that answers it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wishes {
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
    pub fn route(&self, model: &ServedModel, wishes: &Wishes, terms: Terms) -> Result<Route, Error> {
        let route = self.ended(model, "", self.try_route(model, wishes, terms))?;
        self.metrics().routed(&model.name, &model.of(route).name, route.reason.name());
        Ok(route)
    }

    fn try_route(&self, model: &ServedModel, wishes: &Wishes, terms: Terms) -> Result<Route, Error> {
        let means = self.0.ledger.means(terms.tenant).map_err(|Spent { tenant, usd_per_hour, retry_after }| {
            Error::OverBudget { tenant, usd_per_hour, retry_after }
        })?;
        let now = Instant::now();
        let left = terms.deadline.at.saturating_duration_since(now);
        let within = model.routing.slo.map_or(left, |slo| slo.min(left));
        let asked = Asked { within: Some(within), save: means == Means::Little, ..model.asked(wishes) };
        let candidates = model.candidates(&self.0.ledger);
        let steady = model.routing.steady && *wishes == Wishes::default() && !asked.save;
        let choice = if steady {
            Choice { variant: 0, reason: Reason::Default, lighter: false }
        } else {
            self.choose_under_load(model, &candidates, asked, (terms, within), now)?
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
        (terms, within): (Terms, Duration),
        now: Instant,
    ) -> Result<Choice, Error> {
        if asked.variant.is_none() {
            model.traffic.arrived();
        }
        asked.closed = model.traffic.load().closed();
        let mut first = asked.variant.is_none();
        loop {
            let choice = model.choose(candidates, &asked)?;
            let late = choice.lighter
                && model.variants.get(choice.variant).is_some_and(|variant| {
                    self.forecast(variant, terms.priority, within).is_late(within)
                });
            // How the best of what is open does, everybody tells; for more than that, each request goes its own way.
            if std::mem::take(&mut first) {
                model.traffic.load().request(late, choice.lighter, now);
            }
            if !late {
                return Ok(choice);
            }
            asked.closed += 1;
        }
    }

    /// To be called every second or so: balances the books, and opens heavier variants again where there is room.
    pub fn look_at_load(&self) {
        self.0.ledger.balance();
        let (busy, now) = (self.0.ledger.busy(), Instant::now());
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
    }
}

impl ServedModel {
    /// The variant of a route of this model.
    pub(super) fn of(&self, route: Route) -> &ServedVariant {
        // A route is made by this model, which always has a variant.
        &self.variants[route.variant.min(self.variants.len() - 1)]
    }

    fn candidates<'a>(&'a self, ledger: &Ledger) -> Vec<Candidate<'a>> {
        let aside = self.traffic.aside();
        let candidate = |variant: &'a ServedVariant| Candidate {
            name: &variant.name,
            accuracy: variant.quality().map(|(_, value)| value),
            agreement: variant.agreement.get(),
            usd: variant.usd(1, aside, ledger),
            alone: variant.queue.typical() + aside,
            demand: variant.demand(aside, ledger.cpus),
        };
        self.variants.iter().map(candidate).collect()
    }

    fn asked<'a>(&'a self, wishes: &'a Wishes) -> Asked<'a> {
        let routing = &self.routing;
        // What a request wants is more than the model's default.
        let default = routing.default.as_deref().filter(|_| wishes.objective.is_none());
        Asked {
            variant: wishes.variant.as_deref(),
            default,
            objective: wishes.objective.or(routing.objective),
            min_accuracy: wishes.min_accuracy.or(routing.min_accuracy),
            min_agreement: routing.min_agreement,
            max_cost_usd: wishes.max_cost_usd.or(routing.max_cost_usd),
            ..Asked::default()
        }
    }

    fn choose(&self, candidates: &[Candidate<'_>], asked: &Asked<'_>) -> Result<Choice, Error> {
        router::choose(candidates, asked).map_err(|unmet| match unmet {
            Unmet::Unknown(why) => Error::BadParameter { name: "variant".to_owned(), why },
            Unmet::Accuracy(why) => Error::NoVariant { name: "min_accuracy", model: self.name.clone(), why },
            Unmet::Cost(why) => Error::NoVariant { name: "max_cost_usd", model: self.name.clone(), why },
        })
    }

    fn look_at_load(&self, ledger: &Ledger, busy: f64, now: Instant) {
        let Some((per_second, used)) = self.traffic.since_last_look(now) else { return };
        let candidates = self.candidates(ledger);
        let (closed, wishes) = (self.traffic.load().closed(), Wishes::default());
        let asked = Asked { within: self.routing.slo, ..self.asked(&wishes) };
        let at = |closed: usize| self.choose(&candidates, &Asked { closed, ..asked }).ok();
        // What the process does beside this: other models, requests that name a variant, sockets.
        let beside = (busy - used / ledger.cpus).max(0.0);
        let busy_at = |choice: Option<Choice>| {
            choice.map_or(0.0, |choice| per_second * candidates[choice.variant].demand + beside)
        };
        let (here, above) = (at(closed), at(closed.saturating_sub(1)));
        let (busy_here, busy_above) = (busy_at(here), busy_at(above));
        let mut load = self.traffic.load();
        if load.look(busy_here, busy_above, now) && here.is_some_and(|choice| choice.lighter) {
            load.press(now);
        }
    }
}

impl ServedVariant {
    /// What the manifest says of its quality, by the metric that is asked for most.
    #[must_use]
    pub fn quality(&self) -> Option<(&str, f64)> {
        let known = ["ap50", "accuracy", "f1"].into_iter().find_map(|name| self.accuracy.get_key_value(name));
        known.or_else(|| self.accuracy.first_key_value()).map(|(name, value)| (name.as_str(), *value))
    }

    /// The part of the machine's time that an answer a second takes, in batches of the best size, with so much work beside
    /// its run.
    fn demand(&self, aside: Duration, cpus: f64) -> f64 {
        let run = self.queue.least_occupied().as_secs_f64();
        let aside = aside.as_secs_f64() / cpus;
        #[expect(clippy::cast_precision_loss, reason = "few")]
        if self.on_device() {
            (run / self.instances as f64).max(aside)
        } else {
            run * self.threads as f64 / cpus + aside
        }
    }

    /// Dollars for an answer out of a batch of that size, with so much work beside its run.
    pub(super) fn usd(&self, batch_size: usize, aside: Duration, ledger: &Ledger) -> f64 {
        let run = CpuTime::from(self.queue.occupied(batch_size)) / batch_size;
        let aside = CpuTime::from(aside);
        ledger.usd(match self.on_device() {
            true => Used { cpu: aside, gpu: run },
            false => Used::from(run * self.threads + aside),
        })
    }

    fn on_device(&self) -> bool {
        use crate::config::Provider::{Cpu, Cuda, Openvino, Tensorrt};
        match self.providers.first() {
            Some(Cuda | Tensorrt) => true,
            Some(Cpu | Openvino) | None => false,
        }
    }
}

impl Routing {
    /// What the operator's settings and the manifest say, the settings first.
    pub(super) fn new(
        manifest: &crate::registry::manifest::Manifest,
        settings: &crate::config::ModelSettings,
        all_known: bool,
    ) -> Self {
        let routing = &manifest.routing;
        // Numbers of few digits come as they were written.
        let exact = |unit: crate::config::Unit| (f64::from(unit.get()) * 1e6).round() / 1e6;
        let default = settings.default_variant.clone().unwrap_or_else(|| manifest.default_variant.clone());
        let default = Some(default).filter(|name| name != "auto");
        let this = Self {
            objective: settings.objective.or(routing.objective),
            slo: settings.slo_p99_ms.or(routing.slo_p99_ms).map(|ms| Duration::from_secs_f64(ms.get() / 1e3)),
            min_accuracy: settings.min_accuracy.or(routing.min_accuracy).map(exact),
            min_agreement: routing.min_agreement.map(exact),
            max_cost_usd: routing.max_cost_usd.map(crate::config::NotNegative::get),
            steady: false,
            default,
        };
        let silent = this.objective.is_none()
            && this.slo.is_none()
            && this.min_accuracy.is_none()
            && this.max_cost_usd.is_none();
        Self { steady: silent && (this.default.is_some() || !all_known), ..this }
    }
}
