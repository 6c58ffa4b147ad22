//! Which variant of a model answers a request, and why. Pure: what is known about the variants goes in, one comes out.
//!
//! Of the variants that are accurate enough, cheap enough and fast enough, the objective takes its best: the cheapest,
//! the fastest or the most accurate. Under load ([`degradation`]) the heaviest are closed, until there is time again. Who names
//! a variant gets it.

pub mod degradation;
pub mod frontier;

use std::{fmt, time::Duration};

pub use crate::config::Objective;

/// What is known about a variant now.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its quality, by the model's first metric; unknown where the manifest says nothing.
    pub accuracy: Option<f64>,
    /// How often it agreed with the variant it was compared with, 0 to 1.
    pub agreement: Option<f64>,
    /// What an answer of it costs, in dollars.
    pub usd: f64,
    /// How long an answer takes where nobody is in its way.
    pub alone: Duration,
    /// The part of the machine's time that one answer a second takes.
    pub demand: f64,
}

/// What is asked of the variant.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Asked<'a> {
    /// This one and no other.
    pub variant: Option<&'a str>,
    /// The one that is best, whatever the objective.
    pub default: Option<&'a str>,
    /// What is best.
    pub objective: Option<Objective>,
    /// None that is less accurate.
    pub min_accuracy: Option<f64>,
    /// None that agreed less often.
    pub min_agreement: Option<f64>,
    /// None that costs more, in dollars.
    pub max_cost_usd: Option<f64>,
    /// None that takes longer even when nobody is in its way, if there is one.
    pub within: Option<Duration>,
    /// Cheapest first, since money runs short.
    pub save: bool,
    /// So many classes of weight are closed, the heaviest first.
    pub closed: usize,
}

/// A variant, with the reason for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Its place among the candidates.
    pub variant: usize,
    /// Why this one.
    pub reason: Reason,
    /// Its class of weight; 0 is the heaviest.
    pub weight: usize,
    /// Is there a lighter one that would do?
    pub lighter: bool,
}

/// Why a variant was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The request named it.
    Requested,
    /// There is no other that will do.
    Only,
    /// It is the model's default.
    Default,
    /// It costs least.
    Cost,
    /// It answers first.
    Latency,
    /// It errs least.
    Accuracy,
    /// A better one would take longer than there is time, even alone.
    Deadline,
    /// A better one is too heavy for what is asked of the server now.
    Load,
    /// It costs least, and a budget runs short.
    Budget,
}

