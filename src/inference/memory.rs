//! The one budget of memory that requests draw on: bodies, decoded pixels, tensors that wait, drawn answers.
//!
//! In: how many bytes something will take, before it takes them. Out: [`Room`], which gives them back when it is dropped. What does
//! not fit now may wait. Whoever waits keeps nothing from others meanwhile: a large image that waits must not make the bodies of small
//! ones be refused. What would never fit is told apart.

mod limit;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::timeout_at};

use crate::{
    config::{Auto, MemoryConfig},
    error::Error,
};

/// The part of the machine's or the control group's memory that requests get. The other part is for models, the runtime, the
/// buffers of connections, and what the allocator keeps.
const SHARE: u64 = 2;

/// What is assumed where the system does not tell how much memory there is.
const UNKNOWN: u64 = 2 << 30;

/// All memory that requests may take.
#[derive(Debug)]
pub(super) struct Memory {
    max: u64,
    used: AtomicU64,
    /// How many wait for some to be given back, and how they hear of it.
    waiting: AtomicUsize,
    given_back: Notify,
    began: Instant,
    /// The second, since then, of the last warning.
    warned: AtomicU64,
}

/// Memory that something takes; it is free again when this is dropped.
#[derive(Debug)]
#[must_use = "the memory is given back when the room is dropped"]
pub struct Room {
    memory: Arc<Memory>,
    bytes: u64,
}

impl Memory {
    /// The budget of the settings.
    pub(super) fn new(config: &MemoryConfig) -> Self {
        Self::of(match config.max_bytes {
            Auto::Fixed(bytes) => u64::try_from(bytes.get()).unwrap_or(u64::MAX),
            Auto::Auto => limit::memory_limit().unwrap_or(UNKNOWN) / SHARE,
        })
    }

    fn of(max: u64) -> Self {
        Self {
            max,
            used: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            given_back: Notify::new(),
            began: Instant::now(),
            warned: AtomicU64::new(0),
        }
    }

    /// All of it, in bytes.
    pub(super) fn max_bytes(&self) -> u64 {
        self.max
    }

    /// What is taken at this moment, in bytes.
    pub(super) fn used_bytes(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether so many bytes fit when nothing else is there.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        bytes <= self.max
    }

    /// The refusal of what needs memory that there is not, which is told in the log, once a second at most.
    pub(super) fn lacks(&self, bytes: u64) -> Error {
        let second = self.began.elapsed().as_secs() + 1;
        if self.warned.swap(second, Ordering::Relaxed) != second {
            let (used, max) = (self.used_bytes(), self.max_bytes());
            tracing::warn!(
                bytes,
                used,
                max,
                "there is no memory for a picture; memory.max_bytes is what requests have"
            );
        }
        Error::NoMemory { bytes, retry_after: Duration::from_secs(1) }
    }

    /// Takes memory where there is as much.
    pub(super) fn try_take(self: &Arc<Self>, bytes: u64) -> Option<Room> {
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= self.max);
        self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).ok()?;
        Some(Room { memory: Arc::clone(self), bytes })
    }

    /// Takes memory, and waits for it until then at the latest.
    pub(super) async fn take(self: &Arc<Self>, bytes: u64, until: Instant) -> Option<Room> {
        if !self.fits(bytes) {
            return None;
        }
        let _waiting = Waiting::new(&self.waiting);
        let taken = async {
            loop {
                // It listens before it looks, so that nothing given back in between is missed.
                let mut given_back = std::pin::pin!(self.given_back.notified());
                given_back.as_mut().enable();
                match self.try_take(bytes) {
                    Some(room) => return room,
                    None => given_back.await,
                }
            }
        };
        timeout_at(until.into(), taken).await.ok()
    }

    fn give_back(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.given_back.notify_waiters();
        }
    }
}

/// Counts one who waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Room {
    /// Adds other memory of the same budget.
    pub(super) fn add(&mut self, mut more: Self) {
        self.bytes += std::mem::take(&mut more.bytes);
    }

    /// What it has, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives back all but so many bytes.
    pub(super) fn shrink_to(&mut self, bytes: u64) {
        let spare = self.bytes.saturating_sub(bytes);
        if spare > 0 {
            self.bytes -= spare;
            self.memory.give_back(spare);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[tokio::test]
    async fn who_waits_for_much_keeps_nothing_from_who_wants_little() {
        let memory = Arc::new(Memory::of(100));
        let room = memory.try_take(60).expect("free");
        let waiting = tokio::spawn({
            let memory = Arc::clone(&memory);
            async move { memory.take(90, Instant::now() + Duration::from_secs(60)).await.is_some() }
        });
        tokio::task::yield_now().await;
        let small = memory.try_take(40).expect("what is left is for whoever comes");
        drop(room);
        drop(small);
        assert!(waiting.await.expect("no panic"));
        assert_eq!(memory.used_bytes(), 0);
    }

    #[tokio::test]
    async fn what_does_not_fit_now_waits_and_what_never_fits_does_not() {
        let memory = Arc::new(Memory::of(10 << 10));
        let later = Instant::now() + Duration::from_secs(60);
        let room = memory.try_take(8 << 10).expect("free");
        assert!(memory.try_take(3 << 10).is_none());
        assert!(memory.take(11 << 10, later).await.is_none(), "it would never fit");
        assert!(memory.take(3 << 10, Instant::now()).await.is_none(), "nobody makes room by then");
        let waiting = tokio::spawn({
            let memory = Arc::clone(&memory);
            async move { memory.take(3 << 10, later).await.map(|room| room.bytes()) }
        });
        tokio::task::yield_now().await;
        drop(room);
        assert_eq!(waiting.await.expect("no panic"), Some(3 << 10));
        assert_eq!(memory.used_bytes(), 0);
    }

    proptest! {
        /// Whatever is taken, added, given back in part or wholly: never more than all of it, and in the end nothing.
        #[test]
        fn the_books_balance(steps in prop::collection::vec((0u8..4, 0u64..40_000), 0..200)) {
            let memory = Arc::new(Memory::of(64 << 10));
            let mut rooms: Vec<Room> = Vec::new();
            for (step, bytes) in steps {
                match step {
                    0 => rooms.extend(memory.try_take(bytes)),
                    1 => drop(rooms.pop()),
                    2 => if let Some(room) = rooms.first_mut() { room.shrink_to(bytes) },
                    _ => if let (Some(more), Some(room)) = (memory.try_take(bytes), rooms.last_mut()) { room.add(more) },
                }
                let held: u64 = rooms.iter().map(Room::bytes).sum();
                prop_assert_eq!(held, memory.used_bytes());
                prop_assert!(held <= memory.max_bytes());
            }
            drop(rooms);
            prop_assert_eq!(memory.used_bytes(), 0);
        }
    }
}
