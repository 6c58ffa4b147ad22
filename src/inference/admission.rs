//! Who may come in, and until when an answer is wanted.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Pipeline, ms};
use crate::{cost::Tenant, error::Error, lifecycle::LifecycleState, scheduler::job::Priority};

/// Proof that a request was admitted; its place is free again when this is dropped.
#[derive(Debug)]
#[must_use = "the request's place is given up when the permit is dropped"]
pub struct Permit {
    _place: OwnedSemaphorePermit,
    body_kib: Arc<Semaphore>,
    held: Vec<OwnedSemaphorePermit>,
}

impl Permit {
    /// Without a server around it.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        let plenty = || Arc::new(Semaphore::new(1 << 20));
        let place = plenty().try_acquire_owned().expect("plenty");
        Self { _place: place, body_kib: plenty(), held: Vec::new() }
    }

    /// Takes room for a body, before it is read.
    ///
    /// # Errors
    /// [`Error::NoRoom`] when the bodies in memory leave less than that.
    pub fn hold(&mut self, bytes: usize) -> Result<(), Error> {
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let room = self.body_kib.clone().try_acquire_many_owned(kib);
        self.held.push(room.map_err(|_| Error::NoRoom { bytes, retry_after: Duration::from_secs(1) })?);
        Ok(())
    }
}

/// When an answer stops being wanted.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    pub(super) at: Instant,
    pub(super) budget: Duration,
}

/// Until when an answer is wanted, before whom, and who pays.
#[derive(Debug, Clone, Copy)]
pub struct RequestContext {
    /// When it stops being wanted.
    pub deadline: Deadline,
    /// Who goes first.
    pub priority: Priority,
    /// Who pays.
    pub tenant: Tenant,
}

impl RequestContext {
    /// Those of one who names none: the usual priority, nobody's bill in particular.
    #[must_use]
    pub fn until(deadline: Deadline) -> Self {
        Self { deadline, priority: Priority::default(), tenant: Tenant::default() }
    }
}

impl Deadline {
    /// `budget` after the request was received.
    #[must_use]
    pub fn after(received: Instant, budget: Duration) -> Self {
        Self { at: received + budget, budget }
    }

    pub(super) fn passed(self) -> Error {
        Error::DeadlinePassed { deadline_ms: ms(self.budget) }
    }
}

impl Pipeline {
    /// Takes a place for a request: before its body is read, so that memory is bounded.
    ///
    /// # Errors
    /// [`Error::Busy`] when all places are taken, [`Error::Starting`] before models are loaded.
    pub fn admit(&self) -> Result<Permit, Error> {
        let in_flight = self.config().requests.max_in_flight.get();
        let busy = Error::Busy { in_flight, retry_after: self.0.decoding.expected() };
        if self.state() == LifecycleState::Starting {
            return Err(self.refused(Error::Starting));
        }
        self.0.in_flight.clone().try_acquire_owned().map_err(|_| self.refused(busy)).map(|place| Permit {
            _place: place,
            body_kib: self.0.body_kib.clone(),
            held: Vec::new(),
        })
    }
}
