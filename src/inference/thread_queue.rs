//! Decides whose work the next free thread of a pool does. Pure: the time comes in, and a [`Turn`] goes out.
//!
//! A [`FairQueue`] says who is next: tenants by their shares, a tenant's own work by priority and arrival. The cost of a piece
//! of work is the CPU time that it is estimated to take, so one large image of a tenant counts as many small ones. Work whose
//! turn comes too late is dropped.
//!
//! Large work does not keep small work waiting: where all threads are busy with work that takes at least [`MUCH_LARGER`] times
//! as long, one small piece after the other is done beside it, on one thread more.

use std::time::{Duration, Instant};

use super::work_times::{WorkEstimate, WorkTimes};
use crate::{
    cost::FairShare,
    scheduler::fair_queue::{Ahead, FairQueue, QueueTicket},
    vision::header::ImageHeader,
};

/// Work is small beside work that takes so many times as long.
const MUCH_LARGER: u32 = 8;

/// The work that waits for the threads of a pool, and that which they do. `W` is how a waiter is told.
#[derive(Debug)]
pub(super) struct ThreadQueue<W> {
    threads: usize,
    waiting: FairQueue<(Piece, W)>,
    running: Vec<Running>,
    started: u64,
    /// What work of this pool takes.
    pub times: WorkTimes,
}

/// What is known about a piece of work before it is done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Piece {
    /// Whose it is.
    pub share: FairShare,
    /// Its arrival, in which its priority counts.
    pub arrival: Instant,
    /// The time from which on it is not worth beginning.
    pub latest: Option<Instant>,
    /// The header of the image that is decoded, where it is one and could be read.
    pub header: Option<ImageHeader>,
    /// How long it takes.
    pub estimate: WorkEstimate,
}

/// A piece of work that has a thread.
#[derive(Debug, Clone, Copy)]
struct Running {
    number: u64,
    share: FairShare,
    expected: Duration,
    since: Instant,
}

/// What a piece of work that waited hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It has a thread, under that number.
    Thread(u64),
    TooLate,
}

/// How long a piece of work that comes now would wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct PoolWait {
    /// Time until it gets a thread, if each thread has a CPU to itself.
    pub wait: Duration,
    /// CPU time of the work that is done before it.
    pub work_ahead: Duration,
    /// Number of pieces of work that are done before it.
    pub ahead: usize,
}

impl<W> ThreadQueue<W> {
    pub(super) fn new(threads: usize) -> Self {
        let running = Vec::with_capacity(threads + 1);
        Self { threads, waiting: FairQueue::default(), running, started: 0, times: WorkTimes::default() }
    }

    /// Gives a thread to a piece of work if it need not wait: its number.
    pub(super) fn start_at_once(&mut self, piece: &Piece, now: Instant) -> Option<u64> {
        let fits = self.running.len() < self.threads
            || (self.running.len() == self.threads && self.is_small(piece.estimate.expected));
        (self.waiting.is_empty() && fits).then(|| {
            self.waiting.pass(piece.share, cost(piece.estimate.expected));
            self.start(piece, now)
        })
    }

    /// Puts a piece of work into the queue.
    pub(super) fn push(&mut self, piece: Piece, waiter: W) -> QueueTicket {
        self.waiting.push(piece.share, piece.arrival, cost(piece.estimate.expected), (piece, waiter))
    }

    /// Takes a piece of work out of the queue; false if it is not there any more.
    pub(super) fn remove(&mut self, ticket: QueueTicket) -> bool {
        self.waiting.remove(ticket).is_some()
    }

    /// Gives threads to those that are next, as long as there are threads.
    pub(super) fn hand_out(&mut self, now: Instant, mut tell: impl FnMut(W, Turn)) {
        while !self.waiting.is_empty() && self.running.len() <= self.threads {
            let next = if self.running.len() < self.threads {
                self.waiting.pop()
            } else {
                let shortest = self.shortest();
                self.waiting.pop_if(|cost| is_small(Duration::from_nanos(cost), shortest))
            };
            let Some((share, (piece, waiter))) = next else { return };
            if piece.latest.is_some_and(|latest| latest <= now) {
                self.waiting.correct(share, cost(piece.estimate.expected), 0);
                tell(waiter, Turn::TooLate);
            } else {
                let number = self.start(&piece, now);
                tell(waiter, Turn::Thread(number));
            }
        }
    }

    /// Takes the thread back from a piece of work, for which `cpu` was used, as far as that is known.
    pub(super) fn end(&mut self, number: u64, cpu: Option<Duration>) {
        let Some(index) = self.running.iter().position(|running| running.number == number) else { return };
        let running = self.running.swap_remove(index);
        if let Some(cpu) = cpu {
            self.waiting.correct(running.share, cost(running.expected), cost(cpu));
        }
        if self.running.is_empty() && self.waiting.is_empty() {
            self.waiting.rest();
        }
    }

    /// How long a piece of work would wait that takes `expected` and arrives at `arrival`, in which its priority counts.
    pub(super) fn wait(&self, share: FairShare, arrival: Instant, expected: Duration, now: Instant) -> PoolWait {
        // Small work waits for other small work only, where the threads are busy with large work.
        let large = expected * MUCH_LARGER;
        let beside = self.running.iter().filter(|running| running.expected >= large).count() >= self.threads;
        let counts = |other: Duration| !beside || other < large;
        let free = self.waiting.is_empty() && self.running.len() < self.threads;
        let Ahead { cost, items } = self.waiting.ahead_of(share, arrival, |cost| counts(Duration::from_nanos(cost)));
        let (mut work_ahead, mut ahead) = (Duration::from_nanos(cost), items);
        for running in self.running.iter().filter(|running| counts(running.expected)) {
            work_ahead += running.expected.saturating_sub(now.saturating_duration_since(running.since));
            ahead += 1;
        }
        let lanes = if beside { 1 } else { u32::try_from(self.threads).unwrap_or(u32::MAX) };
        let wait = if free { Duration::ZERO } else { work_ahead / lanes };
        PoolWait { wait, work_ahead, ahead }
    }

