//! A weighted fair queue: it decides whose work is done next. Work of several tenants goes in ([`FairQueue::push`]), and
//! comes out one by one ([`FairQueue::pop`]). It has no clock and no lock.
//!
//! It is start-time fair queueing (Goyal, Vin and Cheng, "Start-time fair queueing", 1996). Each flow (a tenant) has a
//! start: the virtual time at which its next piece of work may begin. The flow with the earliest start is served, and its
//! start moves on by the cost of that piece divided by the flow's weight. So an expensive piece counts as many cheap ones,
//! and a tenant with weight 2 gets twice as much done as one with weight 1. A flow that had nothing to do starts at the
//! time of the flow that is served now: it has no debt and no claim from the past. Its first piece is therefore next,
//! however much another flow has waiting.
//!
//! Within a flow, the order is that of the arrival times that [`FairQueue::push`] is given, in which priorities count.

use std::{collections::BTreeMap, time::Instant};

use crate::cost::FairShare;

/// Virtual time of one unit of cost at a weight of a thousandth.
const UNIT: u128 = 1_000_000;

/// A queue that shares out the service among flows by their weights.
#[derive(Debug)]
pub struct FairQueue<T> {
    // Those that have something waiting, or have had more than their share. They are few, so they are searched one by one.
    flows: Vec<Flow<T>>,
    // The start of the flow that was served last.
    virtual_now: u128,
    pushed: u64,
    len: usize,
}

#[derive(Debug)]
struct Flow<T> {
    share: FairShare,
    start: u128,
    waiting: BTreeMap<Place, QueuedItem<T>>,
}

/// Effective arrival, then number of arrival.
type Place = (Instant, u64);

#[derive(Debug)]
struct QueuedItem<T> {
    cost: u64,
    item: T,
}

/// Finds something that waits.
#[derive(Debug, Clone, Copy)]
pub struct QueueTicket {
    flow: usize,
    place: Place,
}

/// What is served before something that comes now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ahead {
    /// Sum of the costs.
    pub cost: u64,
    /// Number of pieces of work.
    pub items: usize,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { flows: Vec::new(), virtual_now: 0, pushed: 0, len: 0 }
    }
}

impl<T> FairQueue<T> {
    /// Puts a piece of work into its flow, behind what has an earlier `arrival` there.
    pub fn push(&mut self, share: FairShare, arrival: Instant, cost: u64, item: T) -> QueueTicket {
        let place = (arrival, self.pushed);
        self.pushed += 1;
        self.len += 1;
        self.flow(share).waiting.insert(place, QueuedItem { cost, item });
        QueueTicket { flow: share.flow(), place }
    }

    /// Counts a piece of work that is done at once, without waiting.
    pub fn pass(&mut self, share: FairShare, cost: u64) {
        let flow = self.flow(share);
        let start = flow.start;
        flow.start += virtual_time(cost, share);
        self.virtual_now = self.virtual_now.max(start);
    }

    /// Takes out what is served next.
    pub fn pop(&mut self) -> Option<(FairShare, T)> {
        self.pop_if(|_| true)
    }

    /// Takes out what is served next among the work whose cost fits.
    pub fn pop_if(&mut self, fits: impl Fn(u64) -> bool) -> Option<(FairShare, T)> {
        let first =
            |flow: &Flow<T>| flow.waiting.iter().find(|(_, waiting)| fits(waiting.cost)).map(|(place, _)| *place);
        let candidates = self.flows.iter_mut().filter_map(|flow| Some(((flow.start, first(flow)?), flow)));
        let ((_, place), flow) = candidates.min_by_key(|(order, _)| *order)?;
        let waiting = flow.waiting.remove(&place)?;
        let (start, share) = (flow.start, flow.share);
        flow.start += virtual_time(waiting.cost, share);
        self.len -= 1;
        // Where work that does not fit was passed over, those flows keep their claim.
        let earliest = self.flows.iter().filter(|flow| !flow.waiting.is_empty()).map(|flow| flow.start).min();
        self.virtual_now = self.virtual_now.max(earliest.map_or(start, |earliest| earliest.min(start)));
        Some((share, waiting.item))
    }

    /// Shows the first `most` of what waits, in the order of service.
    pub fn peek(&self, most: usize, mut see: impl FnMut(&T)) {
        let busy = || self.flows.iter().filter(|flow| !flow.waiting.is_empty());
        if let (Some(only), None) = (busy().next(), busy().nth(1)) {
            return only.waiting.values().take(most).for_each(|waiting| see(&waiting.item));
        }
        let mut flows: Vec<_> = busy().map(|flow| (flow.start, flow.share, flow.waiting.iter().peekable())).collect();
        for _ in 0..most {
            let next = flows.iter_mut().filter_map(|(start, share, rest)| {
                let place = *rest.peek()?.0;
                Some(((*start, place), (start, share, rest)))
            });
            let Some((_, (start, share, rest))) = next.min_by_key(|(order, _)| *order) else { return };
            let Some((_, waiting)) = rest.next() else { return };
            *start += virtual_time(waiting.cost, *share);
            see(&waiting.item);
        }
    }

