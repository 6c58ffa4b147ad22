//! The bodies that are still coming, and who sends them: a bound that is apart from the places in flight, since whoever only announces
//! a body asks for nothing yet.
//!
//! Each sender (an address, a tenant) may have as much as is left over for others: alone half, one of two a third. So whoever
//! comes new finds something free, however much one sender takes. (Dynamic thresholds, as switches share their buffers:
//! Choudhury and Hahne, 1998.)
//!
//! Senders are counted in a fixed number of cells, by a hash that nobody outside knows. That needs no lock and no memory for each
//! sender; two that meet in a cell share it.

use std::{
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{cost::Tenant, limits::AddressGroup};

/// The number of cells. An address meets that of an attacker once in so many times.
const CELLS: usize = 4096;

/// The bodies in memory, and those of them that are still coming.
#[derive(Debug)]
pub(super) struct ComingBodies {
    /// The most that may be coming.
    max_coming: usize,
    /// The most bytes of all bodies, whether whole or still coming.
    max_bytes: usize,
    coming: AtomicUsize,
    bytes: AtomicUsize,
    cells: Box<[Cell]>,
    hash: RandomState,
}

/// What a sender has coming.
#[derive(Debug, Default)]
struct Cell {
    bodies: AtomicUsize,
    bytes: AtomicUsize,
}

/// Why a body cannot come, or cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoShare {
    /// Its sender has as much coming as is left over for others.
    Sender,
    /// All bodies together have as many bytes as they may.
    All,
    /// It alone has more bytes than a sender may ever have.
    Never(usize),
}

/// The part of one body; it is given back when this is dropped.
#[derive(Debug)]
pub(super) struct BodyShare {
    bodies: Arc<ComingBodies>,
    /// The cells of its address and of its tenant, as long as it is coming.
    senders: [Option<usize>; 2],
    is_coming: bool,
    bytes: usize,
}

impl ComingBodies {
    pub(super) fn new(max_coming: usize, max_bytes: usize) -> Self {
        Self {
            max_coming,
            max_bytes,
            coming: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            cells: (0..CELLS).map(|_| Cell::default()).collect(),
            hash: RandomState::new(),
        }
    }

    /// A body begins to come, from this address, for this tenant; as far as they are known.
    pub(super) fn begin(
        self: &Arc<Self>,
        address: Option<IpAddr>,
        tenant: Option<Tenant>,
    ) -> Result<BodyShare, NoShare> {
        let senders =
            [address.map(|address| self.cell(AddressGroup::from(address))), tenant.map(|tenant| self.cell(tenant))];
        let mut share = BodyShare { bodies: Arc::clone(self), senders: [None; 2], is_coming: true, bytes: 0 };
        let left = self.max_coming.saturating_sub(self.coming.fetch_add(1, Ordering::Relaxed));
        for (place, sender) in share.senders.iter_mut().zip(senders) {
            let Some(sender) = sender else { continue };
            *place = Some(sender);
            let theirs = self.cells[sender].bodies.fetch_add(1, Ordering::Relaxed);
            if theirs >= left {
                return Err(NoShare::Sender);
            }
        }
        // Where nobody is known to send it, as in a program that embeds the routes, the bound for all is the only one.
        if left == 0 {
            return Err(NoShare::Sender);
        }
        Ok(share)
    }

    /// The bodies that are coming.
    pub(super) fn coming(&self) -> usize {
        self.coming.load(Ordering::Relaxed)
    }

    /// The bytes of all bodies in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn cell(&self, sender: impl Hash) -> usize {
        (self.hash.hash_one(sender) % CELLS as u64) as usize
    }
}

impl BodyShare {
    /// The body has grown to so many bytes.
    pub(super) fn grow_to(&mut self, bytes: usize) -> Result<(), NoShare> {
        let more = bytes.saturating_sub(self.bytes);
        if more == 0 {
            return Ok(());
        }
        let all = &self.bodies;
        let left = all.max_bytes.saturating_sub(all.bytes.load(Ordering::Relaxed)).saturating_sub(more);
        let too_much = |sender: &usize| all.cells[*sender].bytes.load(Ordering::Relaxed).saturating_add(more) > left;
        if self.senders.iter().flatten().any(too_much) {
            let most = all.max_bytes / 2;
            return Err(if bytes > most { NoShare::Never(most) } else { NoShare::Sender });
        }
        if all.bytes.fetch_add(more, Ordering::Relaxed).saturating_add(more) > all.max_bytes {
            all.bytes.fetch_sub(more, Ordering::Relaxed);
            return Err(if bytes > all.max_bytes { NoShare::Never(all.max_bytes) } else { NoShare::All });
        }
        for sender in self.senders.iter().flatten() {
            all.cells[*sender].bytes.fetch_add(more, Ordering::Relaxed);
        }
        self.bytes = bytes;
        Ok(())
    }

