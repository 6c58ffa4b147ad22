//! The section `[routing]` of a manifest: how the router chooses a variant for requests that name none.

use serde::Deserialize;

use crate::config::{Millis, NonNegative, Objective, Ratio};

/// Goals and limits of the router.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoutingSection {
    /// What the router optimizes; `cost` without it.
    pub objective: Option<Objective>,
    /// Latency in milliseconds that 99 in 100 answers must not exceed. Where a slow variant would miss it, a faster one
    /// answers.
    pub slo_p99_ms: Option<Millis>,
    /// Least accuracy of a variant that answers. The metric is `ap50`, `accuracy` or `f1`, whichever all variants have;
    /// else the first metric of the first variant.
    pub min_accuracy: Option<Ratio>,
    /// Largest cost of an answer in dollars.
    pub max_cost_usd: Option<NonNegative>,
    /// Least agreement (0 to 1) of a variant with the shadow variant, as long as another variant has it.
    pub min_agreement: Option<Ratio>,
    /// Shadow variant that answers are compared with when there is time.
    pub shadow: Option<ShadowSection>,
}

/// A variant that answers some requests a second time, for comparison.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowSection {
    /// Name of the variant.
    pub variant: String,
    /// Share of the answers that are compared, 0 to 1.
    #[serde(default = "default_share")]
    pub share: Ratio,
}

fn default_share() -> Ratio {
    Ratio::clamped(0.01)
}
