//! What the manifest and the operator's settings say about the choice of a variant.

use std::time::Duration;

use super::select::Requirements;
use crate::{
    config::{Millis, ModelOverrides, NonNegative, Objective, Ratio},
    manifest::Manifest,
};

/// What a request wants of the variant that answers it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VariantPreference {
    /// Only this variant.
    pub variant: Option<String>,
    /// What to optimise: cost, latency or accuracy.
    pub objective: Option<Objective>,
    /// No variant below this accuracy.
    pub min_accuracy: Option<f64>,
    /// No variant whose answers cost more dollars.
    pub max_cost_usd: Option<f64>,
}

/// What a model's variants have to meet where a request says nothing.
#[derive(Debug, Clone, Default)]
pub struct RoutingPolicy {
    /// The variant that is preferred, whatever the objective.
    pub default: Option<String>,
    /// What makes a variant the best.
    pub objective: Option<Objective>,
    /// The promise: 99 in 100 answers within this time.
    pub slo: Option<Duration>,
    /// No variant below this accuracy.
    pub min_accuracy: Option<f64>,
    /// No variant that agrees with the shadow less, as long as there is another.
    pub min_agreement: Option<f64>,
    /// No variant whose answers cost more dollars.
    pub max_cost_usd: Option<f64>,
    /// Whether the first variant answers every request without preferences: the operator set a default and no limit,
    /// or the manifest lacks accuracies.
    pub fixed: bool,
}

impl RoutingPolicy {
    /// What the settings say, else the manifest. `accuracy_known` tells whether the manifest says how good every variant is.
    #[must_use]
    pub fn new(manifest: &Manifest, settings: &ModelOverrides, variants: usize, accuracy_known: bool) -> Self {
        let routing = &manifest.routing;
        // A ratio is an f32; rounding keeps 0.8 from becoming 0.800000012.
        let exact = |ratio: Ratio| (f64::from(ratio.get()) * 1e6).round() / 1e6;
        let default = settings.default_variant.as_ref().unwrap_or(&manifest.default_variant);
        let policy = Self {
            default: Some(default.clone()).filter(|name| name != "auto"),
            objective: settings.objective.or(routing.objective),
            slo: settings.slo_p99_ms.or(routing.slo_p99_ms).map(Millis::duration),
            min_accuracy: settings.min_accuracy.or(routing.min_accuracy).map(exact),
            min_agreement: routing.min_agreement.map(exact),
            max_cost_usd: routing.max_cost_usd.map(NonNegative::get),
            fixed: false,
        };
        let silent = policy.objective.is_none()
            && policy.slo.is_none()
            && policy.min_accuracy.is_none()
            && policy.max_cost_usd.is_none()
            && policy.min_agreement.is_none();
        let fixed = silent && variants > 1 && (policy.default.is_some() || !accuracy_known);
        Self { fixed, ..policy }
    }

    /// The requirements for a request with this preference.
    #[must_use]
    pub fn requirements<'a>(&'a self, preference: &'a VariantPreference) -> Requirements<'a> {
        // The model's own limits do not apply to a request that names its variant.
        let named = preference.variant.is_some();
        let ours = |limit: Option<f64>| limit.filter(|_| !named);
        Requirements {
            variant: preference.variant.as_deref(),
            // An objective of the request's own counts for more than the model's default.
            default: self.default.as_deref().filter(|_| preference.objective.is_none()),
            objective: preference.objective.or(self.objective),
            min_accuracy: preference.min_accuracy.or(ours(self.min_accuracy)),
            min_agreement: ours(self.min_agreement),
            max_cost_usd: preference.max_cost_usd.or(ours(self.max_cost_usd)),
            ..Requirements::default()
        }
    }
}
