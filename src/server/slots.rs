//! How many connections there may be, in all and from one address.
//!
//! Where there is no room for another one, the one that has been silent for longest makes room: first those that have never asked for
//! anything, the oldest first, then those that have been idle for a while. Where all of them are at work the new one is refused.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::task::AbortHandle;

use super::activity::Activity;
use crate::{inference::Inference, limits::AddressGroup};

/// How many of the oldest connections are looked at for one that makes room.
const MOST_LOOKED_AT: usize = 1000;

/// The connections of one listener.
#[derive(Debug)]
pub(super) struct Slots {
    max: usize,
    max_per_address: usize,
    inference: Arc<Inference>,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    next_id: u64,
    /// By their age, the oldest first.
    by_id: BTreeMap<u64, Slot>,
    by_address: HashMap<AddressGroup, usize>,
}

#[derive(Debug)]
struct Slot {
    address: AddressGroup,
    activity: Arc<Activity>,
    task: Option<AbortHandle>,
}

/// Why a connection was refused, as the metrics name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ConnectionRefusal {
    /// There are as many as there may be.
    Limit,
    /// There are as many from its address as there may be.
    Address,
}

impl ConnectionRefusal {
    /// The `reason` in the metrics.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Limit => "limit",
            Self::Address => "address",
        }
    }
}

impl Slots {
    pub(super) fn new(max: usize, max_per_address: usize, inference: Arc<Inference>) -> Arc<Self> {
        Arc::new(Self { max, max_per_address, inference, open: Mutex::default() })
    }

    /// Takes a slot for a connection from an address.
    pub(super) fn take(self: &Arc<Self>, address: IpAddr) -> Result<TakenSlot, ConnectionRefusal> {
        let address = AddressGroup::from(address);
        let mut open = self.open();
        let from_there = open.by_address.get(&address).copied().unwrap_or_default();
        let (refusal, only) = if from_there >= self.max_per_address {
            (Some(ConnectionRefusal::Address), Some(address))
        } else if open.by_id.len() >= self.max {
            (Some(ConnectionRefusal::Limit), None)
        } else {
            (None, None)
        };
        if let Some(refusal) = refusal {
            let Some(id) = open.quietest(only) else {
                self.inference.metrics().connection_refused(refusal.reason());
                return Err(refusal);
            };
            if let Some(task) = open.remove(id).and_then(|slot| slot.task) {
                task.abort();
            }
            self.inference.metrics().connection_refused("evicted");
        }
        let (id, activity) = (open.next_id, Arc::new(Activity::default()));
        open.next_id += 1;
        *open.by_address.entry(address).or_default() += 1;
        open.by_id.insert(id, Slot { address, activity: Arc::clone(&activity), task: None });
        self.inference.metrics().connection_opened();
        Ok(TakenSlot { slots: Arc::clone(self), id, activity })
    }

    /// Names the task that serves the connection of a slot, so that it can be ended.
    pub(super) fn serve_by(&self, id: u64, task: AbortHandle) {
        if let Some(slot) = self.open().by_id.get_mut(&id) {
            slot.task = Some(task);
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// The connection that makes room, of those of an address where one is named.
    fn quietest(&self, only: Option<AddressGroup>) -> Option<u64> {
        let fits = |slot: &Slot| only.is_none_or(|address| slot.address == address) && slot.task.is_some();
        let mut quietest: Option<(u32, u64)> = None;
        for (id, slot) in self.by_id.iter().filter(|(_, slot)| fits(slot)).take(MOST_LOOKED_AT) {
            let counts = slot.activity.counts();
            if counts.requests == 0 {
                return Some(*id);
            }
            let quiet = slot.activity.quiet_looks();
            if counts.is_idle() && quiet > 0 && quietest.is_none_or(|(most, _)| quiet > most) {
                quietest = Some((quiet, *id));
            }
        }
        quietest.map(|(_, id)| id)
    }

    fn remove(&mut self, id: u64) -> Option<Slot> {
        let slot = self.by_id.remove(&id)?;
        if let Some(count) = self.by_address.get_mut(&slot.address) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&slot.address);
            }
        }
        Some(slot)
    }
}

/// The slot of a connection, which is given back when this is dropped.
#[derive(Debug)]
pub(super) struct TakenSlot {
    slots: Arc<Slots>,
    /// Which slot it is.
    pub id: u64,
    /// What goes on on the connection.
    pub activity: Arc<Activity>,
}

impl Drop for TakenSlot {
    fn drop(&mut self) {
        self.slots.open().remove(self.id);
        self.slots.inference.metrics().connection_closed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn slots(max: usize, max_per_address: usize) -> Arc<Slots> {
        let inference = Inference::new(Config::defaults().expect("valid")).expect("metrics");
        Slots::new(max, max_per_address, inference)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// A connection that a task serves, which does nothing.
    fn served(
        slots: &Arc<Slots>,
        address: &str,
    ) -> Result<(TakenSlot, tokio::task::JoinHandle<()>), ConnectionRefusal> {
        let slot = slots.take(ip(address))?;
        let task = tokio::spawn(std::future::pending());
        slots.serve_by(slot.id, task.abort_handle());
        Ok((slot, task))
    }

    #[tokio::test]
    async fn the_silent_make_room_and_the_busy_do_not() {
        let slots = slots(2, 2);
        let (busy, _task) = served(&slots, "192.0.2.1").expect("room");
        let request = busy.activity.begin(false);
        let (_silent, task) = served(&slots, "192.0.2.2").expect("room");
        let (second, _task) = served(&slots, "192.0.2.3").expect("the silent one makes room");
        assert!(task.await.expect_err("ended").is_cancelled());
        let _request = second.activity.begin(false);
        assert_eq!(served(&slots, "192.0.2.4").expect_err("all are at work"), ConnectionRefusal::Limit);
        drop(request);
        assert_eq!(served(&slots, "192.0.2.4").expect_err("it was at work just now"), ConnectionRefusal::Limit);
        busy.activity.set_quiet_looks(1);
        let _third = served(&slots, "192.0.2.4").expect("the idle one makes room");
    }

    #[tokio::test]
    async fn one_address_takes_its_share_only() {
        let slots = slots(10, 1);
        let (first, _task) = served(&slots, "2001:db8::1").expect("room");
        let _request = first.activity.begin(false);
        assert_eq!(served(&slots, "2001:db8::2").expect_err("the same network"), ConnectionRefusal::Address);
        let _other = served(&slots, "2001:db8:0:1::2").expect("another network");
        let (second, _task) = served(&slots, "::ffff:192.0.2.1").expect("room");
        let _request = second.activity.begin(false);
        assert_eq!(served(&slots, "192.0.2.1").expect_err("the same address"), ConnectionRefusal::Address);
        drop((first, second));
        let _again = served(&slots, "192.0.2.1").expect("room again");
    }
}
