//! Of the variants that are accurate enough, cheap enough and fast enough, the one that is best by the objective is
//! chosen: the cheapest, the fastest or the most accurate. Under load the heaviest tiers are shed
//! ([`super::degradation`]). A request that names a variant gets it.

use std::{fmt, time::Duration};

pub use crate::config::Objective;

/// What is known about a variant now.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its quality, by the model's first metric; unknown where the manifest says nothing.
    pub accuracy: Option<f64>,
    /// How far its answers agreed with those of the shadow variant, 0 to 1; unknown until enough were compared.
    pub agreement: Option<f64>,
    /// What an answer of it costs, in dollars.
    pub usd: f64,
    /// How long an answer takes when no other request is in its way.
    pub alone: Duration,
    /// The part of the machine's time that one answer a second takes.
    pub demand: f64,
}

/// What the variant that answers has to meet.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Requirements<'a> {
    /// Only this variant.
    pub variant: Option<&'a str>,
    /// The variant that is preferred, whatever the objective.
    pub default: Option<&'a str>,
    /// What to optimise: cost, latency or accuracy.
    pub objective: Option<Objective>,
    /// Variants below this accuracy are left out.
    pub min_accuracy: Option<f64>,
    /// Variants below this agreement with the shadow are left out, as long as another remains.
    pub min_agreement: Option<f64>,
    /// Variants whose answers cost more dollars are left out.
    pub max_cost_usd: Option<f64>,
    /// Variants that take longer than this even alone are left out, as long as another remains.
    pub within: Option<Duration>,
    /// The cheapest is preferred, whatever the objective, since a budget runs short.
    pub save: bool,
    /// The number of tiers that are shed, the heaviest first.
    pub shed: usize,
}

/// A variant, with the reason for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Its place among the candidates.
    pub variant: usize,
    /// Why it was chosen.
    pub reason: Reason,
    /// Its tier; 0 is the heaviest.
    pub tier: usize,
    /// Whether a lighter variant would do, too.
    pub lighter: bool,
}

/// Why a variant was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The request named it.
    Requested,
    /// No other variant meets the requirements.
    Only,
    /// It is the model's default.
    Default,
    /// It costs the least.
    Cost,
    /// It answers the fastest.
    Latency,
    /// It is the most accurate.
    Accuracy,
    /// A better one would take longer than the deadline or the promise allows, even alone.
    Deadline,
    /// A better one is too heavy for the present load.
    Load,
    /// It costs the least, and a budget runs short.
    Budget,
}

impl Reason {
    /// The word on the wire and in the metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Only => "only",
            Self::Default => "default",
            Self::Cost => "cost",
            Self::Latency => "latency",
            Self::Accuracy => "accuracy",
            Self::Deadline => "deadline",
            Self::Load => "load",
            Self::Budget => "budget",
        }
    }
}

/// No variant will do.
#[derive(Debug, Clone, PartialEq)]
pub enum Unmet {
    /// There is none of that name.
    Unknown(String),
    /// None is accurate enough; the limit and what the best has.
    Accuracy(String),
    /// None is cheap enough; the limit and what the cheapest costs.
    Cost(String),
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(why) | Self::Accuracy(why) | Self::Cost(why) => f.write_str(why),
        }
    }
}

/// A variant with more than this part of another's demand is in the same tier, since switching would gain little.
const SAME_TIER: f64 = 0.85;

/// Costs within this ratio count as equal, so that noise does not decide.
const SAME_COST: f64 = 0.9;

