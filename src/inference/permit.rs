//! Who may come in: a bound for bodies that are coming, a place in flight for each request whose body is there, and memory for what they
//! bring.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    coming::{BodyShare, ComingBodies, NoShare},
    memory::{Memory, Room},
    places::{NoPlace, PlaceInFlight, PlacesInFlight},
};
use crate::{config::Config, cost::Tenant, error::Error};

/// The places and the memory of one server.
#[derive(Debug)]
pub(super) struct Gate {
    places: Arc<PlacesInFlight>,
    pub memory: Arc<Memory>,
    pub bodies: Arc<ComingBodies>,
}

/// What a request has: first the right to send its body, then a place in flight, and memory. All is free again when this is
/// dropped.
#[derive(Debug)]
#[must_use = "the request's place is given up when the permit is dropped"]
pub struct Permit {
    gate: Arc<Gate>,
    tenant: Tenant,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    place: Option<PlaceInFlight>,
    share: Option<BodyShare>,
    body: Option<Room>,
}

impl Gate {
    pub(super) fn new(config: &Config, tenants: usize) -> Self {
        let memory = Memory::new(&config.memory);
        let half = usize::try_from(memory.max_bytes() / 2).unwrap_or(usize::MAX);
        let max_body_bytes = config.requests.max_body_bytes.get().min(half);
        Self {
            places: Arc::new(PlacesInFlight::new(config.requests.max_in_flight.get(), tenants)),
            memory: Arc::new(memory),
            bodies: Arc::new(ComingBodies::new(config.bodies.max_coming.get(), max_body_bytes)),
        }
    }

    /// Takes a place for a request that is there already. `retry_after` is when one may be free.
    pub(super) fn enter(
        self: &Arc<Self>,
        tenant: Tenant,
        retry_after: impl FnOnce() -> Duration,
    ) -> Result<Permit, Error> {
        let permit = Permit { gate: Arc::clone(self), tenant, held: Mutex::default() };
        permit.take_place(retry_after)?;
        Ok(permit)
    }

    /// Lets a request send its body. Where all places are taken, it need not begin.
    pub(super) fn receive(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        tenant: Tenant,
        retry_after: impl FnOnce() -> Duration,
    ) -> Result<Permit, Error> {
        self.places.ask(tenant).map_err(|why| busy(why, retry_after()))?;
        let share_of = self.places.are_shared().then_some(tenant);
        let share = self.bodies.begin(address, share_of).map_err(|_| Error::TooManyBodies)?;
        let held = Held { share: Some(share), ..Held::default() };
        Ok(Permit { gate: Arc::clone(self), tenant, held: Mutex::new(held) })
    }
}

impl Permit {
    /// Takes the place in flight, now that the body is there. Once it has one, this does nothing.
    pub(super) fn take_place(&self, retry_after: impl FnOnce() -> Duration) -> Result<(), Error> {
        let mut held = self.held();
        if held.place.is_some() {
            return Ok(());
        }
        let place = self.gate.places.take(self.tenant);
        held.place = Some(place.map_err(|why| busy(why, retry_after()))?);
        if let Some(share) = &mut held.share {
            share.arrived();
        }
        Ok(())
    }

    /// Takes memory for what has come of the body: so many bytes in all, those that it has already included.
    ///
    /// # Errors
    /// [`Error::NoRoom`] when bodies in memory leave less than that, [`Error::TooManyBodies`] when the sender has as much coming as is
    /// left for others, [`Error::TooLarge`] when it would never fit.
    pub fn hold(&self, bytes: usize) -> Result<(), Error> {
        let no_room = || Error::NoRoom { bytes, retry_after: Duration::from_secs(1) };
        let mut held = self.held();
        if let Some(share) = &mut held.share {
            share.grow_to(bytes).map_err(|why| match why {
                NoShare::Sender => Error::TooManyBodies,
                NoShare::All => no_room(),
                NoShare::Never(most) => Error::TooLarge(format!(
                    "the body takes {bytes} bytes of memory, and one may take {most} here; OUNCE_MEMORY__MAX_BYTES and \
                     OUNCE_REQUESTS__MAX_BODY_BYTES set it"
                )),
            })?;
        }
        let has = held.body.as_ref().map_or(0, Room::bytes);
        let more = (bytes as u64).saturating_sub(has);
        if more == 0 {
            return Ok(());
        }
        let more = self.gate.memory.try_take(more).ok_or_else(no_room)?;
        match &mut held.body {
            Some(body) => body.add(more),
            None => held.body = Some(more),
        }
        Ok(())
    }

    /// Gives back all but so many bytes of what the body has taken.
    pub fn shrink_body(&self, bytes: usize) {
        let mut held = self.held();
        if let Some(body) = &mut held.body {
            body.shrink_to(bytes as u64);
        }
        if let Some(share) = &mut held.share {
            share.shrink_to(bytes);
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn busy(why: NoPlace, retry_after: Duration) -> Error {
    match why {
        NoPlace::All(in_flight) => Error::Busy { in_flight, retry_after },
        NoPlace::Tenant(in_flight) => Error::TenantBusy { in_flight, retry_after },
    }
}
