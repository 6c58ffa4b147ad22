//! A day on paper: requests as they come, replicas that an autoscaler starts and ends, and what it costs. Pure, second
//! by second; ten thousand replicas take no longer than one.
//!
//! A replica is what it has learned of itself: so many answers a second within the promise. What comes beyond that waits
//! as long as the promise allows and is refused then. [`autoscaler`] has Kubernetes' rules, [`traffic`] the day.

pub mod autoscaler;
mod report;
pub mod traffic;

use std::{collections::VecDeque, time::Duration};

use serde::Serialize;

use self::{
    autoscaler::{Autoscaler, Signal},
    traffic::Traffic,
};

/// What holds for all ways to run a day.
#[derive(Debug, Clone)]
pub struct SimulationPlan {
    /// Answers a second that a replica can give within the promise.
    pub capacity_per_s: f64,
    /// Dollars an hour for a replica.
    pub usd_per_hour: f64,
    /// How long a request may wait before it is refused.
    pub promise: Duration,
    /// From the decision to start a replica to its first answer.
    pub ready_after: Duration,
    /// How full replicas should be.
    pub target_load: f64,
    /// Never fewer replicas.
    pub min_replicas: u64,
    /// Never more.
    pub max_replicas: u64,
}

impl SimulationPlan {
    /// The replicas that so many requests a second need.
    fn needed(&self, per_s: f64) -> u64 {
        (per_s / self.capacity_per_s / self.target_load).ceil().max(1.0) as u64
    }
}

/// Who decides how many replicas there are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// So many, all day.
    Fixed(u64),
    /// An autoscaler that goes by a signal.
    Scaled(Signal),
}

/// A day under one rule.
#[derive(Debug, Clone, Serialize)]
pub struct RuleOutcome {
    /// The rule, in words.
    pub rule: String,
    /// The fewest, the mean and the most replicas.
    pub replicas: (u64, f64, u64),
    /// The share of the requests that was refused.
    pub refused_ratio: f64,
    /// What the replicas cost, for 24 hours.
    pub usd_per_day: f64,
    /// What a million answers cost.
    pub usd_per_million: f64,
    /// The share of what replicas could have answered and did not.
    pub idle_ratio: f64,
    /// How often their number changed its direction.
    pub turns: usize,
    /// Replicas that are paid for, a number a second.
    #[serde(skip)]
    pub each_second: Vec<u64>,
}

/// All rules on one day.
#[derive(Debug, Clone, Serialize)]
pub struct SimulationReport {
    /// Answers a second that a replica can give within the promise.
    pub capacity_per_s: f64,
    /// Requests of the day.
    pub requests: f64,
    /// The most a second.
    pub peak_per_s: f64,
    /// How long the day is, in seconds.
    pub seconds: usize,
    /// One outcome a rule.
    pub outcomes: Vec<RuleOutcome>,
    #[serde(skip)]
    traffic: Vec<f64>,
}

/// Runs the day with as many replicas as its peak needs, with as many as its mean needs, and with autoscalers that go by
/// CPU and by what requests ask for.
#[must_use]
pub fn compare(plan: &SimulationPlan, traffic: &Traffic) -> SimulationReport {
    let rules = [
        Rule::Fixed(plan.needed(traffic.peak())),
        Rule::Fixed(plan.needed(traffic.mean())),
        Rule::Scaled(Signal::Cpu { target: 0.5 }),
        Rule::Scaled(Signal::Cpu { target: plan.target_load }),
        Rule::Scaled(Signal::Requests),
    ];
    SimulationReport {
        capacity_per_s: plan.capacity_per_s,
        requests: traffic.each_second().iter().sum(),
        peak_per_s: traffic.peak(),
        seconds: traffic.each_second().len(),
        outcomes: rules.into_iter().map(|rule| run(plan, traffic, rule)).collect(),
        traffic: traffic.each_second().to_vec(),
    }
}