impl Reason {
    /// In one word.
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

/// Variants whose demands are closer than this are of one weight: to go from one to the other would gain nothing.
const SAME_WEIGHT: f64 = 0.85;

/// Costs that are closer than this are the same: noise must not choose.
const SAME_COST: f64 = 0.9;

/// Chooses among `candidates`.
///
/// # Errors
/// When none of them will do; the message says what the limit is and what there is.
pub fn choose(candidates: &[Candidate<'_>], asked: &Asked<'_>) -> Result<Choice, Unmet> {
    if let Some(name) = asked.variant {
        return named(candidates, name, asked);
    }
    let admitted = admitted(candidates, asked)?;
    let order = by_preference(candidates, &admitted, asked);
    let weights = weights(candidates);
    let weight = |variant: usize| weights.get(variant).copied().unwrap_or_default();
    let fast = |variant: &usize| asked.within.is_none_or(|within| candidates[*variant].alone <= within);
    let in_time: Vec<usize> = order.iter().copied().filter(fast).collect();
    // Where none is fast enough, the fastest is the best there is; the queue will say no if that is too slow.
    let fastest = || order.iter().copied().min_by_key(|&variant| candidates[variant].alone).into_iter().collect();
    let in_time = if in_time.is_empty() { fastest() } else { in_time };
    let open = in_time.iter().copied().find(|&variant| weight(variant) >= asked.closed);
    // Where all that will do are closed, the lightest of them stays open.
    let lightest = || in_time.iter().copied().max_by_key(|&variant| (weight(variant), std::cmp::Reverse(variant)));
    let best = order.first().copied().unwrap_or_default();
    let variant = open.or_else(lightest).unwrap_or(best);
    let reason = if candidates.len() == 1 || (order.len() == 1 && !asked.save) {
        Reason::Only
    } else if Some(&variant) != in_time.first() {
        Reason::Load
    } else if variant != best {
        Reason::Deadline
    } else if asked.save {
        Reason::Budget
    } else {
        match asked.objective {
            _ if asked.default == Some(candidates[variant].name) => Reason::Default,
            Some(Objective::Latency) => Reason::Latency,
            Some(Objective::Accuracy) => Reason::Accuracy,
            Some(Objective::Cost) | None => Reason::Cost,
        }
    };
    let lighter = in_time.iter().any(|&other| weight(other) > weight(variant));
    Ok(Choice { variant, reason, weight: weight(variant), lighter })
}

/// The named one, if it keeps what else is asked.
fn named(candidates: &[Candidate<'_>], name: &str, asked: &Asked<'_>) -> Result<Choice, Unmet> {
    let Some(variant) = candidates.iter().position(|candidate| candidate.name == name) else {
        let known: Vec<_> = candidates.iter().map(|candidate| candidate.name).collect();
        return Err(Unmet::Unknown(format!("there is no variant \"{name}\"; there are {}", known.join(", "))));
    };
    admitted(&candidates[variant..=variant], asked)?;
    Ok(Choice { variant, reason: Reason::Requested, weight: 0, lighter: false })
}

/// Those that are accurate and cheap enough.
fn admitted(candidates: &[Candidate<'_>], asked: &Asked<'_>) -> Result<Vec<usize>, Unmet> {
    let all = 0..candidates.len();
    let accurate = |variant: &usize| {
        asked.min_accuracy.is_none_or(|floor| candidates[*variant].accuracy.is_some_and(|accuracy| accuracy >= floor))
    };
    let accurate: Vec<usize> = all.filter(accurate).collect();
    if let (true, Some(floor)) = (accurate.is_empty(), asked.min_accuracy) {
        let known = candidates.iter().filter_map(|candidate| Some((candidate.accuracy?, candidate.name)));
        let best = known.rev().max_by(|a, b| a.0.total_cmp(&b.0));
        let best = best.map_or("no variant says how accurate it is".to_owned(), |(accuracy, name)| {
            format!("the most accurate one, \"{name}\", has {accuracy}")
        });
        return Err(Unmet::Accuracy(format!("no variant reaches {floor}; {best}")));
    }
    // What is not compared yet has the benefit of the doubt; and if none agrees, the comparison is no help.
    let agrees = |variant: &usize| {
        let agreement = candidates[*variant].agreement;
        asked.min_agreement.is_none_or(|least| agreement.is_none_or(|agreement| agreement >= least))
    };
    let agreed: Vec<usize> = accurate.iter().copied().filter(agrees).collect();
    let accurate = if agreed.is_empty() { accurate } else { agreed };
    let cheap = |variant: &usize| asked.max_cost_usd.is_none_or(|most| candidates[*variant].usd <= most);
    let cheap: Vec<usize> = accurate.iter().copied().filter(cheap).collect();
    if let (true, Some(most)) = (cheap.is_empty(), asked.max_cost_usd) {
        let cheapest = accurate.iter().map(|&variant| &candidates[variant]).min_by(|a, b| a.usd.total_cmp(&b.usd));
        let cheapest = cheapest.map_or(String::new(), |candidate| {
            format!("; the cheapest that will do, \"{}\", costs about {:.2e}", candidate.name, candidate.usd)
        });
        return Err(Unmet::Cost(format!("no variant answers for {most:e} dollars{cheapest}")));
    }
    Ok(cheap)
}

/// The best first.
fn by_preference(candidates: &[Candidate<'_>], admitted: &[usize], asked: &Asked<'_>) -> Vec<usize> {
    let objective = if asked.save { Objective::Cost } else { asked.objective.unwrap_or(Objective::Cost) };
    let cheapest = admitted.iter().map(|&variant| candidates[variant].usd).fold(f64::INFINITY, f64::min);
    // Of those that cost about the same, the one that the manifest names first.
    let cost = |variant: usize| {
        let usd = candidates[variant].usd;
        if usd * SAME_COST <= cheapest { cheapest } else { usd }
    };
    let mut order = admitted.to_vec();
    order.sort_by(|&a, &b| {
        let (one, other) = (&candidates[a], &candidates[b]);
        let first = |variant: &Candidate<'_>| asked.default == Some(variant.name) && !asked.save;
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

/// The class of weight of each candidate; 0 is the heaviest.
fn weights(candidates: &[Candidate<'_>]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by(|&a, &b| candidates[b].demand.total_cmp(&candidates[a].demand));
    let mut weights = vec![0; candidates.len()];
    let (mut class, mut heaviest) = (0, f64::INFINITY);
    for (place, variant) in order.into_iter().enumerate() {
        let demand = candidates[variant].demand;
        if demand < heaviest * SAME_WEIGHT {
            class += usize::from(place > 0);
            heaviest = demand;
        }
        weights[variant] = class;
    }
    weights
}

#[cfg(test)]
mod tests;