    /// The body is there: its sender may send another one.
    pub(super) fn arrived(&mut self) {
        if !std::mem::take(&mut self.is_coming) {
            return;
        }
        self.bodies.coming.fetch_sub(1, Ordering::Relaxed);
        for sender in self.senders.iter_mut().filter_map(Option::take) {
            let cell = &self.bodies.cells[sender];
            cell.bodies.fetch_sub(1, Ordering::Relaxed);
            cell.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }

    /// Only so many bytes of the body, or of what has become of it, are still in memory.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let less = self.bytes.saturating_sub(bytes);
        self.bytes -= less;
        self.bodies.bytes.fetch_sub(less, Ordering::Relaxed);
        for sender in self.senders.iter().flatten() {
            self.bodies.cells[*sender].bytes.fetch_sub(less, Ordering::Relaxed);
        }
    }
}

impl Drop for BodyShare {
    fn drop(&mut self) {
        self.arrived();
        self.shrink_to(0);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([203, 0, 113, last]))
    }

    #[test]
    fn one_sender_takes_half_and_the_next_finds_something_free() {
        let bodies = Arc::new(ComingBodies::new(100, 1000));
        let greedy: Vec<_> = std::iter::from_fn(|| bodies.begin(address(1), None).ok()).collect();
        assert_eq!(greedy.len(), 50);
        let second: Vec<_> = std::iter::from_fn(|| bodies.begin(address(2), None).ok()).collect();
        assert_eq!(second.len(), 25);
        drop(greedy);
        assert!(bodies.begin(address(1), None).is_ok());
    }

    #[test]
    fn bytes_are_shared_like_bodies_until_a_body_is_there() {
        let bodies = Arc::new(ComingBodies::new(100, 1000));
        let mut first = bodies.begin(address(1), None).expect("free");
        assert_eq!(first.grow_to(501), Err(NoShare::Never(500)));
        first.grow_to(500).expect("half");
        assert_eq!(bodies.begin(address(1), None).expect("few").grow_to(1), Err(NoShare::Sender));
        let mut other = bodies.begin(address(2), None).expect("free");
        other.grow_to(250).expect("half of the rest");
        assert_eq!(other.grow_to(251), Err(NoShare::Sender));
        first.arrived();
        bodies.begin(address(1), None).expect("free").grow_to(100).expect("what has come is not coming");
        first.shrink_to(0);
        other.grow_to(500).expect("its bytes are gone");
    }

    #[test]
    fn a_tenant_has_a_share_whatever_its_addresses_and_a_network_is_one_sender() {
        let bodies = Arc::new(ComingBodies::new(10, 1000));
        let tenant = Some(Tenant::default());
        let held: Vec<_> = (0..10).filter_map(|last| bodies.begin(address(last), tenant).ok()).collect();
        assert_eq!(held.len(), 5);
        assert!(bodies.begin(address(1), None).is_ok(), "another tenant's");
        let v6 = |text: &str| AddressGroup::from(text.parse::<IpAddr>().expect("an address"));
        assert_eq!(v6("2001:db8:1:2::1"), v6("2001:db8:1:2:ffff::9"));
        assert_ne!(v6("2001:db8:1:2::1"), v6("2001:db8:1:3::1"));
        assert_eq!(v6("::ffff:203.0.113.1"), AddressGroup::from(IpAddr::from([203, 0, 113, 1])));
    }

    proptest! {
        /// Whoever comes and goes: never more than all of it, and in the end nothing is counted.
        #[test]
        fn the_counts_balance(steps in prop::collection::vec((0u8..6, 0u8..4, 0usize..600), 0..300)) {
            let bodies = Arc::new(ComingBodies::new(20, 1000));
            let mut held = Vec::new();
            for (step, sender, bytes) in steps {
                match step {
                    0 | 1 => held.extend(bodies.begin(address(sender), None)),
                    2 => drop(held.pop()),
                    3 => if let Some(share) = held.first_mut() { share.arrived() },
                    4 => if let Some(share) = held.first_mut() { share.shrink_to(bytes) },
                    _ => if let Some(share) = held.last_mut() { let _ = share.grow_to(bytes); },
                }
                prop_assert!(bodies.coming.load(Ordering::Relaxed) <= 20);
                prop_assert!(bodies.bytes.load(Ordering::Relaxed) <= 1000);
            }
            drop(held);
            prop_assert_eq!((bodies.coming.load(Ordering::Relaxed), bodies.bytes.load(Ordering::Relaxed)), (0, 0));
            let counted = |cell: &Cell| (cell.bodies.load(Ordering::Relaxed), cell.bytes.load(Ordering::Relaxed));
            prop_assert!(bodies.cells.iter().all(|cell| counted(cell) == (0, 0)));
        }
    }
}
