use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use proptest::prelude::*;

use super::*;

/// A piece of work: its flow, its cost, its number.
type Piece = (usize, u64, usize);

fn share(flow: usize, weight: f64) -> FairShare {
    FairShare::new(flow, weight)
}

fn order(queue: &mut FairQueue<Piece>) -> Vec<Piece> {
    std::iter::from_fn(|| queue.pop().map(|(_, piece)| piece)).collect()
}

#[test]
fn a_newcomer_is_next_whatever_another_has_waiting() {
    let (now, mut queue) = (Instant::now(), FairQueue::default());
    let (a, b) = (share(1, 1.0), share(2, 1.0));
    (0..100).for_each(|number| {
        let _ = queue.push(a, now, 10, (1, 10, number));
    });
    let _ = (queue.pop(), queue.pop());
    queue.push(b, now + Duration::from_secs(1), 10, (2, 10, 0));
    assert_eq!(queue.ahead_of(b, now + Duration::from_secs(2), |_| true), Ahead { cost: 20, items: 2 });
    assert_eq!(queue.pop().map(|(_, piece)| piece.0), Some(2));
}

#[test]
fn an_expensive_piece_counts_as_many_cheap_ones_and_a_weight_as_many_tenants() {
    let (now, mut queue) = (Instant::now(), FairQueue::default());
    for number in 0..20 {
        queue.push(share(1, 1.0), now, 10, (1, 10, number));
        queue.push(share(2, 1.0), now, 50, (2, 50, number));
        queue.push(share(3, 4.0), now, 10, (3, 10, number));
    }
    let first: Vec<_> = order(&mut queue).into_iter().take(26).map(|(flow, ..)| flow).collect();
    let count = |flow| first.iter().filter(|other| **other == flow).count();
    assert_eq!([count(1), count(2), count(3)], [5, 1, 20]);
}

#[test]
fn a_full_queue_takes_the_place_from_whom_has_most() {
    let (now, mut queue) = (Instant::now(), FairQueue::default());
    let (a, b) = (share(1, 1.0), share(2, 1.0));
    (0..4).for_each(|number| {
        let _ = queue.push(a, now, 1, (1, 1, number));
    });
    assert!(!queue.can_displace(a), "from nobody but oneself");
    assert_eq!(queue.displace(b), Some((1, 1, 3)), "the last of them");
    queue.push(b, now, 1, (2, 1, 0));
    assert_eq!(queue.displace(b), Some((1, 1, 2)), "to the half");
    queue.push(b, now, 1, (2, 1, 1));
    assert_eq!(queue.displace(b), None);
    assert_eq!(queue.len(), 4);
    assert!(!queue.can_displace(share(2, 1.5)) && queue.can_displace(share(2, 4.0)));
}

#[test]
fn work_that_does_not_fit_is_passed_over_and_keeps_its_claim() {
    let (now, mut queue) = (Instant::now(), FairQueue::default());
    queue.push(share(1, 1.0), now, 900, (1, 900, 0));
    (0..3).for_each(|number| {
        let _ = queue.push(share(2, 1.0), now, 10, (2, 10, number));
    });
    assert_eq!(queue.pop_if(|cost| cost < 100).map(|(_, piece)| piece), Some((2, 10, 0)));
    assert_eq!(queue.pop().map(|(_, piece)| piece), Some((1, 900, 0)));
    assert_eq!(queue.pop_if(|cost| cost > 100).map(|(_, piece)| piece), None);
}

/// What happens to a queue in a story.
#[derive(Debug, Clone, Copy)]
enum Event {
    Push { flow: usize, cost: u64, early: u64 },
    Pop,
    Leave { which: usize },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (0usize..4, 1u64..100, 0u64..1000).prop_map(|(flow, cost, early)| Event::Push { flow, cost, early }),
        3 => Just(Event::Pop),
        1 => any::<usize>().prop_map(|which| Event::Leave { which }),
    ];
    prop::collection::vec(event, 1..300)
}

