//! How full this replica is, of which `inference::readings` derives the number of replicas. Pure: what was counted and
//! the time come in.
//!
//! What is asked for: images that were answered, and requests refused for want of room or time, since another replica
//! would have answered these. What a client does wrong, or a deadline that no replica could meet, asks for nothing. What an
//! answer takes: its share of a run by the latency profile, and the CPU time measured beside it. Where load has degraded a
//! model to lighter variants, requests count as if the preferred one had answered, so that more replicas bring it back.

use std::time::{Duration, Instant};

use super::{Footprint, saturation, tally::Asked};
use crate::{cost::ProcessUsage, manifest::VariantId, stats::Rate};

/// Overhead is learned only when answers use more than this part of the CPUs; otherwise background work would count as
/// overhead.
const BUSY_ENOUGH: f64 = 0.05;

/// Overhead is learned only while refusals are fewer than this part of the answers, since refusals cost CPU time too.
const FEW_REFUSALS: f64 = 0.1;

/// The weight of the newest second in the overhead factor.
const NEWEST: f64 = 0.1;

/// Refusals below these limits, a second or relative to answers, do not mean that the replica is full: a single client
/// may have an odd deadline.
const REFUSALS_PER_SECOND: f64 = 1.0;
const REFUSALS_PER_ANSWER: f64 = 0.01;

/// The highest load that refusals can report.
const MOST_REPLICAS: f64 = 10.0;

/// What one model's requests asked for, and what its answers take.
#[derive(Debug, Clone)]
pub struct ModelLoad {
    /// What was counted since the last update.
    pub asked: Asked,
    /// The variant that answers where there is time.
    pub preferred: VariantId,
    /// How long an answer of the preferred variant takes where nobody is in its way.
    pub alone: Duration,
    /// How long an answer may take.
    pub promised: Duration,
    /// What the runs of each variant occupy.
    pub variants: Vec<VariantLoad>,
}

/// What the runs of one variant take.
#[derive(Debug, Clone, Copy)]
pub struct VariantLoad {
    /// The sessions and threads that they occupy, or the device.
    pub footprint: Footprint,
    /// The least time that one image occupies a session, of the batch sizes whose runs leave time to keep the promise.
    pub service_time: Duration,
}

/// What the estimator says.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// What requests ask of this replica over what it can give within the promise; 1 is full.
    pub load: f64,
    /// Answers a second that this replica can give within the promise if it does nothing else, for each model of the
    /// update; none before its first answer.
    pub answers_per_second: Vec<Option<f64>>,
}

/// Smooths what is asked of this replica from one second to the next.
#[derive(Debug)]
pub struct CapacityEstimator {
    cpus: f64,
    updated_at: Instant,
    /// The part of this replica's time that is asked for, of what it can give within the promise.
    load: Rate,
    answered: Rate,
    refused: Rate,
    /// The CPU time of the process over the time charged to answers: 1 and a little.
    overhead: f64,
    usage: ProcessUsage,
}

/// Seconds of each resource that requests need.
#[derive(Debug, Clone, Copy, Default)]
struct Needs {
    cpu: f64,
    device: f64,
    /// Of sessions: the largest need of any one variant.
    sessions: f64,
}

impl CapacityEstimator {
    /// An estimator for a replica with so many CPUs that has not been asked for anything.
    #[must_use]
    pub fn new(cpus: f64, now: Instant) -> Self {
        Self {
            cpus,
            updated_at: now,
            load: Rate::default(),
            answered: Rate::default(),
            refused: Rate::default(),
            overhead: 1.0,
            usage: ProcessUsage::default(),
        }
    }