    /// What would be served before a piece of work that comes now with that arrival. Only work whose cost fits counts.
    #[must_use]
    pub fn ahead_of(&self, share: FairShare, arrival: Instant, fits: impl Fn(u64) -> bool) -> Ahead {
        let mut ahead = Ahead::default();
        let add = |ahead: &mut Ahead, waiting: &QueuedItem<T>| {
            ahead.cost = ahead.cost.saturating_add(waiting.cost);
            ahead.items += 1;
        };
        let mut start = self.virtual_now;
        if let Some(flow) = self.flows.iter().find(|flow| flow.share.flow() == share.flow()) {
            let before = flow.waiting.range(..(arrival, u64::MAX)).map(|(_, waiting)| waiting);
            before.filter(|waiting| fits(waiting.cost)).for_each(|waiting| add(&mut ahead, waiting));
            start = if flow.waiting.is_empty() { flow.start.max(start) } else { flow.start };
        }
        start += virtual_time(ahead.cost, share);
        for flow in self.flows.iter().filter(|flow| flow.share.flow() != share.flow()) {
            let mut theirs = flow.start;
            for waiting in flow.waiting.values().filter(|waiting| fits(waiting.cost)) {
                if theirs > start {
                    break;
                }
                add(&mut ahead, waiting);
                theirs += virtual_time(waiting.cost, flow.share);
            }
        }
        ahead
    }

    /// Whether a full queue has a place for one more of that flow: that of the last piece of the flow that has most for its
    /// weight, as long as that flow still has no less than this one.
    #[must_use]
    pub fn can_displace(&self, share: FairShare) -> bool {
        self.flow_to_displace(share).is_some()
    }

    /// Takes out the piece of work that makes room for one more of that flow, if there is one.
    pub fn displace(&mut self, share: FairShare) -> Option<T> {
        let index = self.flow_to_displace(share)?;
        let (_, waiting) = self.flows.get_mut(index)?.waiting.pop_last()?;
        self.len -= 1;
        Some(waiting.item)
    }

    fn flow_to_displace(&self, share: FairShare) -> Option<usize> {
        let weight = |share: FairShare| u64::from(share.thousandths());
        let count = |flow: &Flow<T>| u64::try_from(flow.waiting.len()).unwrap_or(u64::MAX);
        let own = self.flows.iter().find(|flow| flow.share.flow() == share.flow()).map_or(0, count) + 1;
        let others = self.flows.iter().enumerate().filter(|(_, flow)| flow.share.flow() != share.flow());
        // Counts and weights are small, so these products are far from the limits.
        let (index, most) =
            others.max_by(|(_, a), (_, b)| (count(a) * weight(b.share)).cmp(&(count(b) * weight(a.share))))?;
        (count(most) * weight(share) > own * weight(most.share)).then_some(index)
    }

    /// Takes out something that does not want to wait any more; none if it has been served.
    pub fn remove(&mut self, ticket: QueueTicket) -> Option<T> {
        let flow = self.flows.iter_mut().find(|flow| flow.share.flow() == ticket.flow)?;
        let waiting = flow.waiting.remove(&ticket.place)?;
        self.len -= 1;
        Some(waiting.item)
    }

    /// Takes out all that is unwanted.
    pub fn extract(&mut self, mut unwanted: impl FnMut(&T) -> bool, mut gone: impl FnMut(T)) {
        for flow in &mut self.flows {
            for (_, waiting) in flow.waiting.extract_if(.., |_, waiting| unwanted(&waiting.item)) {
                self.len -= 1;
                gone(waiting.item);
            }
        }
    }

    /// Corrects what a flow has been charged, once it is known what a piece of work has really cost.
    pub fn correct(&mut self, share: FairShare, charged: u64, cost: u64) {
        let Some(flow) = self.flows.iter_mut().find(|flow| flow.share.flow() == share.flow()) else { return };
        flow.start = (flow.start + virtual_time(cost, share)).saturating_sub(virtual_time(charged, share));
    }

    /// Forgets who has been served. To be called when nothing waits and nothing is being worked on.
    pub fn rest(&mut self) {
        if self.len == 0 {
            self.flows.clear();
            self.virtual_now = 0;
        }
    }

    /// Drops all that waits.
    pub fn clear(&mut self) {
        self.flows.clear();
        self.len = 0;
    }

    /// Number of pieces of work that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The flow, which starts no earlier than now if nothing of it waits.
    fn flow(&mut self, share: FairShare) -> &mut Flow<T> {
        let now = self.virtual_now;
        let index = match self.flows.iter().position(|flow| flow.share.flow() == share.flow()) {
            Some(index) => index,
            None => {
                // Those without work and debt are as good as new ones.
                self.flows.retain(|flow| !flow.waiting.is_empty() || flow.start > now);
                self.flows.push(Flow { share, start: now, waiting: BTreeMap::new() });
                self.flows.len() - 1
            }
        };
        let flow = &mut self.flows[index];
        if flow.waiting.is_empty() {
            flow.start = flow.start.max(now);
        }
        flow
    }
}

fn virtual_time(cost: u64, share: FairShare) -> u128 {
    u128::from(cost) * UNIT / u128::from(share.thousandths())
}

#[cfg(test)]
mod tests;
