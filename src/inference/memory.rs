//! The one budget of memory that requests draw on: bodies, decoded pixels, tensors that wait, drawn answers.
//!
//! In: how many bytes something will take, before it takes them. Out: [`Room`], which gives them back when it is dropped. What does
//! not fit now may wait, first come, first served, so that a large image is not passed by small ones for ever. What would
//! never fit is told apart.

mod limit;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout_at,
};

use super::permit::semaphore;
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
    /// A permit for each KiB.
    kib: Arc<Semaphore>,
    max_kib: u32,
    began: Instant,
    /// The second, since then, of the last warning.
    warned: AtomicU64,
}

/// Memory that something takes; it is free again when this is dropped.
#[derive(Debug)]
#[must_use = "the memory is given back when the room is dropped"]
pub struct Room(OwnedSemaphorePermit);

impl Memory {
    /// The budget of the settings.
    pub(super) fn new(config: &MemoryConfig) -> Self {
        Self::of(match config.max_bytes {
            Auto::Fixed(bytes) => u64::try_from(bytes.get()).unwrap_or(u64::MAX),
            Auto::Auto => limit::memory_limit().unwrap_or(UNKNOWN) / SHARE,
        })
    }

    fn of(bytes: u64) -> Self {
        let max_kib = u32::try_from(bytes / 1024).unwrap_or(u32::MAX).max(1);
        Self { kib: semaphore(max_kib as usize), max_kib, began: Instant::now(), warned: AtomicU64::new(0) }
    }

    /// All of it, in bytes.
    pub(super) fn max_bytes(&self) -> u64 {
        u64::from(self.max_kib) * 1024
    }

    /// What is taken at this moment, in bytes.
    pub(super) fn used_bytes(&self) -> u64 {
        self.max_bytes().saturating_sub(self.kib.available_permits() as u64 * 1024)
    }

    /// Whether so many bytes fit when nothing else is there.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        kib(bytes) <= self.max_kib
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
    pub(super) fn try_take(&self, bytes: u64) -> Option<Room> {
        Arc::clone(&self.kib).try_acquire_many_owned(kib(bytes)).ok().map(Room)
    }

    /// Takes memory, and waits for it until then at the latest.
    pub(super) async fn take(&self, bytes: u64, until: Instant) -> Option<Room> {
        if !self.fits(bytes) {
            return None;
        }
        let taken = timeout_at(until.into(), Arc::clone(&self.kib).acquire_many_owned(kib(bytes))).await;
        taken.ok()?.ok().map(Room)
    }
}

impl Room {
    /// Adds other memory of the same budget.
    pub(super) fn add(&mut self, more: Self) {
        self.0.merge(more.0);
    }

    /// What it has, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.0.num_permits() as u64 * 1024
    }

    /// Gives back all but so many bytes.
    pub fn shrink_to(&mut self, bytes: u64) {
        let spare = self.0.num_permits().saturating_sub(kib(bytes) as usize);
        if spare > 0 {
            drop(self.0.split(spare));
        }
    }
}

fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
            let memory = Memory::of(64 << 10);
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
