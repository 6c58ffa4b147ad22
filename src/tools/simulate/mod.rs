//! Simulates a day of requests: how many replicas an autoscaler starts, how many requests are refused, and what it costs.
//!
//! A plan and the day's traffic go in, and a [`SimulationReport`] comes out. The simulation goes second by second and has
//! no clock; ten thousand replicas take no longer than one. A replica is a number of answers a second. Requests beyond
//! that wait as long as the deadline allows and are then refused. [`autoscaler`] has Kubernetes' rules, and [`traffic`]
//! the day.

pub mod autoscaler;
mod report;
pub mod traffic;

use std::{collections::VecDeque, time::Duration};

use serde::Serialize;

use self::{
    autoscaler::{Autoscaler, Observed, Signal},
    traffic::Traffic,
};

/// What all rules of a simulation have in common.
#[derive(Debug, Clone)]
pub struct SimulationPlan {
    /// Answers a second that a replica can give within the promise.
    pub capacity_per_s: f64,
    /// Dollars an hour for a replica.
    pub usd_per_hour: f64,
    /// How long a request may wait before it is refused.
    pub promise: Duration,
    /// Time from the decision to start a replica to its first answer.
    pub ready_after: Duration,
    /// Load that replicas should have, from 0 to 1.
    pub target_load: f64,
    /// Smallest number of replicas.
    pub min_replicas: u64,
    /// Largest number of replicas.
    pub max_replicas: u64,
}

impl SimulationPlan {
    /// Number of replicas that a rate of requests needs.
    fn needed(&self, per_s: f64) -> u64 {
        (per_s / self.capacity_per_s / self.target_load).ceil().max(1.0) as u64
    }
}

/// Rule that decides how many replicas there are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// The same number of replicas all day.
    Fixed(u64),
    /// An autoscaler that follows a signal.
    Scaled(Signal),
}

/// Result of a day under one rule.
#[derive(Debug, Clone, Serialize)]
pub struct RuleOutcome {
    /// The rule, in words.
    pub rule: String,
    /// Smallest, mean and largest number of replicas.
    pub replicas: (u64, f64, u64),
    /// Share of the requests that were refused.
    pub refused_ratio: f64,
    /// Cost of the replicas in dollars for 24 hours.
    pub usd_per_day: f64,
    /// Dollars for a million answers.
    pub usd_per_million: f64,
    /// Share of the replicas' capacity that was not used.
    pub idle_ratio: f64,
    /// Number of times that the number of replicas changed its direction.
    pub turns: usize,
    /// Number of replicas that are paid for, for each second.
    #[serde(skip)]
    pub each_second: Vec<u64>,
}

/// Results of one day under several rules.
#[derive(Debug, Clone, Serialize)]
pub struct SimulationReport {
    /// Answers a second that a replica can give within the promise.
    pub capacity_per_s: f64,
    /// Number of requests of the day.
    pub requests: f64,
    /// Highest rate in requests a second.
    pub peak_per_s: f64,
    /// Length of the day in seconds.
    pub seconds: usize,
    /// One outcome for each rule.
    pub outcomes: Vec<RuleOutcome>,
    #[serde(skip)]
    traffic: Vec<f64>,
}

/// Simulates the day with as many fixed replicas as its peak needs, with as many as its mean needs, and with autoscalers
/// that follow the CPU and the requests.
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

/// Simulates the day under one rule.
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
        let requests = noise.second(rate);
        fleet.second(plan, second as u64, requests);
        if let Some(autoscaler) = &mut autoscaler {
            let observed =
                Observed { requests, utilization: fleet.utilization, ready: fleet.ready, paid: fleet.paid() };
            let wanted = autoscaler.second(second as u64, observed);
            fleet.resize(wanted, second as u64 + plan.ready_after.as_secs());
        }
    }
    fleet.outcome(plan, rule)
}

/// The replicas, and totals of what they have done.
#[derive(Debug, Default)]
struct Fleet {
    ready: u64,
    /// Replicas that start: when they will be ready (in seconds), and how many they are.
    starting: VecDeque<(u64, u64)>,
    waiting: f64,
    /// Share of their capacity that the ready replicas used in the last second.
    utilization: f64,
    requests: f64,
    refused: f64,
    answered: f64,
    /// Requests that the paid replicas could have answered.
    capacity: f64,
    each_second: Vec<u64>,
}

impl Fleet {
    /// Starts with as many replicas as the first second needs.
    fn new(plan: &SimulationPlan, rule: Rule, rate: f64) -> Self {
        let ready = match rule {
            Rule::Fixed(replicas) => replicas,
            Rule::Scaled(_) => plan.needed(rate).clamp(plan.min_replicas, plan.max_replicas),
        };
        Self { ready, ..Self::default() }
    }

    /// Number of replicas that are paid for, which includes those that are starting.
    fn paid(&self) -> u64 {
        self.ready + self.starting.iter().map(|(_, replicas)| replicas).sum::<u64>()
    }

    /// Simulates one second in which `requests` arrive.
    fn second(&mut self, plan: &SimulationPlan, now: u64, requests: f64) {
        while self.starting.front().is_some_and(|(at, _)| *at <= now) {
            self.ready += self.starting.pop_front().map_or(0, |(_, replicas)| replicas);
        }
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53")]
        let can = self.ready as f64 * plan.capacity_per_s;
        let asked = self.waiting + requests;
        let answered = asked.min(can);
        let left = asked - answered;
        self.waiting = left.min(can * plan.promise.as_secs_f64());
        self.utilization = if can > 0.0 { answered / can } else { 1.0 };
        self.requests += requests;
        self.answered += answered;
        self.refused += left - self.waiting;
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53")]
        let paid = self.paid() as f64;
        self.capacity += paid * plan.capacity_per_s;
        self.each_second.push(self.paid());
    }

    /// Changes the number of replicas. New ones are ready at `ready_at`; replicas that are still starting are ended first.
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
            refused_ratio: share(self.refused, self.requests),
            usd_per_day: share(usd, seconds) * 86_400.0,
            usd_per_million: share(usd, self.answered) * 1e6,
            idle_ratio: 1.0 - share(self.answered, self.capacity),
            turns: turns(&self.each_second),
            each_second: self.each_second,
        }
    }
}

/// Number of times that a series goes down after it went up, or up after it went down.
fn turns(series: &[u64]) -> usize {
    let mut directions: Vec<bool> =
        series.windows(2).filter(|pair| pair[0] != pair[1]).map(|pair| pair[1] > pair[0]).collect();
    directions.dedup();
    directions.len().saturating_sub(1)
}

#[cfg(test)]
mod tests;
