//! Work on CPU threads beside those that serve sockets: bounded, measured, and charged to the request it is for.
//!
//! There is one queue before the threads, and one lock around it. [`ThreadQueue`] decides whose turn it is. A thread that has done its
//! work goes on with what is next, so no CPU waits for a request to hear that its turn has come.

use std::{
    any::Any,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{runtime::Handle, sync::oneshot};

use super::{
    thread_queue::{Piece, PoolWait, ThreadQueue, Turn},
    work_times::WorkEstimate,
};
use crate::{
    cost::{CpuTime, FairShare, Meter},
    scheduler::fair_queue::QueueTicket,
    stats::{InFlight, InFlightGuard},
    vision::header::ImageHeader,
};

/// Work is brief if it takes no longer than it takes to hand it to another thread and back, on a busy machine.
const BRIEF: Duration = Duration::from_micros(200);

/// Runs one kind of work on tokio's blocking pool, on at most `threads` threads at a time, and one for small work.
#[derive(Debug)]
pub(super) struct CpuPool {
    in_flight: InFlight,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    threads: usize,
    state: Mutex<ThreadQueue<PooledWork>>,
    /// The typical CPU time, so that it can be read without the lock.
    typical_nanos: AtomicU64,
}

/// Why a piece of work was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PieceError {
    /// Its turn came too late.
    TooLate,
    /// It panicked, or could not be started; with the cause.
    Failed(String),
}

/// What a piece of work took.
#[derive(Debug, Clone, Copy)]
pub(super) struct WorkTime {
    /// Waiting for a thread.
    pub waited: Duration,
    /// CPU time of the thread.
    pub cpu: CpuTime,
}

impl CpuPool {
    pub(super) fn new(threads: usize) -> Self {
        let threads = threads.max(1);
        let state = ThreadQueue::new(threads);
        let shared = Shared { threads, state: Mutex::new(state), typical_nanos: AtomicU64::new(0) };
        Self { in_flight: InFlight::default(), shared: Arc::new(shared) }
    }

    /// Does a piece of work of which nothing is known, for nobody in particular: waits for it, and charges the CPU time to
    /// the meter.
    ///
    /// # Errors
    /// With the cause when the work panicked.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        meter: Option<&Arc<Meter>>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, WorkTime), String> {
        let done = self.run_piece(self.piece(FairShare::default()), meter, work, |_| false).await;
        done.map_err(|not_done| match not_done {
            PieceError::TooLate => "its turn came too late".to_owned(),
            PieceError::Failed(cause) => cause,
        })
    }

    /// A piece of work of typical length that is wanted however late it is.
    pub(super) fn piece(&self, share: FairShare) -> Piece {
        let estimate = WorkEstimate { expected: self.typical(), least: Duration::ZERO };
        Piece { share, arrival: Instant::now(), latest: None, header: None, estimate }
    }

    /// Does a piece of work on one of the threads: waits for its turn and for its end, and charges the CPU time to the meter.
    /// `is_typical` says whether later estimates may go by what this piece took.
    ///
    /// # Errors
    /// When its turn came too late, or the work panicked.
    pub(super) async fn run_piece<T: Send + 'static>(
        &self,
        piece: Piece,
        meter: Option<&Arc<Meter>>,
        work: impl FnOnce() -> T + Send + 'static,
        is_typical: fn(&T) -> bool,
    ) -> Result<(T, WorkTime), PieceError> {
        let (reply, answer) = oneshot::channel();
        let (asked, meter) = (Instant::now(), meter.cloned());
        let work = move |in_time: bool| {
            if !in_time {
                let _ = reply.send(Err(PieceError::TooLate));
                return None;
            }
            // The client has gone.
            if reply.is_closed() {
                return None;
            }
            let waited = asked.elapsed();
            let (value, cpu) = measured(meter.as_ref(), work);
            let done = value.as_ref().ok().map(|value| PieceDone { cpu, typical: is_typical(value) });
            let _ = reply.send(value.map(|value| (value, WorkTime { waited, cpu })));
            done
        };
        let work = PooledWork { piece, work: Box::new(work), runtime: Handle::current() };
        let ticket = self.shared.come(work, asked);
        let mut waiting = WaitGuard { shared: &self.shared, ticket };
        let answer = answer.await;
        waiting.ticket = None;
        answer.unwrap_or_else(|_| Err(PieceError::Failed("the threads ended".to_owned())))
    }

    /// Does a piece of work at once, on this thread, where such pieces are brief; else on one of the pool's threads.
    ///
    /// # Errors
    /// As [`CpuPool::run_piece`].
    pub(super) async fn run_brief<T: Send + 'static>(
        &self,
        piece: Piece,
        meter: &Arc<Meter>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, WorkTime), PieceError> {
        let typical = self.typical();
        if typical.is_zero() || typical > BRIEF {
            return self.run_piece(piece, Some(meter), work, |_| true).await;
        }
        let (value, cpu) = measured(Some(meter), work);
        let value = value?;
        self.shared.learn(&mut self.shared.lock(), &piece, cpu);
        Ok((value, WorkTime { waited: Duration::ZERO, cpu }))
    }

    /// Counts one request that waits for a thread or has one, until what comes back is dropped.
    pub(super) fn enter(&self) -> InFlightGuard<'_> {
        self.in_flight.enter()
    }

    /// The number of requests that wait or are worked on.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.count()
    }

    /// The number of threads.
    pub(super) fn threads(&self) -> usize {
        self.shared.threads
    }

    /// The CPU time that a piece of work typically takes.
    pub(super) fn typical(&self) -> Duration {
        Duration::from_nanos(self.shared.typical_nanos.load(Ordering::Relaxed))
    }

    /// Estimates the CPU time of a piece of work.
    pub(super) fn estimate(&self, header: Option<ImageHeader>) -> WorkEstimate {
        self.shared.lock().times.estimate(header, Instant::now())
    }

    /// How long a piece of work would wait that takes `expected` and arrives at `arrival`, in which its priority counts.
    pub(super) fn wait(&self, share: FairShare, arrival: Instant, expected: Duration) -> PoolWait {
        if self.in_flight() == 0 {
            return PoolWait::default();
        }
        self.shared.lock().wait(share, arrival, expected, Instant::now())
    }

    /// How long a typical piece of work that comes now waits and takes, behind all that are here.
    pub(super) fn expected(&self) -> Duration {
        let ahead = u32::try_from(self.in_flight()).unwrap_or(u32::MAX);
        let threads = u32::try_from(self.threads()).unwrap_or(u32::MAX);
        self.typical().saturating_mul(ahead.saturating_add(1).div_ceil(threads))
    }

    /// Whether a piece of work that comes now would wait.
    pub(super) fn is_full(&self) -> bool {
        self.in_flight() >= self.threads()
    }
}

