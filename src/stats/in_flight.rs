//! A count of what is at one point of its way right now.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The number of requests that are at one point of their way.
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

/// One request that counts until this is dropped, however its way ends.
#[derive(Debug)]
#[must_use = "it counts until it is dropped"]
pub struct InFlightGuard<'a>(&'a InFlight);

impl InFlight {
    /// Counts one more request until what comes back is dropped.
    pub fn enter(&self) -> InFlightGuard<'_> {
        self.0.fetch_add(1, Ordering::Relaxed);
        InFlightGuard(self)
    }

    /// The number of requests.
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