proptest! {
    /// Nothing is lost or served twice, who leaves is not served, a flow's own order holds, and what `peek` and `ahead_of`
    /// say is what happens.
    #[test]
    fn nothing_is_lost_and_what_is_foretold_happens(events in events()) {
        let start = Instant::now();
        let mut queue = FairQueue::default();
        let mut waiting: BTreeMap<usize, (QueueTicket, (usize, Instant))> = BTreeMap::new();
        for (number, event) in events.into_iter().enumerate() {
            match event {
                Event::Push { flow, cost, early } => {
                    let arrival = start + Duration::from_millis(2_000 + number as u64 - early);
                    let ticket = queue.push(share(flow, 1.0 + flow as f64), arrival, cost, (flow, cost, number));
                    waiting.insert(number, (ticket, (flow, arrival)));
                }
                Event::Pop => {
                    let mut foretold = None;
                    queue.peek(1, |piece| foretold = Some(*piece));
                    let served = queue.pop().map(|(_, piece)| piece);
                    prop_assert_eq!(foretold, served);
                    prop_assert_eq!(served.is_some(), !waiting.is_empty(), "it is work conserving");
                    let Some((flow, _, number)) = served else { continue };
                    let (_, (_, arrival)) = waiting.remove(&number).expect("it waited");
                    let overtaken = waiting.values().any(|(_, (other, earlier))| *other == flow && *earlier < arrival);
                    prop_assert!(!overtaken, "{number} was served before an earlier one of its flow");
                }
                Event::Leave { which } => {
                    let Some(number) = waiting.keys().nth(which % waiting.len().max(1)).copied() else { continue };
                    let (ticket, _) = waiting.remove(&number).expect("it waits");
                    prop_assert_eq!(queue.remove(ticket).map(|(_, _, number)| number), Some(number));
                    prop_assert_eq!(queue.remove(ticket), None);
                }
            }
            prop_assert_eq!(queue.len(), waiting.len());
        }
        let mut all = Vec::new();
        queue.peek(1_000, |piece| all.push(*piece));
        prop_assert_eq!(&all, &order(&mut queue));
        prop_assert_eq!(all.len(), waiting.len());
    }

    /// While all have work waiting, no flow gets less than its share by more than one piece of its own and one of the other.
    #[test]
    fn service_is_by_weight_within_a_piece_of_work(
        costs in prop::collection::vec((1u64..100, 1u64..100), 50..200), weights in (1u32..5, 1u32..5)
    ) {
        let (now, mut queue) = (Instant::now(), FairQueue::default());
        let weights = [f64::from(weights.0), f64::from(weights.1)];
        for (number, (a, b)) in costs.iter().enumerate() {
            queue.push(share(0, weights[0]), now, *a, (0, *a, number));
            queue.push(share(1, weights[1]), now, *b, (1, *b, number));
        }
        let (mut served, mut left) = ([0.0; 2], [costs.len(); 2]);
        while left.iter().all(|left| *left > 0) {
            let (flow, cost, _) = queue.pop().expect("both have work").1;
            served[flow] += cost as f64 / weights[flow];
            left[flow] -= 1;
            let apart = (served[0] - served[1]).abs();
            prop_assert!(apart <= 100.0 / weights[0] + 100.0 / weights[1], "{served:?}");
        }
    }

    /// On any number of threads, a tenant with one request at a time waits for no more than one piece of work of a tenant
    /// that floods: it is handed the next thread that is free.
    #[test]
    fn a_flood_makes_another_wait_for_one_piece_a_thread_at_most(
        threads in 1usize..5, flood in prop::collection::vec(1u64..1_000, 20..200), gaps in prop::collection::vec(1u64..5_000, 5..20)
    ) {
        let (now, mut queue) = (Instant::now(), FairQueue::default());
        let most = *flood.iter().max().expect("some");
        flood.iter().cycle().take(5_000).enumerate().for_each(|(number, cost)| { let _ = queue.push(share(0, 1.0), now, *cost, (0, *cost, number)); });
        // When each thread is free, by the clock of the story.
        let mut free = vec![0u64; threads];
        let mut arrivals: VecDeque<u64> = gaps.iter().scan(0, |at, gap| { *at += gap + 1_000; Some(*at) }).collect();
        let mut waits = Vec::new();
        let mut arrived = None;
        while let Some(thread) = (0..threads).min_by_key(|thread| free[*thread]) {
            let time = free[thread];
            if arrived.is_none() && arrivals.front().is_some_and(|at| *at <= time) {
                arrived = arrivals.pop_front();
                queue.push(share(1, 1.0), now, 10, (1, 10, 0));
            }
            let Some((_, (flow, cost, _))) = queue.pop() else { break };
            if flow == 1 {
                waits.push(time - arrived.take().expect("it waits"));
            }
            free[thread] = time + cost;
        }
        prop_assert!(!waits.is_empty());
        prop_assert!(waits.iter().all(|wait| *wait <= most), "{waits:?}");
    }

    /// The same pushes give the same order.
    #[test]
    fn it_is_deterministic(pieces in prop::collection::vec((0usize..5, 1u64..100, 0u64..100), 1..100)) {
        let now = Instant::now();
        let run = || {
            let mut queue = FairQueue::default();
            for (number, (flow, cost, later)) in pieces.iter().enumerate() {
                queue.push(share(*flow, 1.0), now + Duration::from_millis(*later), *cost, (*flow, *cost, number));
            }
            order(&mut queue)
        };
        prop_assert_eq!(run(), run());
    }
}
