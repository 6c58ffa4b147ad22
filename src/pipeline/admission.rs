//! Who may come in, and until when an answer is wanted.

use std::time::{Duration, Instant};

use tokio::sync::OwnedSemaphorePermit;

use super::{Pipeline, ms};
use crate::{error::Error, lifecycle::State};

/// Proof that a request was admitted; its place is free again when this is dropped.
#[derive(Debug)]
#[must_use = "the request's place is given up when the permit is dropped"]
pub struct Permit(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// When an answer stops being wanted.
#[derive(Debug, Clone, Copy)]
pub struct Deadline {
    pub(super) at: Instant,
    budget: Duration,
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
        let busy = Error::Busy { in_flight, retry_after: Duration::from_secs(1) };
        if self.state() == State::Starting {
            return Err(self.refused(Error::Starting));
        }
        self.0.in_flight.clone().try_acquire_owned().map(Permit).map_err(|_| self.refused(busy))
    }
}
