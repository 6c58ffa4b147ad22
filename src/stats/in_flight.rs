//! A counter of the requests that are in one stage right now.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Number of requests that are currently in one stage.
///
/// ```
/// use ounce::stats::InFlight;
///
/// let decoding = InFlight::default();
/// let guard = decoding.enter();
/// assert_eq!(decoding.count(), 1);
/// drop(guard);
/// assert_eq!(decoding.count(), 0);
/// ```
#[derive(Debug, Default)]
pub struct InFlight(AtomicUsize);

/// Counts one request until it is dropped, however the request ends.
#[derive(Debug)]
#[must_use = "it counts until it is dropped"]
pub struct InFlightGuard<'a>(&'a InFlight);

impl InFlight {
    /// Counts one more request until the guard is dropped.
    pub fn enter(&self) -> InFlightGuard<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        InFlightGuard(self)
    }

    /// Number of requests currently in the stage.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}
