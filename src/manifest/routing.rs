//! `[routing]` in `model.toml`: which variant answers, where a request does not say.

use serde::Deserialize;

use crate::config::{Millis, NonNegative, Objective, Ratio};

/// What the router goes by, where a request does not say.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoutingSection {
    /// What is best; `cost` when left out.
    pub objective: Option<Objective>,
    /// The promise: 99 in 100 answers within so many milliseconds. Where a heavy variant would break it, a lighter one
    /// answers.
    pub slo_p99_ms: Option<Millis>,
    /// No variant below it answers, by `ap50`, `accuracy` or `f1`, whichever all variants have; else the first variant's first metric.
    pub min_accuracy: Option<Ratio>,
    /// No variant whose answers cost more dollars.
    pub max_cost_usd: Option<NonNegative>,
    /// No variant that agreed less often with the shadow, 0 to 1, as long as there is another.
    pub min_agreement: Option<Ratio>,
    /// Whom answers are compared with, when there is time.
    pub shadow: Option<ShadowSection>,
}

/// A variant that answers some requests a second time, for comparison.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowSection {
    /// Its name.
    pub variant: String,
    /// The part of the answers that are compared, 0 to 1.
    #[serde(default = "default_share")]
    pub share: Ratio,
}

fn default_share() -> Ratio {
    Ratio::clamped(0.01)
}
