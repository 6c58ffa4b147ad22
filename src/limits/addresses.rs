//! The buckets of addresses, in memory that does not grow with their number.
//!
//! There are more addresses than memory: an attacker has 2⁶⁴ networks, or makes them up where a proxy lets him. A table that
//! forgets old entries would let him push out the entry that limits him. So nothing is kept by address. Each has four cells, chosen
//! by a hash with a secret key, among cells that all addresses share (a count-min sketch). Each of the four is at least as full as
//! its own bucket would be, and the emptiest of them counts.
//!
//! Therefore nobody ever gets more than his limit, whoever else asks. Somebody may get less only if others have used up all four of
//! his cells: while 1,000 addresses are at their limit that is so for about one in 13 million others, while 20,000 are for one in 200.
//! A million addresses that each ask once take from each cell what 15 requests take, at most. A limit takes 2 MB, whoever asks.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::Limited;

/// Cells of an address.
const ROWS: usize = 4;

/// Parts of the table, each with a lock of its own.
const SHARDS: usize = 64;

/// Cells of a row in a shard.
const CELLS: usize = 1024;

/// Addresses that count as one: an IPv4 address, or an IPv6 network of 64 bits, which is what one customer has at least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressGroup(IpAddr);

impl From<IpAddr> for AddressGroup {
    fn from(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => IpAddr::V4(address),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        })
    }
}

impl fmt::Display for AddressGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(address) => write!(f, "address {address}"),
            IpAddr::V6(network) => write!(f, "network {network}/64"),
        }
    }
}

/// The buckets of all addresses.
#[derive(Debug)]
pub(super) struct AddressTable {
    key: RandomState,
    shards: Box<[Mutex<Shard>]>,
}

/// Where the cells of an address are.
#[derive(Debug, Clone, Copy)]
pub(super) struct CellsOf(u64);

#[derive(Debug)]
struct Shard {
    /// When the cells are full again, by limit; empty where there is no such limit.
    full_at: [Vec<u64>; Limited::ALL.len()],
    /// Requests in flight; empty where they are not limited.
    in_flight: Vec<u32>,
}

impl AddressTable {
    /// A table for these limits, and for requests in flight or not.
    pub(super) fn new(limited: impl Fn(Limited) -> bool, in_flight: bool) -> Self {
        let cells = |wanted: bool| if wanted { ROWS * CELLS } else { 0 };
        let shard = || Shard {
            full_at: Limited::ALL.map(|limit| vec![0; cells(limited(limit))]),
            in_flight: vec![0; cells(in_flight)],
        };
        Self { key: RandomState::new(), shards: (0..SHARDS).map(|_| Mutex::new(shard())).collect() }
    }

    /// The cells of an address.
    pub(super) fn cells(&self, group: AddressGroup) -> CellsOf {
        CellsOf(self.key.hash_one(group))
    }

    /// Changes the bucket of an address.
    pub(super) fn update<E>(
        &self,
        cells: CellsOf,
        limit: Limited,
        change: impl FnOnce(u64) -> Result<u64, E>,
    ) -> Result<(), E> {
        let mut shard = self.shard(cells);
        let all = &mut shard.full_at[limit as usize];
        let emptiest = cells.indices().filter_map(|cell| all.get(cell)).min().copied().unwrap_or_default();
        let full_at = change(emptiest)?;
        cells.indices().for_each(|cell| all.iter_mut().skip(cell).take(1).for_each(|at| *at = full_at.max(*at)));
        Ok(())
    }

    /// When the bucket of an address is full again.
    pub(super) fn full_at(&self, cells: CellsOf, limit: Limited) -> u64 {
        let shard = self.shard(cells);
        cells.indices().filter_map(|cell| shard.full_at[limit as usize].get(cell)).min().copied().unwrap_or_default()
    }

    /// Takes a place of an address that may have `most`, if one is free.
    pub(super) fn enter(&self, cells: CellsOf, most: usize) -> bool {
        let mut shard = self.shard(cells);
        let taken = cells.indices().filter_map(|cell| shard.in_flight.get(cell)).min().copied().unwrap_or_default();
        let free = (taken as usize) < most;
        if free {
            shard.places(cells, |places| places.saturating_add(1));
        }
        free
    }

    /// Gives a place back.
    pub(super) fn leave(&self, cells: CellsOf) {
        self.shard(cells).places(cells, |places| places.saturating_sub(1));
    }

    fn shard(&self, cells: CellsOf) -> MutexGuard<'_, Shard> {
        // There are as many as the hash can name, so the first is never taken instead.
        let shard = &self.shards[cells.0 as usize % SHARDS];
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    fn places(&mut self, cells: CellsOf, change: impl Fn(u32) -> u32) {
        for cell in cells.indices() {
            if let Some(places) = self.in_flight.get_mut(cell) {
                *places = change(*places);
            }
        }
    }
}

impl CellsOf {
    /// One cell of each row: bits of the hash that chose no shard choose them.
    fn indices(self) -> impl Iterator<Item = usize> {
        let bits = self.0 >> SHARDS.trailing_zeros();
        (0..ROWS).map(move |row| row * CELLS + (bits >> (row as u32 * CELLS.trailing_zeros())) as usize % CELLS)
    }
}
