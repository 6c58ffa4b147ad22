//! Work on CPU threads beside those that serve sockets: bounded, measured, and charged to the request it is for.
//!
//! There is one queue before the threads, and one lock around it. [`ThreadQueue`] decides whose turn it is.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

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

/// Runs one kind of work on tokio's blocking pool, on at most `threads` threads at a time, and one for small work.
#[derive(Debug)]
pub(super) struct CpuPool {
    in_flight: InFlight,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    threads: usize,
    state: Mutex<ThreadQueue<oneshot::Sender<Turn>>>,
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
        let asked = Instant::now();
        let thread = self.thread(piece, asked).await?;
        let (waited, meter) = (asked.elapsed(), meter.cloned());
        let task = tokio::task::spawn_blocking(move || {
            // The thread is held by the work and not by the request: a client that goes away does not make room for a second
            // decode while the first still runs.
            let cpu = CpuTime::of_this_thread();
            let value = work();
            let cpu = CpuTime::of_this_thread_since(cpu);
            thread.done(&piece, cpu, is_typical(&value));
            meter.iter().for_each(|meter| meter.charge(cpu.into()));
            (value, cpu)
        });
        let (value, cpu) = task.await.map_err(|error| PieceError::Failed(format!("the work panicked: {error}")))?;
        Ok((value, WorkTime { waited, cpu }))
    }

    /// Waits for a thread.
    async fn thread(&self, piece: Piece, now: Instant) -> Result<Thread, PieceError> {
        let (ticket, turn) = {
            let mut state = self.shared.lock();
            if let Some(number) = state.start_at_once(&piece, now) {
                return Ok(Thread { shared: Arc::clone(&self.shared), number: Some(number) });
            }
            let (turn, heard) = oneshot::channel();
            let ticket = state.push(piece, turn);
            state.hand_out(now, tell);
            (ticket, heard)
        };
        let mut waiting = WaitGuard { shared: &self.shared, ticket, turn };
        match (&mut waiting.turn).await {
            Ok(Turn::Thread(number)) => Ok(Thread { shared: Arc::clone(&self.shared), number: Some(number) }),
            Ok(Turn::TooLate) => Err(PieceError::TooLate),
            Err(_) => Err(PieceError::Failed("the queue for threads was dropped".to_owned())),
        }
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

impl Shared {
    fn lock(&self) -> MutexGuard<'_, ThreadQueue<oneshot::Sender<Turn>>> {
        // No code that can panic changes the state half.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Holds a thread; it goes to whoever is next when this is dropped.
#[derive(Debug)]
struct Thread {
    shared: Arc<Shared>,
    /// The number of the piece of work; none once it is done.
    number: Option<u64>,
}

impl Thread {
    /// The work is done: learns what it took, and gives the thread to whoever is next.
    fn done(mut self, piece: &Piece, cpu: CpuTime, typical: bool) {
        let Some(number) = self.number.take() else { return };
        let (now, cpu) = (Instant::now(), Duration::from_nanos(cpu.nanos()));
        let mut state = self.shared.lock();
        if typical {
            state.times.learn(piece.header, cpu, now);
            let nanos = u64::try_from(state.times.typical().expected.as_nanos()).unwrap_or(u64::MAX);
            self.shared.typical_nanos.store(nanos, Ordering::Relaxed);
        }
        state.end(number, Some(cpu));
        state.hand_out(now, tell);
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let mut state = self.shared.lock();
            state.end(number, None);
            state.hand_out(Instant::now(), tell);
        }
    }
}

/// A request that waits for a thread. If it goes away, it leaves the queue, or gives back the thread that it was handed.
struct WaitGuard<'a> {
    shared: &'a Shared,
    ticket: QueueTicket,
    turn: oneshot::Receiver<Turn>,
}

impl Drop for WaitGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        // Threads are handed out under the lock, so it is either still waiting or has been told.
        if !state.remove(self.ticket)
            && let Ok(Turn::Thread(number)) = self.turn.try_recv()
        {
            state.end(number, None);
            state.hand_out(Instant::now(), tell);
        }
    }
}

/// Tells a request whose turn it is. It listens for as long as it is in the queue, so the message arrives.
fn tell(waiter: oneshot::Sender<Turn>, turn: Turn) {
    let _ = waiter.send(turn);
}