    /// Takes in what was asked for since the last update, and how many requests were refused, for whatever reason. To be
    /// called every second or so.
    pub fn update(&mut self, models: &[ModelLoad], refused: f64, usage: ProcessUsage, now: Instant) -> Estimate {
        let elapsed = now.saturating_duration_since(self.updated_at);
        self.updated_at = now;
        let mut needs = Needs::default();
        let mut answers_per_second = Vec::with_capacity(models.len());
        for model in models {
            let demand = model.one_answer(self.overhead).of_the_replica(self.cpus);
            let full = saturation(model.promised.saturating_sub(model.alone), demand);
            needs.add(model.needs(self.overhead), full);
            let known = model.asked.overhead_each.is_some() && demand > 0.0;
            answers_per_second.push(known.then(|| full / demand));
        }
        let total = |of: fn(&Asked) -> f64| models.iter().map(|model| of(&model.asked)).sum::<f64>();
        let answered = total(Asked::answers);
        self.load.observe(needs.of_the_replica(self.cpus), elapsed);
        self.answered.observe(answered, elapsed);
        self.refused.observe(total(|asked| asked.refused_for_room), elapsed);
        self.learn_overhead(usage, answered, refused, elapsed);
        Estimate { load: self.load(), answers_per_second }
    }

    /// How full the replica is. One that refuses requests is full, whatever the latency profile says, and fuller the more
    /// it refuses.
    fn load(&self) -> f64 {
        let (answered, refused) = (self.answered.per_second(), self.refused.per_second());
        let refuses = refused > REFUSALS_PER_SECOND && refused > REFUSALS_PER_ANSWER * answered;
        let seen = if refuses {
            ((answered + refused) / answered.max(refused / MOST_REPLICAS)).min(MOST_REPLICAS)
        } else {
            0.0
        };
        self.load.per_second().max(seen)
    }

    /// Learns the CPU time of sockets and JSON, as a factor on what is charged to answers. It skips seconds in which a
    /// model was loaded or many requests were refused.
    fn learn_overhead(&mut self, usage: ProcessUsage, answered: f64, refused: f64, elapsed: Duration) {
        let before = std::mem::replace(&mut self.usage, usage);
        let process = (usage.process - before.process).seconds();
        let charged = (usage.charged - before.charged).seconds();
        let usual = !usage.loading && !before.loading && refused <= FEW_REFUSALS * answered;
        if usual && charged > BUSY_ENOUGH * self.cpus * elapsed.as_secs_f64() {
            self.overhead += ((process / charged).clamp(1.0, 2.0) - self.overhead) * NEWEST;
        }
    }
}

impl ModelLoad {
    /// What an answer of the preferred variant needs.
    fn one_answer(&self, overhead: f64) -> Needs {
        let each = self.asked.overhead_each.unwrap_or_default();
        self.needs_of(|variant| f64::from(u8::from(variant == self.preferred)), each, overhead)
    }

    /// What all that was asked for needs. A refused request counts as an answer of the preferred variant.
    fn needs(&self, overhead: f64) -> Needs {
        let Asked { answered, degraded, overhead_seconds, overhead_each, refused_for_room, .. } = &self.asked;
        let images = |variant: VariantId| {
            let others = if variant == self.preferred { degraded + refused_for_room } else { 0.0 };
            answered.get(variant.index()).copied().unwrap_or_default() + others
        };
        let beside_runs = overhead_seconds + refused_for_room * overhead_each.unwrap_or_default();
        self.needs_of(images, beside_runs, overhead)
    }

    fn needs_of(&self, images: impl Fn(VariantId) -> f64, cpu_seconds: f64, overhead: f64) -> Needs {
        let mut needs = Needs { cpu: cpu_seconds * overhead, ..Needs::default() };
        for (index, VariantLoad { footprint, service_time }) in self.variants.iter().enumerate() {
            let runs = images(VariantId::new(index)) * service_time.as_secs_f64();
            if footprint.on_device {
                needs.device += runs / footprint.instances_f64();
            } else {
                needs.cpu += runs * footprint.threads_f64() * overhead;
                needs.sessions = needs.sessions.max(runs * overhead / footprint.instances_f64());
            }
        }
        needs
    }
}

impl Needs {
    /// The part of the replica that is needed: that of its scarcest resource.
    fn of_the_replica(self, cpus: f64) -> f64 {
        (self.cpu / cpus).max(self.device).max(self.sessions)
    }

    /// Adds the needs of another model, which is full at that part of the replica's time.
    fn add(&mut self, more: Self, full: f64) {
        self.cpu += more.cpu / full;
        self.device += more.device / full;
        self.sessions = self.sessions.max(more.sessions / full);
    }
}
