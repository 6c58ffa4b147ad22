//! The places in flight: one for each request whose body is there, until it is answered.
//!
//! Where there are several tenants, each may have as many places as are left over for others: alone half of all, one of two a third,
//! as for bodies that are coming (see [`super::coming`]). So a tenant finds places free, however many another one asks for.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use crate::cost::Tenant;

/// All places of one server.
#[derive(Debug)]
pub(super) struct PlacesInFlight {
    most: usize,
    taken: AtomicUsize,
    /// By the tenants' indices; empty where there is one tenant.
    by_tenant: Box<[AtomicUsize]>,
}

/// One place; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct PlaceInFlight {
    places: Arc<PlacesInFlight>,
    tenant: Tenant,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// All are taken, which are so many.
    All(usize),
    /// The tenant has so many, and no more are left over for others.
    Tenant(usize),
}

impl PlacesInFlight {
    /// So many places, for so many tenants.
    pub(super) fn new(most: usize, tenants: usize) -> Self {
        let by_tenant = if tenants > 1 { (0..tenants).map(|_| AtomicUsize::new(0)).collect() } else { Box::default() };
        Self { most, taken: AtomicUsize::new(0), by_tenant }
    }

    /// Takes a place for a request of a tenant.
    pub(super) fn take(self: &Arc<Self>, tenant: Tenant) -> Result<PlaceInFlight, NoPlace> {
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        let theirs = self.of(tenant).map(|count| count.fetch_add(1, Ordering::Relaxed));
        // From here on it is given back when it is dropped, also where it is refused.
        let place = PlaceInFlight { places: Arc::clone(self), tenant };
        self.check(before, theirs).map(|()| place)
    }

    /// Whether a tenant would find a place now.
    pub(super) fn ask(&self, tenant: Tenant) -> Result<(), NoPlace> {
        let theirs = self.of(tenant).map(|count| count.load(Ordering::Relaxed));
        self.check(self.taken.load(Ordering::Relaxed), theirs)
    }

    /// Whether several tenants share them.
    pub(super) fn are_shared(&self) -> bool {
        !self.by_tenant.is_empty()
    }

    fn check(&self, taken: usize, theirs: Option<usize>) -> Result<(), NoPlace> {
        let left = self.most.saturating_sub(taken);
        match theirs {
            _ if left == 0 => Err(NoPlace::All(self.most)),
            Some(theirs) if theirs >= left => Err(NoPlace::Tenant(theirs)),
            _ => Ok(()),
        }
    }

    fn of(&self, tenant: Tenant) -> Option<&AtomicUsize> {
        self.by_tenant.get(tenant.index())
    }
}

impl Drop for PlaceInFlight {
    fn drop(&mut self) {
        self.places.taken.fetch_sub(1, Ordering::Relaxed);
        if let Some(theirs) = self.places.of(self.tenant) {
            theirs.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{config::Layers, cost::Tenants};

    /// The default tenant and two others.
    fn three() -> [Tenant; 3] {
        let variables = [("OUNCE_TENANTS__A__WEIGHT", "1"), ("OUNCE_TENANTS__B__WEIGHT", "1")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = Layers::defaults().and_then(|layers| layers.env(variables)).and_then(|layers| layers.build());
        let tenants = Tenants::new(&config.expect("valid"));
        ["default", "a", "b"].map(|name| tenants.named(name).expect("a tenant"))
    }

    fn as_many_as_fit(places: &Arc<PlacesInFlight>, tenant: Tenant) -> (Vec<PlaceInFlight>, NoPlace) {
        let mut held = Vec::new();
        loop {
            match places.take(tenant) {
                Ok(place) => held.push(place),
                Err(why) => return (held, why),
            }
        }
    }

    #[test]
    fn a_tenant_takes_half_and_the_next_finds_places_free() {
        let ([nobody, a, b], places) = (three(), Arc::new(PlacesInFlight::new(256, 3)));
        let (greedy, why) = as_many_as_fit(&places, a);
        assert_eq!((greedy.len(), why), (128, NoPlace::Tenant(128)));
        assert_eq!((places.ask(a), places.ask(b)), (Err(NoPlace::Tenant(128)), Ok(())));
        let (second, why) = as_many_as_fit(&places, b);
        assert_eq!((second.len(), why), (64, NoPlace::Tenant(64)));
        drop(greedy);
        assert!(places.take(a).is_ok() && places.take(nobody).is_ok());
    }

    #[test]
    fn a_tenant_alone_has_all() {
        let places = Arc::new(PlacesInFlight::new(3, 1));
        let (held, why) = as_many_as_fit(&places, Tenant::default());
        assert_eq!((held.len(), why), (3, NoPlace::All(3)));
    }

    proptest! {
        /// Whoever comes and goes: never more than all, one that asks for the first time finds a place, and in the end all are free.
        #[test]
        fn the_counts_balance(steps in prop::collection::vec((0usize..3, any::<bool>()), 0..300)) {
            let (tenants, places) = (three(), Arc::new(PlacesInFlight::new(20, 3)));
            let mut held: Vec<(usize, PlaceInFlight)> = Vec::new();
            for (who, come) in steps {
                if come {
                    let first = !held.iter().any(|(other, _)| *other == who);
                    let place = places.take(tenants[who]);
                    prop_assert!(place.is_ok() || !first);
                    held.extend(place.map(|place| (who, place)));
                } else {
                    held.pop();
                }
                prop_assert!(held.len() <= 20);
            }
            drop(held);
            prop_assert_eq!(places.taken.load(Ordering::Relaxed), 0);
            prop_assert!(places.by_tenant.iter().all(|count| count.load(Ordering::Relaxed) == 0));
        }
    }
}
