//! How full this replica is, by who comes and what answers take here; and the number of replicas that this asks for.
//!
//! Who comes counts, answered or not: a replica that refuses half of its requests is asked for twice what it can give.
//! What it used says nothing beyond full. A variant that load has closed counts as if it were open, so that more replicas
//! bring back the answers that are wanted.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Pipeline, Route, ServedModel, Wishes};
use crate::{
    cost::Ledger,
    router::{Asked as Wanted, Reason},
    scale::{Asked, Desired, full},
};

/// What is known from one look to the next.
#[derive(Debug)]
pub(super) struct Scaling {
    /// Requests that found no place, and nobody knows which model they wanted.
    turned_away: AtomicU64,
    so_far: Mutex<SoFar>,
}

#[derive(Debug)]
struct SoFar {
    looked_at: Instant,
    asked: Asked,
    desired: Desired,
}

impl Default for Scaling {
    fn default() -> Self {
        let so_far = SoFar { looked_at: Instant::now(), asked: Asked::default(), desired: Desired::default() };
        Self { turned_away: AtomicU64::new(0), so_far: Mutex::new(so_far) }
    }
}

impl Scaling {
    pub(super) fn turned_away(&self) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }
}

impl ServedModel {
    /// So many pictures came that take this route.
    pub(super) fn came(&self, route: Route, pictures: usize) {
        let pictures = u64::try_from(pictures).unwrap_or(0);
        if route.reason == Reason::Requested {
            self.of(route).named.fetch_add(pictures, Ordering::Relaxed);
        } else {
            self.traffic.arrived(pictures);
        }
    }

    /// Of the variant that answers where there is time: how long an answer takes alone, and the part of the machine's time
    /// that one a second takes.
    fn preferred(&self, ledger: &Ledger) -> Option<(Duration, f64)> {
        let candidates = self.candidates(ledger);
        let wishes = Wishes::default();
        let asked = Wanted { within: self.routing.slo, ..self.asked(&wishes) };
        let choice = if self.routing.steady { None } else { self.choose(&candidates, &asked).ok() };
        let best = candidates.get(choice.map_or(0, |choice| choice.variant))?;
        Some((best.alone, best.demand))
    }
}

impl Pipeline {
    /// To be called every second or so.
    pub(super) fn look_at_scale(&self, now: Instant) {
        let Scaling { turned_away, so_far } = &self.0.scaling;
        let mut so_far = so_far.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(so_far.looked_at);
        // Sockets and JSON take their part of the CPUs, too.
        let overhead = self.0.ledger.used_over_booked();
        let (mut requests, mut seconds) = (0.0, 0.0);
        for model in self.models() {
            let Some((alone, demand)) = model.preferred(&self.0.ledger) else { continue };
            let demand = demand * overhead;
            let promised = model.routing.slo.unwrap_or(self.config().requests.deadline);
            let full = full(promised.saturating_sub(alone), demand);
            if demand > 0.0 {
                self.metrics().capacity(&model.name, full / demand);
            }
            let routed = taken(&model.traffic.to_scale);
            requests += routed;
            seconds += routed * demand / full;
            for (variant, candidate) in model.variants.iter().zip(model.candidates(&self.0.ledger)) {
                let named = taken(&variant.named);
                requests += named;
                seconds += named * candidate.demand * overhead / full;
            }
        }
        // Those that found no place are taken to have wanted what the others want.
        let away = taken(turned_away);
        let all = if requests > 0.0 { 1.0 + away / requests } else { 1.0 };
        so_far.looked_at = now;
        so_far.asked.came(requests * all, seconds * all, passed);
        let SoFar { asked, desired, .. } = &mut *so_far;
        let replicas = desired.look(asked, f64::from(self.config().scale.target_load.get()), passed);
        self.metrics().scale(asked.load, replicas);
    }
}

fn taken(counted: &AtomicU64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "few enough a second")]
    let taken = counted.swap(0, Ordering::Relaxed) as f64;
    taken
}
