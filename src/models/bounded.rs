//! Work that may never end, as when a file lies where nobody answers: it is done on a thread of its own, and waited for
//! with a bound. A thread that hangs cannot be ended, so there is at most one for each name.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        mpsc::{RecvTimeoutError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// How often who waits looks whether it is to give up.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Does work within a time limit, and remembers what hangs.
#[derive(Debug, Default)]
pub(super) struct BoundedWork {
    /// What was not waited for any longer, by the name of the work.
    hanging: Mutex<BTreeMap<String, JoinHandle<()>>>,
}

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotDone {
    /// It took longer than the limit.
    #[error("it took longer than {} ms (setting `loading.timeout_ms`); does one of its files lie where nobody answers?", .0.as_millis())]
    TooLong(Duration),
    /// The work of that name was given up before, and still hangs.
    #[error("an earlier try took too long and has not ended yet; it can be tried again when that ends")]
    Hangs,
    /// Whoever waited was told to give up.
    #[error("the server shuts down")]
    GivenUp,
    /// It panicked, or no thread could be started.
    #[error("it ended by a mistake of ours, which the log tells")]
    Broken,
}

impl BoundedWork {
    /// Does `work` and waits for its result: for `limit` at most, and no longer than until `give_up` says so.
    ///
    /// # Errors
    /// [`NotDone`] says why there is no result. Work that goes on all the same has its result dropped.
    pub fn run<T: Send + 'static>(
        &self,
        name: &str,
        limit: Duration,
        give_up: impl Fn() -> bool,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, NotDone> {
        if self.hanging().get(name).is_some_and(|thread| !thread.is_finished()) {
            return Err(NotDone::Hangs);
        }
        let began = Instant::now();
        let (done, result) = sync_channel(1);
        let run = move || drop(done.send(work()));
        let thread = thread::Builder::new().name("load".to_owned()).spawn(run);
        let thread = thread.map_err(|error| {
            tracing::error!(%error, "no thread to load models on");
            NotDone::Broken
        })?;
        let why = loop {
            match result.recv_timeout(LOOK_INTERVAL) {
                Ok(result) => return Ok(result),
                Err(RecvTimeoutError::Disconnected) => return Err(NotDone::Broken),
                Err(RecvTimeoutError::Timeout) if give_up() => break NotDone::GivenUp,
                Err(RecvTimeoutError::Timeout) if began.elapsed() >= limit => break NotDone::TooLong(limit),
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        self.hanging().insert(name.to_owned(), thread);
        Err(why)
    }

    fn hanging(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, JoinHandle<()>>> {
        let mut hanging = self.hanging.lock().unwrap_or_else(PoisonError::into_inner);
        hanging.retain(|_, thread| !thread.is_finished());
        hanging
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const NO_TIME: Duration = Duration::ZERO;
    const LONG: Duration = Duration::from_secs(300);

    #[test]
    fn what_hangs_is_given_up_and_not_begun_twice() {
        let work = BoundedWork::default();
        let (end, ended) = channel::<()>();
        let hang = move || ended.recv().unwrap_or_default();
        assert_eq!(work.run("a", NO_TIME, || false, hang), Err(NotDone::TooLong(NO_TIME)));
        assert_eq!(work.run("a", LONG, || false, || ()), Err(NotDone::Hangs));
        assert_eq!(work.run("b", LONG, || false, || 2), Ok(2), "others are not in its way");
        drop(end);
        while work.run("a", LONG, || false, || ()).is_err() {
            thread::yield_now();
        }
        assert!(work.hanging().is_empty());
    }

    #[test]
    fn who_waits_may_be_told_to_give_up() {
        let work = BoundedWork::default();
        let (_end, ended) = channel::<()>();
        assert_eq!(work.run("a", LONG, || true, move || ended.recv().unwrap_or_default()), Err(NotDone::GivenUp));
    }

    #[test]
    fn a_panic_is_an_error() {
        let broken = || assert!(std::hint::black_box(false), "on purpose");
        assert_eq!(BoundedWork::default().run("a", LONG, || false, broken), Err(NotDone::Broken));
    }
}