/// Chooses one of the `candidates`.
///
/// # Errors
/// When none of them will do; the message says what the limit is and what there is.
pub fn select(candidates: &[Candidate<'_>], requirements: &Requirements<'_>) -> Result<Choice, Unmet> {
    if let Some(name) = requirements.variant {
        return named(candidates, name, requirements);
    }
    let admitted = admitted(candidates, requirements)?;
    let order = by_preference(candidates, &admitted, requirements);
    let tiers = tiers(candidates);
    let tier = |variant: usize| tiers.get(variant).copied().unwrap_or_default();
    let fast = |variant: &usize| requirements.within.is_none_or(|within| candidates[*variant].alone <= within);
    let in_time: Vec<usize> = order.iter().copied().filter(fast).collect();
    // If none is fast enough, the fastest is taken; the forecast or the queue refuses the request if that is too slow.
    let fastest = || order.iter().copied().min_by_key(|&variant| candidates[variant].alone).into_iter().collect();
    let in_time = if in_time.is_empty() { fastest() } else { in_time };
    let open = in_time.iter().copied().find(|&variant| tier(variant) >= requirements.shed);
    // If all suitable variants are shed, the lightest of them answers.
    let lightest = || in_time.iter().copied().max_by_key(|&variant| (tier(variant), std::cmp::Reverse(variant)));
    let best = order.first().copied().unwrap_or_default();
    let variant = open.or_else(lightest).unwrap_or(best);
    let reason = if candidates.len() == 1 || (order.len() == 1 && !requirements.save) {
        Reason::Only
    } else if Some(&variant) != in_time.first() {
        Reason::Load
    } else if variant != best {
        Reason::Deadline
    } else if requirements.save {
        Reason::Budget
    } else {
        match requirements.objective {
            _ if requirements.default == Some(candidates[variant].name) => Reason::Default,
            Some(Objective::Latency) => Reason::Latency,
            Some(Objective::Accuracy) => Reason::Accuracy,
            Some(Objective::Cost) | None => Reason::Cost,
        }
    };
    let lighter = in_time.iter().any(|&other| tier(other) > tier(variant));
    Ok(Choice { variant, reason, tier: tier(variant), lighter })
}

/// The variant that the request names, if it meets the other requirements.
fn named(candidates: &[Candidate<'_>], name: &str, requirements: &Requirements<'_>) -> Result<Choice, Unmet> {
    let Some(variant) = candidates.iter().position(|candidate| candidate.name == name) else {
        let known: Vec<_> = candidates.iter().map(|candidate| candidate.name).collect();
        return Err(Unmet::Unknown(format!("there is no variant \"{name}\"; there are {}", known.join(", "))));
    };
    admitted(&candidates[variant..=variant], requirements)?;
    Ok(Choice { variant, reason: Reason::Requested, tier: 0, lighter: false })
}

/// Those that are accurate and cheap enough.
fn admitted(candidates: &[Candidate<'_>], requirements: &Requirements<'_>) -> Result<Vec<usize>, Unmet> {
    let all = 0..candidates.len();
    let accurate = |variant: &usize| {
        requirements
            .min_accuracy
            .is_none_or(|floor| candidates[*variant].accuracy.is_some_and(|accuracy| accuracy >= floor))
    };
    let accurate: Vec<usize> = all.filter(accurate).collect();
    if let (true, Some(floor)) = (accurate.is_empty(), requirements.min_accuracy) {
        let known = candidates.iter().filter_map(|candidate| Some((candidate.accuracy?, candidate.name)));
        let best = known.rev().max_by(|a, b| a.0.total_cmp(&b.0));
        let best = best.map_or("no variant says how accurate it is".to_owned(), |(accuracy, name)| {
            format!("the most accurate one, \"{name}\", has {accuracy}")
        });
        return Err(Unmet::Accuracy(format!("no variant reaches {floor}; {best}")));
    }
    // A variant without enough comparisons counts as agreeing. If none agrees, agreement is ignored.
    let agrees = |variant: &usize| {
        let agreement = candidates[*variant].agreement;
        requirements.min_agreement.is_none_or(|least| agreement.is_none_or(|agreement| agreement >= least))
    };
    let agreed: Vec<usize> = accurate.iter().copied().filter(agrees).collect();
    let accurate = if agreed.is_empty() { accurate } else { agreed };
    let cheap = |variant: &usize| requirements.max_cost_usd.is_none_or(|most| candidates[*variant].usd <= most);
    let cheap: Vec<usize> = accurate.iter().copied().filter(cheap).collect();
    if let (true, Some(most)) = (cheap.is_empty(), requirements.max_cost_usd) {
        let cheapest = accurate.iter().map(|&variant| &candidates[variant]).min_by(|a, b| a.usd.total_cmp(&b.usd));
        let cheapest = cheapest.map_or(String::new(), |candidate| {
            format!("; the cheapest that will do, \"{}\", costs about {:.2e}", candidate.name, candidate.usd)
        });
        return Err(Unmet::Cost(format!("no variant answers for {most:e} dollars{cheapest}")));
    }
    Ok(cheap)
}

/// The admitted variants, best first.
fn by_preference(candidates: &[Candidate<'_>], admitted: &[usize], requirements: &Requirements<'_>) -> Vec<usize> {
    let objective = if requirements.save { Objective::Cost } else { requirements.objective.unwrap_or(Objective::Cost) };
    let cheapest = admitted.iter().map(|&variant| candidates[variant].usd).fold(f64::INFINITY, f64::min);
    // Variants of about the same cost keep the manifest's order.
    let cost = |variant: usize| {
        let usd = candidates[variant].usd;
        if usd * SAME_COST <= cheapest { cheapest } else { usd }
    };
    let mut order = admitted.to_vec();
    order.sort_by(|&a, &b| {
        let (one, other) = (&candidates[a], &candidates[b]);
        let first = |variant: &Candidate<'_>| requirements.default == Some(variant.name) && !requirements.save;
        let by_default = first(other).cmp(&first(one));
        let by_cost = cost(a).total_cmp(&cost(b));
        let accuracy = |candidate: &Candidate<'_>| candidate.accuracy.unwrap_or(f64::NEG_INFINITY);
        by_default.then(match objective {
            Objective::Cost => by_cost,
            Objective::Latency => one.alone.cmp(&other.alone),
            Objective::Accuracy => accuracy(other).total_cmp(&accuracy(one)).then(by_cost),
        })
    });
    order
}

/// The tier of each candidate; 0 is the heaviest.
fn tiers(candidates: &[Candidate<'_>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by(|&a, &b| candidates[b].demand.total_cmp(&candidates[a].demand));
    let mut tiers = vec![0; candidates.len()];
    let (mut tier, mut heaviest) = (0, f64::INFINITY);
    for (place, variant) in order.into_iter().enumerate() {
        let demand = candidates[variant].demand;
        if demand < heaviest * SAME_TIER {
            tier += usize::from(place > 0);
            heaviest = demand;
        }
        tiers[variant] = tier;
    }
    tiers
}

#[cfg(test)]
#[path = "select_tests.rs"]
mod tests;
