//! How full this replica is, by who comes and what answers take here; and the number of replicas that this asks for.
//!
//! Who comes: pictures that were answered, and those that were refused for want of room or time, since another replica
//! would have answered these. What a client does wrong, or a deadline that no replica could meet, asks for nothing. What
//! answers take: a run by the latency curve, and what was measured beside it. A variant that load has closed counts as if
//! it were open, so that more replicas bring back the answers that are wanted.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Pipeline, Route, ServedModel};
use crate::{
    capacity::saturation,
    cost::{CpuAccounting, CpuTime, Ledger},
    routing::Reason,
    stats::Rate,
};

/// Below this part of the CPUs' time, what is done beside requests would be taken for their overhead.
const ENOUGH: f64 = 0.05;

/// With more refusals than this part of the answers, what these take would be.
const FEW: f64 = 0.1;

/// The part of the newest look in what is known of the overhead.
const LATEST: f64 = 0.1;

/// Fewer refusals a second, or in parts of the answers, are no sign that it is full: one deadline may be odd.
const SOME: f64 = 1.0;
const RARE: f64 = 0.01;

/// A replica that answers nobody is asked for no more than this.
const MOST: f64 = 10.0;

/// What is known from one look to the next.
#[derive(Debug)]
pub(super) struct Scaling(Mutex<SoFar>);

#[derive(Debug)]
struct SoFar {
    looked_at: Instant,
    /// The part of this replica's time that is asked for, of what it can give within the promise.
    load: Rate,
    answered: Rate,
    refused: Rate,
    /// The CPU time of the process over that of answers, 1 and a little.
    overhead: f64,
    counted: Counted,
    /// Refusals for want of room, by model.
    refused_by_model: BTreeMap<String, u64>,
}

/// What counters said at the last look.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    process: CpuTime,
    booked: CpuTime,
    loading: bool,
    refused: u64,
}

/// Seconds of what a replica has one of, asked for since the last look.
#[derive(Debug, Clone, Copy, Default)]
struct Needs {
    cpu: f64,
    device: f64,
    /// Of the sessions of the one variant that is asked for most.
    sessions: f64,
}

impl Default for Scaling {
    fn default() -> Self {
        Self(Mutex::new(SoFar {
            looked_at: Instant::now(),
            load: Rate::default(),
            answered: Rate::default(),
            refused: Rate::default(),
            overhead: 1.0,
            counted: Counted::default(),
            refused_by_model: BTreeMap::new(),
        }))
    }
}

impl ServedModel {
    /// So many pictures were answered by that route, and took so much CPU time beside their runs.
    pub(super) fn asked_for(&self, route: Route, pictures: usize, aside: CpuTime) {
        let pictures = u64::try_from(pictures).unwrap_or(0);
        let traffic = &self.traffic;
        traffic.aside_nanos.fetch_add(aside.nanos(), Ordering::Relaxed);
        let whose = if route.reason == Reason::Load { &traffic.by_load } else { &self.of(route).asked };
        whose.fetch_add(pictures, Ordering::Relaxed);
    }

    /// How long an answer of that variant takes where nobody is in its way; nothing where there is none of that name.
    pub(super) fn alone(&self, variant: &str) -> Duration {
        let variant = self.variants.iter().find(|one| one.name == variant);
        variant.map_or(Duration::ZERO, |variant| variant.queue.fastest() + self.traffic.aside())
    }

    /// The place of the variant that answers where there is time, and how long an answer of it takes alone.
    fn preferred(&self, ledger: &Ledger) -> Option<(usize, Duration)> {
        let candidates = self.candidates(ledger);
        let choice = if self.routing.steady { None } else { self.usual(&candidates, 0) };
        let place = choice.map_or(0, |choice| choice.variant);
        Some((place, candidates.get(place)?.alone))
    }

    /// What so many pictures for each variant need, with that work beside their runs.
    fn needs(&self, pictures: impl Fn(usize) -> f64, aside: f64, overhead: f64, promised: Duration) -> Needs {
        let mut needs = Needs { cpu: aside * overhead, ..Needs::default() };
        // A run waits for one before it: what takes longer than half of the promise is no way to keep it.
        let longest = promised.saturating_sub(self.traffic.aside()) / 2;
        for (place, variant) in self.variants.iter().enumerate() {
            #[expect(clippy::cast_precision_loss, reason = "few")]
            let (threads, instances) = (variant.threads as f64, variant.instances as f64);
            let runs = pictures(place) * variant.queue.least_service_time_within(longest).as_secs_f64();
            if variant.on_device() {
                needs.device += runs / instances;
            } else {
                needs.cpu += runs * threads * overhead;
                needs.sessions = needs.sessions.max(runs * overhead / instances);
            }
        }
        needs
    }
}

impl Needs {
    /// Of the replica as a whole: of what there is least of.
    fn of_the_replica(self, cpus: f64) -> f64 {
        (self.cpu / cpus).max(self.device).max(self.sessions)
    }