/// Runs the day under one rule.
#[must_use]
pub fn run(plan: &SimulationPlan, traffic: &Traffic, rule: Rule) -> RuleOutcome {
    let first = traffic.each_second().first().copied().unwrap_or_default();
    let mut fleet = Fleet::new(plan, rule, first);
    let mut autoscaler = match rule {
        Rule::Fixed(_) => None,
        Rule::Scaled(signal) => Some(Autoscaler::new(signal, plan, first)),
    };
    let mut noise = traffic.noise();
    for (second, &rate) in traffic.each_second().iter().enumerate() {
        let came = noise.second(rate);
        fleet.second(plan, second as u64, came);
        if let Some(autoscaler) = &mut autoscaler {
            let wanted = autoscaler.second(second as u64, came, fleet.busy, fleet.ready, fleet.paid());
            fleet.resize(wanted, second as u64 + plan.ready_after.as_secs());
        }
    }
    fleet.outcome(plan, rule)
}

/// The replicas and what they have done.
#[derive(Debug, Default)]
struct Fleet {
    ready: u64,
    /// (ready at this second, how many).
    starting: VecDeque<(u64, u64)>,
    waiting: f64,
    /// The part of what they can give that they gave in the last second.
    busy: f64,
    came: f64,
    refused: f64,
    answered: f64,
    could: f64,
    each_second: Vec<u64>,
}

impl Fleet {
    /// As many as the first second needs.
    fn new(plan: &SimulationPlan, rule: Rule, rate: f64) -> Self {
        let ready = match rule {
            Rule::Fixed(replicas) => replicas,
            Rule::Scaled(_) => plan.needed(rate).clamp(plan.min_replicas, plan.max_replicas),
        };
        Self { ready, ..Self::default() }
    }

    /// Those that are paid for: they are from the moment they start.
    fn paid(&self) -> u64 {
        self.ready + self.starting.iter().map(|(_, replicas)| replicas).sum::<u64>()
    }

    fn second(&mut self, plan: &SimulationPlan, now: u64, came: f64) {
        while self.starting.front().is_some_and(|(at, _)| *at <= now) {
            self.ready += self.starting.pop_front().map_or(0, |(_, replicas)| replicas);
        }
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53")]
        let can = self.ready as f64 * plan.capacity_per_s;
        let wanted = self.waiting + came;
        let answered = wanted.min(can);
        let left = wanted - answered;
        self.waiting = left.min(can * plan.promise.as_secs_f64());
        self.busy = if can > 0.0 { answered / can } else { 1.0 };
        self.came += came;
        self.answered += answered;
        self.refused += left - self.waiting;
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53")]
        let paid = self.paid() as f64;
        self.could += paid * plan.capacity_per_s;
        self.each_second.push(self.paid());
    }

    /// New ones are ready later; of those that are too many, what has not started yet goes first.
    fn resize(&mut self, wanted: u64, ready_at: u64) {
        let now = self.paid();
        if wanted > now {
            self.starting.push_back((ready_at, wanted - now));
        }
        let mut over = now.saturating_sub(wanted);
        while over > 0 {
            match self.starting.back_mut() {
                Some((_, replicas)) if *replicas > over => {
                    *replicas -= over;
                    over = 0;
                }
                Some((_, replicas)) => {
                    over -= *replicas;
                    self.starting.pop_back();
                }
                None => {
                    self.ready -= over.min(self.ready);
                    over = 0;
                }
            }
        }
    }

    fn outcome(self, plan: &SimulationPlan, rule: Rule) -> RuleOutcome {
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53")]
        let (replica_seconds, seconds) = (self.each_second.iter().sum::<u64>() as f64, self.each_second.len() as f64);
        let usd = replica_seconds / 3600.0 * plan.usd_per_hour;
        let (fewest, most) = (self.each_second.iter().min(), self.each_second.iter().max());
        let share = |part: f64, of: f64| if of > 0.0 { part / of } else { 0.0 };
        RuleOutcome {
            rule: rule.to_string(),
            replicas: (fewest.copied().unwrap_or(0), share(replica_seconds, seconds), most.copied().unwrap_or(0)),
            refused_ratio: share(self.refused, self.came),
            usd_per_day: share(usd, seconds) * 86_400.0,
            usd_per_million: share(usd, self.answered) * 1e6,
            idle_ratio: 1.0 - share(self.answered, self.could),
            turns: turns(&self.each_second),
            each_second: self.each_second,
        }
    }
}

/// How often a series goes down after it went up, or up after it went down.
fn turns(series: &[u64]) -> usize {
    let mut directions: Vec<bool> =
        series.windows(2).filter(|pair| pair[0] != pair[1]).map(|pair| pair[1] > pair[0]).collect();
    directions.dedup();
    directions.len().saturating_sub(1)
}

#[cfg(test)]
mod tests;
