//! Simulates Kubernetes' HorizontalPodAutoscaler with the behaviour of `k8s/overlays/cpu/hpa.yaml` (autoscaling/v2). The
//! algorithm is that of Kubernetes' documentation, "Horizontal Pod Autoscaling".

use std::{collections::VecDeque, fmt, time::Duration};

use super::{Rule, SimulationPlan};
use crate::stats::Rate;

/// Seconds between two decisions.
const SYNC_PERIOD_S: u64 = 15;

/// Age in seconds of the metrics that it sees: they are scraped every 15 s.
const METRICS_AGE_S: usize = 15;

/// Seconds over which the CPU utilization is averaged (the window of metrics-server).
const CPU_WINDOW_S: usize = 30;

/// Relative deviation of a metric from its target that changes nothing.
const TOLERANCE: f64 = 0.1;

/// Largest step up in 15 s: the larger of this share of the replicas and this number of replicas.
const MAX_STEP_UP: (f64, u64) = (1.0, 4);

/// Largest step down in a minute: the larger of this share of the replicas and this number of replicas.
const MAX_STEP_DOWN: (f64, u64) = (0.1, 1);

/// Seconds of the stabilization window: the number of replicas is never below the highest recommendation in it.
const STABILIZATION_S: u64 = 120;

/// The metric that the autoscaler follows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Signal {
    /// CPU utilization of the replicas, which is never more than 1.
    Cpu {
        /// Target of the utilization.
        target: f64,
    },
    /// `ounce_desired_replicas`, which counts requests whether they are answered or not.
    Requests,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(replicas) => write!(f, "fixed: {replicas}"),
            Self::Scaled(Signal::Cpu { target }) => write!(f, "by CPU at {:.0} %", target * 100.0),
            Self::Scaled(Signal::Requests) => write!(f, "by ounce_desired_replicas"),
        }
    }
}

/// What the autoscaler observes of a deployment in one second.
#[derive(Debug, Clone, Copy)]
pub struct Observed {
    /// Number of requests that arrived.
    pub requests: f64,
    /// Share of their CPUs that the replicas used.
    pub utilization: f64,
    /// Number of replicas that answer.
    pub ready: u64,
    /// Number of replicas that are paid for, including those that are starting.
    pub paid: u64,
}

/// The autoscaler of one deployment.
#[derive(Debug)]
pub struct Autoscaler {
    signal: Signal,
    capacity_per_s: f64,
    target_load: f64,
    bounds: (u64, u64),
    /// Rate of requests, in the capacity of one replica.
    demand: Rate,
    // Replicas that the metric asks for and ready replicas, for each of the last seconds; the newest is the last.
    metrics: VecDeque<(f64, f64)>,
    // Second and recommended replicas.
    recommendations: VecDeque<(u64, u64)>,
    // Second and paid replicas.
    sizes: VecDeque<(u64, u64)>,
}

impl Autoscaler {
    /// Makes the autoscaler of a deployment that has long had `per_second` requests a second.
    #[must_use]
    pub fn new(signal: Signal, plan: &SimulationPlan, per_second: f64) -> Self {
        let mut demand = Rate::default();
        let long = Duration::from_secs(3600);
        demand.observe(per_second / plan.capacity_per_s * long.as_secs_f64(), long);
        Self {
            signal,
            capacity_per_s: plan.capacity_per_s,
            target_load: plan.target_load,
            bounds: (plan.min_replicas, plan.max_replicas.max(plan.min_replicas)),
            demand,
            metrics: VecDeque::new(),
            recommendations: VecDeque::new(),
            sizes: VecDeque::new(),
        }
    }

    /// Takes in what was observed in the second `now`, and returns how many replicas there should be.
    pub fn second(&mut self, now: u64, observed: Observed) -> u64 {
        let Observed { requests, utilization, ready, paid } = observed;
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53")]
        let (ready, replicas) = (ready.max(1) as f64, paid as f64);
        let second = Duration::from_secs(1);
        // Each replica publishes a smoothed rate, and the sum of these is the smoothed rate of the sum.
        self.demand.observe(requests / self.capacity_per_s, second);
        let needed = match self.signal {
            Signal::Cpu { target } => utilization / target * ready,
            Signal::Requests => self.demand.per_second() / self.target_load,
        };
        self.metrics.push_back((needed, ready));
        if self.metrics.len() > METRICS_AGE_S + CPU_WINDOW_S {
            self.metrics.pop_front();
        }
        if !now.is_multiple_of(SYNC_PERIOD_S) || self.metrics.len() <= METRICS_AGE_S {
            return paid;
        }
        let mut known = self.metrics.iter().take(self.metrics.len() - METRICS_AGE_S);
        let (needed, ready) = match self.signal {
            Signal::Cpu { .. } => {
                let (needed, seconds) = known
                    .rev()
                    .take(CPU_WINDOW_S)
                    .fold((0.0, 0.0), |(needed, seconds), sample| (needed + sample.0 / sample.1, seconds + 1.0));
                let ready = self.metrics.get(self.metrics.len() - METRICS_AGE_S - 1).map_or(ready, |sample| sample.1);
                (needed / seconds * ready, ready)
            }
            Signal::Requests => known.next_back().copied().unwrap_or((needed, ready)),
        };
        // Replicas without a metric count as idle on the way up, and as if they were at the target on the way down.
        let ready = ready.min(replicas);
        let mean = needed / ready;
        let unmeasured = if mean > 1.0 { 0.0 } else { replicas - ready };
        let of_all = (mean * ready + unmeasured) / replicas;
        let near = (mean - 1.0).abs() <= TOLERANCE || (of_all - 1.0).abs() <= TOLERANCE;
        let turned = (mean > 1.0) != (of_all > 1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of replicas")]
        let recommended = if near || turned { paid } else { (of_all * replicas).ceil() as u64 };
        self.within_behaviour(now, recommended, paid).clamp(self.bounds.0, self.bounds.1)
    }

    /// Limits a recommendation to the steps and the stabilization window of the behaviour.
    fn within_behaviour(&mut self, now: u64, recommended: u64, paid: u64) -> u64 {
        self.recommendations.push_back((now, recommended));
        self.recommendations.retain(|(at, _)| now - at < STABILIZATION_S);
        self.sizes.push_back((now, paid));
        self.sizes.retain(|(at, _)| now - at <= 60);
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few")]
        let part = |of: u64, part: f64| (of as f64 * part).ceil() as u64;
        if recommended > paid {
            return recommended.min(paid + part(paid, MAX_STEP_UP.0).max(MAX_STEP_UP.1));
        }
        let highest = self.recommendations.iter().map(|(_, replicas)| *replicas).max().unwrap_or(recommended);
        let from = self.sizes.iter().map(|(_, size)| *size).max().unwrap_or(paid);
        highest.max(from.saturating_sub(part(from, MAX_STEP_DOWN.0).max(MAX_STEP_DOWN.1))).min(paid)
    }
}