/// A piece of work that a thread does.
struct PooledWork {
    piece: Piece,
    /// Given whether its turn came in time. It tells how it went, unless nothing can be learned from it.
    work: Box<dyn FnOnce(bool) -> Option<PieceDone> + Send>,
    runtime: Handle,
}

/// What a piece of work took.
struct PieceDone {
    cpu: CpuTime,
    typical: bool,
}

impl fmt::Debug for PooledWork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PooledWork").field("piece", &self.piece).finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, ThreadQueue<PooledWork>> {
        // No code that can panic changes the state half.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A piece of work is done at once, or waits under a ticket.
    fn come(self: &Arc<Self>, work: PooledWork, now: Instant) -> Option<QueueTicket> {
        let mut state = self.lock();
        if let Some(number) = state.start_at_once(&work.piece, now) {
            drop(state);
            self.spawn(work, number);
            return None;
        }
        let ticket = state.push(work.piece, work);
        let told = hand_out(&mut state);
        drop(state);
        self.tell(told).into_iter().for_each(|(work, number)| self.spawn(work, number));
        Some(ticket)
    }

    /// Does the work on a thread, and then what is next, for as long as there is something.
    fn spawn(self: &Arc<Self>, work: PooledWork, number: u64) {
        let (shared, runtime) = (Arc::clone(self), work.runtime.clone());
        runtime.spawn_blocking(move || {
            let mut next = Some((work, number));
            while let Some((PooledWork { piece, work, .. }, number)) = next.take() {
                // The thread is held by the work and not by the request: a client that goes away does not make room for a
                // second decode while the first still runs.
                next = shared.end(number, work(true).map(|done| (piece, done)));
            }
        });
    }

    /// The work of that number is done: others have their turn. One piece of work is for the thread that is free now.
    fn end(self: &Arc<Self>, number: u64, done: Option<(Piece, PieceDone)>) -> Option<(PooledWork, u64)> {
        let told = {
            let mut state = self.lock();
            if let Some((piece, PieceDone { cpu, typical: true })) = &done {
                self.learn(&mut state, piece, *cpu);
            }
            state.end(number, done.map(|(_, done)| Duration::from_nanos(done.cpu.nanos())));
            hand_out(&mut state)
        };
        self.tell(told)
    }

    /// Tells all whose turn it is. One piece of work comes back, for a thread that is free.
    fn tell(self: &Arc<Self>, told: Vec<(PooledWork, Turn)>) -> Option<(PooledWork, u64)> {
        let mut next = None;
        for (work, turn) in told {
            match turn {
                Turn::Thread(number) if next.is_none() => next = Some((work, number)),
                Turn::Thread(number) => self.spawn(work, number),
                Turn::TooLate => drop((work.work)(false)),
            }
        }
        next
    }

    fn learn(&self, state: &mut ThreadQueue<PooledWork>, piece: &Piece, cpu: CpuTime) {
        state.times.learn(piece.header, Duration::from_nanos(cpu.nanos()), Instant::now());
        let nanos = u64::try_from(state.times.typical().expected.as_nanos()).unwrap_or(u64::MAX);
        self.typical_nanos.store(nanos, Ordering::Relaxed);
    }
}

fn hand_out(state: &mut ThreadQueue<PooledWork>) -> Vec<(PooledWork, Turn)> {
    let mut told = Vec::new();
    state.hand_out(Instant::now(), |waiter, turn| told.push((waiter, turn)));
    told
}

/// A request that waits for its turn. If it goes away, it leaves the queue.
struct WaitGuard<'a> {
    shared: &'a Shared,
    ticket: Option<QueueTicket>,
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            let removed = self.shared.lock().remove(ticket);
            // What it was to work on is freed without the lock.
            drop(removed);
        }
    }
}

/// Does work on this thread and charges its CPU time to the meter. A panic fails the work and does not end the thread.
fn measured<T>(meter: Option<&Arc<Meter>>, work: impl FnOnce() -> T) -> (Result<T, PieceError>, CpuTime) {
    let before = CpuTime::of_this_thread();
    let value = catch_unwind(AssertUnwindSafe(work));
    let cpu = CpuTime::of_this_thread_since(before);
    meter.into_iter().for_each(|meter| meter.charge(cpu.into()));
    (value.map_err(|cause| PieceError::Failed(format!("the work panicked: {}", message(&cause)))), cpu)
}

/// What a panic said.
fn message(cause: &Box<dyn Any + Send>) -> &str {
    let text = cause.downcast_ref::<&str>().copied();
    text.or_else(|| cause.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