    fn start(&mut self, piece: &Piece, now: Instant) -> u64 {
        self.started += 1;
        let (number, share, expected) = (self.started, piece.share, piece.estimate.expected);
        self.running.push(Running { number, share, expected, since: now });
        number
    }

    fn is_small(&self, expected: Duration) -> bool {
        is_small(expected, self.shortest())
    }

    fn shortest(&self) -> Duration {
        self.running.iter().map(|running| running.expected).min().unwrap_or_default()
    }
}

/// Whether work is small beside other work. Of work that takes no time, nothing is known yet.
fn is_small(expected: Duration, beside: Duration) -> bool {
    !expected.is_zero() && expected * MUCH_LARGER <= beside
}

fn cost(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn piece(flow: usize, takes: u64, arrival: Instant) -> Piece {
        let estimate = WorkEstimate { expected: ms(takes), least: Duration::ZERO };
        Piece { share: FairShare::new(flow, 1.0), arrival, latest: None, header: None, estimate }
    }

    /// Starts a piece or lets it wait, and tells who got a thread.
    fn come(queue: &mut ThreadQueue<u64>, piece: Piece, name: u64, now: Instant) -> Vec<(u64, Turn)> {
        if let Some(number) = queue.start_at_once(&piece, now) {
            return vec![(name, Turn::Thread(number))];
        }
        queue.push(piece, name);
        handed(queue, now)
    }

    fn handed(queue: &mut ThreadQueue<u64>, now: Instant) -> Vec<(u64, Turn)> {
        let mut told = Vec::new();
        queue.hand_out(now, |name, turn| told.push((name, turn)));
        told
    }

    #[test]
    fn a_small_image_does_not_wait_for_large_ones() {
        let (now, mut queue) = (Instant::now(), ThreadQueue::new(2));
        for name in 0..10 {
            come(&mut queue, piece(0, 700, now), name, now);
        }
        assert_eq!(queue.wait(FairShare::default(), now, ms(2), now).wait, ms(0));
        assert_eq!(queue.wait(FairShare::default(), now, ms(700), now).wait, ms(5 * 700));
        assert_eq!(come(&mut queue, piece(0, 2, now), 10, now), [(10, Turn::Thread(3))]);
        assert_eq!(queue.wait(FairShare::default(), now, ms(2), now).wait, ms(2));
        assert_eq!(come(&mut queue, piece(0, 2, now), 11, now), [], "one at a time");
        queue.end(3, Some(ms(2)));
        assert_eq!(handed(&mut queue, now), [(11, Turn::Thread(4))]);
        queue.end(4, Some(ms(2)));
        queue.end(1, Some(ms(700)));
        assert_eq!(handed(&mut queue, now), [(2, Turn::Thread(5))], "large ones have all threads but that one");
    }

    #[test]
    fn work_ahead_is_shared_out_and_what_is_late_is_dropped() {
        let (now, mut queue) = (Instant::now(), ThreadQueue::new(2));
        assert_eq!(queue.wait(FairShare::default(), now, ms(4), now), PoolWait::default());
        for name in 0..6 {
            come(&mut queue, piece(0, 4, now), name, now);
        }
        let wait = |queue: &ThreadQueue<u64>, flow| queue.wait(FairShare::new(flow, 1.0), now, ms(4), now);
        assert_eq!(wait(&queue, 0), PoolWait { wait: ms(12), work_ahead: ms(24), ahead: 6 });
        assert!(wait(&queue, 1).ahead <= 3, "another tenant's flood is no wait: {:?}", wait(&queue, 1));
        let late = Piece { latest: Some(now + ms(3)), ..piece(1, 4, now) };
        assert_eq!(come(&mut queue, late, 6, now), []);
        queue.end(1, None);
        let told = handed(&mut queue, now + ms(4));
        assert!(told.contains(&(6, Turn::TooLate)), "{told:?}");
        assert_eq!(told.iter().filter(|(_, turn)| *turn != Turn::TooLate).count(), 1);
    }

    proptest! {
        /// No thread is idle while work waits, no more threads are used than there are and one, nobody is forgotten.
        #[test]
        fn all_are_served_and_no_thread_idles(
            threads in 1usize..4, work in prop::collection::vec((0usize..3, 1u64..1_000, 0u64..50), 1..100)
        ) {
            let (start, mut queue) = (Instant::now(), ThreadQueue::new(threads));
            let (mut now, mut ends, mut served) = (start, Vec::new(), 0);
            let mut coming = work.iter();
            loop {
                let next = coming.next();
                let mut told = Vec::new();
                if let Some((flow, takes, gap)) = next {
                    now += ms(*gap);
                    told.extend(come(&mut queue, piece(*flow, *takes, now), *takes, now));
                } else if let Some(at) = ends.iter().map(|(at, _)| *at).min() {
                    now = now.max(at);
                }
                let over: Vec<_> = ends.extract_if(.., |(at, _)| *at <= now).collect();
                for (_, number) in over {
                    queue.end(number, None);
                    told.extend(handed(&mut queue, now));
                }
                for (takes, turn) in told {
                    let Turn::Thread(number) = turn else { panic!("nothing is late") };
                    ends.push((now + ms(takes), number));
                    served += 1;
                }
                prop_assert!(queue.running.len() <= threads + 1);
                prop_assert!(queue.waiting.is_empty() || queue.running.len() >= threads);
                if next.is_none() && ends.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(served, work.len());
        }
    }
}
