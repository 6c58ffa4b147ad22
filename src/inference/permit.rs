//! Who may come in: a place for each request in flight, and room for the bodies that are held in memory.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{config::RequestsConfig, error::Error};

/// The places and the room of one server.
#[derive(Debug)]
pub(super) struct Gate {
    places: Arc<Semaphore>,
    max_in_flight: usize,
    /// One permit for each KiB of bodies in memory.
    body_kib: Arc<Semaphore>,
}

/// Proof that a request has a place in flight; its place and its room are free again when this is dropped.
#[derive(Debug)]
#[must_use = "the request's place is given up when the permit is dropped"]
pub struct Permit {
    _place: OwnedSemaphorePermit,
    body_kib: Arc<Semaphore>,
    room: Mutex<Vec<OwnedSemaphorePermit>>,
}

impl Gate {
    pub(super) fn new(limits: &RequestsConfig) -> Self {
        Self {
            places: semaphore(limits.max_in_flight.get()),
            max_in_flight: limits.max_in_flight.get(),
            body_kib: semaphore(limits.max_body_bytes.get().div_ceil(1024)),
        }
    }

    /// Takes a place for a request. `retry_after` is when one may be free.
    pub(super) fn enter(&self, retry_after: impl FnOnce() -> Duration) -> Result<Permit, Error> {
        let busy = |_| Error::Busy { in_flight: self.max_in_flight, retry_after: retry_after() };
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(busy)?;
        Ok(Permit { _place: place, body_kib: Arc::clone(&self.body_kib), room: Mutex::default() })
    }

    /// Takes room for bytes that outlive their request; none where there is too little.
    pub(super) fn room(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.body_kib).try_acquire_many_owned(kib(bytes)).ok()
    }
}

impl Permit {
    /// Takes room for a body, before it is read.
    ///
    /// # Errors
    /// [`Error::NoRoom`] when the bodies in memory leave less than that.
    pub fn hold(&self, bytes: usize) -> Result<(), Error> {
        let room = Arc::clone(&self.body_kib).try_acquire_many_owned(kib(bytes));
        let room = room.map_err(|_| Error::NoRoom { bytes, retry_after: Duration::from_secs(1) })?;
        self.room.lock().unwrap_or_else(PoisonError::into_inner).push(room);
        Ok(())
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

/// As many permits as asked for, or as tokio can count.
pub(super) fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
}