    fn add(&mut self, more: Self, full: f64) {
        self.cpu += more.cpu / full;
        self.device += more.device / full;
        self.sessions = self.sessions.max(more.sessions / full);
    }
}

impl Pipeline {
    /// To be called every second or so.
    pub(super) fn look_at_scale(&self, now: Instant) {
        let (ledger, metrics) = (&self.0.ledger, self.metrics());
        let mut so_far = self.0.scaling.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(so_far.looked_at);
        so_far.looked_at = now;
        let mut needs = Needs::default();
        let (mut answered, mut refused) = (0.0, 0.0);
        metrics.forget_capacity();
        for model in self.models() {
            let Some((preferred, alone)) = model.preferred(ledger) else { continue };
            let promised = model.routing.slo.unwrap_or(self.config().requests.deadline);
            let traffic = &model.traffic;
            let (by_load, aside) = (taken(&traffic.by_load), taken(&traffic.aside_nanos) / 1e9);
            let asked: Vec<f64> = model.variants.iter().map(|variant| taken(&variant.asked)).collect();
            let these = by_load + asked.iter().sum::<f64>();
            if these > 0.0 {
                traffic.aside_each.observe(aside / these);
            }
            let aside_each = traffic.aside_each.get();
            let away = so_far.refused_since(&model.name, metrics.refused_for_room(&model.name));
            let one = |place: usize| f64::from(u8::from(place == preferred));
            let pictures = |place: usize| asked[place] + (by_load + away) * one(place);
            let each = aside_each.unwrap_or_default();
            let overhead = so_far.overhead;
            let demand = model.needs(one, each, overhead, promised).of_the_replica(ledger.cpus);
            let full = saturation(promised.saturating_sub(alone), demand);
            needs.add(model.needs(pictures, aside + away * each, overhead, promised), full);
            answered += these;
            refused += away;
            if aside_each.is_some() && demand > 0.0 {
                metrics.capacity(&model.name, full / demand);
            }
        }
        // Those of whom nobody knows which model they wanted are taken to have wanted what the others want.
        let mut seconds = needs.of_the_replica(ledger.cpus);
        let known = answered + refused;
        let each = if known > 0.0 { seconds / known } else { so_far.each() };
        let unknown = so_far.refused_since("", metrics.refused_for_room(""));
        seconds += unknown * each;
        refused += unknown;
        so_far.load.observe(seconds, passed);
        so_far.answered.observe(answered, passed);
        so_far.refused.observe(refused, passed);
        let CpuAccounting { process, charged: booked, loading } = ledger.cpu_accounting();
        let counted = Counted { process, booked, loading, refused: metrics.refused_in_all() };
        so_far.learn_overhead(counted, answered, passed, ledger.cpus);
        let load = so_far.load();
        metrics.scale(load, load / f64::from(self.config().scale.target_load.get()));
    }
}

impl SoFar {
    /// How full the replica is. One that refuses is, whatever the curve says, and more than that by those it refuses.
    fn load(&self) -> f64 {
        let (answered, refused) = (self.answered.per_second(), self.refused.per_second());
        let refuses = refused > SOME && refused > RARE * answered;
        let seen = if refuses { ((answered + refused) / answered.max(refused / MOST)).min(MOST) } else { 0.0 };
        self.load.per_second().max(seen)
    }

    /// The part of the replica's time, in seconds, that a request asks for; 0 where there was none.
    fn each(&self) -> f64 {
        let requests = self.answered.per_second() + self.refused.per_second();
        if requests > 0.0 { self.load.per_second() / requests } else { 0.0 }
    }

    /// How far a counter has gone since the last look.
    fn refused_since(&mut self, model: &str, now: u64) -> f64 {
        let before = self.refused_by_model.insert(model.to_owned(), now).unwrap_or_default();
        #[expect(clippy::cast_precision_loss, reason = "few enough a second")]
        let since = now.saturating_sub(before) as f64;
        since
    }

    /// Sockets and JSON take their part of the CPUs, too. A load, and work for refusals, are no part of answers.
    fn learn_overhead(&mut self, now: Counted, answered: f64, passed: Duration, cpus: f64) {
        let before = std::mem::replace(&mut self.counted, now);
        let (process, booked) = ((now.process - before.process).seconds(), (now.booked - before.booked).seconds());
        #[expect(clippy::cast_precision_loss, reason = "few enough a second")]
        let refused = now.refused.saturating_sub(before.refused) as f64;
        let usual = !now.loading && !before.loading && refused <= FEW * answered;
        if usual && booked > ENOUGH * cpus * passed.as_secs_f64() {
            self.overhead += ((process / booked).clamp(1.0, 2.0) - self.overhead) * LATEST;
        }
    }
}

fn taken(counted: &AtomicU64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "few enough a second")]
    let taken = counted.swap(0, Ordering::Relaxed) as f64;
    taken
}
