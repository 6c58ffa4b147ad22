//! Kubernetes' HorizontalPodAutoscaler, with the behaviour that `k8s/overlays/cpu/hpa.yaml` gives it (autoscaling/v2;
//! the algorithm is that of its documentation, "Horizontal Pod Autoscaling").

use std::{collections::VecDeque, fmt, time::Duration};

use super::{Rule, SimulationPlan};
use crate::stats::Rate;

/// It looks so often.
const EVERY_S: u64 = 15;

/// What it sees is so old: a scrape every 15 s, and the metrics' own way.
const LATE_S: usize = 15;

/// CPU is a mean over so long (metrics-server's window).
const CPU_MEAN_S: usize = 30;

/// A metric this close to its target changes nothing.
const TOLERANCE: f64 = 0.1;

/// Up by the larger of these, every 15 s.
const UP: (f64, u64) = (1.0, 4);

/// Down by the larger of these, a minute.
const DOWN: (f64, u64) = (0.1, 1);

/// Down no further than to the highest wish of so long.
const DOWN_AFTER_S: u64 = 120;

/// What it goes by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Signal {
    /// The part of their CPUs that replicas use, which is never more than all of it.
    Cpu {
        /// What that part should be.
        target: f64,
    },
    /// `ounce_desired_replicas`: what requests ask for, answered or not.
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

/// The autoscaler of one deployment.
#[derive(Debug)]
pub struct Autoscaler {
    signal: Signal,
    capacity_per_s: f64,
    target_load: f64,
    bounds: (u64, u64),
    /// Full replicas that the requests ask for.
    asked: Rate,
    // What all replicas said together, in replicas, and how many they were; the newest is the last.
    seen: VecDeque<(f64, f64)>,
    // (second, wish), and (second, how many were paid for).
    preference: VecDeque<(u64, u64)>,
    sizes: VecDeque<(u64, u64)>,
}

impl Autoscaler {
    /// One of a deployment that has had so many requests a second for long.
    #[must_use]
    pub fn new(signal: Signal, plan: &SimulationPlan, per_second: f64) -> Self {
        let mut asked = Rate::default();
        let long = Duration::from_secs(3600);
        asked.observe(per_second / plan.capacity_per_s * long.as_secs_f64(), long);
        Self {
            signal,
            capacity_per_s: plan.capacity_per_s,
            target_load: plan.target_load,
            bounds: (plan.min_replicas, plan.max_replicas.max(plan.min_replicas)),
            asked,
            seen: VecDeque::new(),
            preference: VecDeque::new(),
            sizes: VecDeque::new(),
        }
    }

    /// A second has passed in which so many requests came, and replicas used that part of their CPUs: how many there
    /// shall be.
    pub fn second(&mut self, now: u64, came: f64, busy: f64, ready: u64, paid: u64) -> u64 {
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^53")]
        let (ready, replicas) = (ready.max(1) as f64, paid as f64);
        let second = Duration::from_secs(1);
        // What each replica tells is a mean, and the sum of means is the mean of the sum.
        self.asked.observe(came / self.capacity_per_s, second);
        let needed = match self.signal {
            Signal::Cpu { target } => busy / target * ready,
            Signal::Requests => self.asked.per_second() / self.target_load,
        };
        self.seen.push_back((needed, ready));
        if self.seen.len() > LATE_S + CPU_MEAN_S {
            self.seen.pop_front();
        }
        if !now.is_multiple_of(EVERY_S) || self.seen.len() <= LATE_S {
            return paid;
        }
        let mut known = self.seen.iter().take(self.seen.len() - LATE_S);
        let (needed, ready) = match self.signal {
            Signal::Cpu { .. } => {
                let (needed, seconds) = known
                    .rev()
                    .take(CPU_MEAN_S)
                    .fold((0.0, 0.0), |(needed, seconds), then| (needed + then.0 / then.1, seconds + 1.0));
                let ready = self.seen.get(self.seen.len() - LATE_S - 1).map_or(ready, |then| then.1);
                (needed / seconds * ready, ready)
            }
            Signal::Requests => known.next_back().copied().unwrap_or((needed, ready)),
        };
        // Those that have no metric yet count as idle on the way up, and as if they were at the target on the way down.
        let ready = ready.min(replicas);
        let mean = needed / ready;
        let unseen = if mean > 1.0 { 0.0 } else { replicas - ready };
        let of_all = (mean * ready + unseen) / replicas;
        let near = (mean - 1.0).abs() <= TOLERANCE || (of_all - 1.0).abs() <= TOLERANCE;
        let turned = (mean > 1.0) != (of_all > 1.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of replicas")]
        let wish = if near || turned { paid } else { (of_all * replicas).ceil() as u64 };
        self.within_behaviour(now, wish, paid).clamp(self.bounds.0, self.bounds.1)
    }

    fn within_behaviour(&mut self, now: u64, wish: u64, paid: u64) -> u64 {
        self.preference.push_back((now, wish));
        self.preference.retain(|(at, _)| now - at < DOWN_AFTER_S);
        self.sizes.push_back((now, paid));
        self.sizes.retain(|(at, _)| now - at <= 60);
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few")]
        let part = |of: u64, part: f64| (of as f64 * part).ceil() as u64;
        if wish > paid {
            return wish.min(paid + part(paid, UP.0).max(UP.1));
        }
        let highest = self.preference.iter().map(|(_, wish)| *wish).max().unwrap_or(wish);
        let from = self.sizes.iter().map(|(_, size)| *size).max().unwrap_or(paid);
        highest.max(from.saturating_sub(part(from, DOWN.0).max(DOWN.1))).min(paid)
    }
}
