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

    /// The place of the variant that answers where there is time, and how long an answer of it takes alone.
    fn preferred(&self, ledger: &Ledger) -> Option<(usize, Duration)> {
        let candidates = self.candidates(ledger);
        let wishes = Wishes::default();
        let asked = Wanted { within: self.routing.slo, ..self.asked(&wishes) };
        let choice = if self.routing.steady { None } else { self.choose(&candidates, &asked).ok() };
        let place = choice.map_or(0, |choice| choice.variant);
        Some((place, candidates.get(place)?.alone))
    }
}

impl Pipeline {
    /// To be called every second or so.
    pub(super) fn look_at_scale(&self, now: Instant) {
        let (ledger, scaling) = (&self.0.ledger, &self.0.scaling);
        let mut so_far = scaling.so_far.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(so_far.looked_at);
        // Sockets and JSON take their part of the CPUs, too.
        let overhead = ledger.used_over_booked();
        let (mut requests, mut seconds) = (0.0, 0.0);
        for model in self.models() {
            let Some((preferred, alone)) = model.preferred(ledger) else { continue };
            let promised = model.routing.slo.unwrap_or(self.config().requests.deadline);
            let routed = taken(&model.traffic.to_scale);
            for (place, variant) in model.variants.iter().enumerate() {
                let demand = variant.demand(model.traffic.aside(), overhead, ledger.cpus);
                let full = full(promised.saturating_sub(alone), demand);
                let came = taken(&variant.named) + if place == preferred { routed } else { 0.0 };
                requests += came;
                seconds += came * demand / full;
                if place == preferred && demand > 0.0 {
                    self.metrics().capacity(&model.name, full / demand);
                }
            }
        }
        // Those that found no place are taken to have wanted what the others want.
        let SoFar { looked_at, asked, desired } = &mut *so_far;
        let each = if requests > 0.0 { seconds / requests } else { asked.each() };
        let away = taken(&scaling.turned_away);
        *looked_at = now;
        asked.came(requests + away, seconds + away * each, passed);
        let replicas = desired.look(asked, f64::from(self.config().scale.target_load.get()), passed);
        self.metrics().scale(asked.load, replicas);
    }
}

fn taken(counted: &AtomicU64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "few enough a second")]
    let taken = counted.swap(0, Ordering::Relaxed) as f64;
    taken
}
