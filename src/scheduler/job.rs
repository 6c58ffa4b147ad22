//! A request as the queue sees it, and what comes back.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::policy::Pending;
use crate::{
    cost::{Meter, Used},
    vision::tensor::Tensor,
};

/// Inputs that wait for a session.
#[derive(Debug)]
pub struct Job {
    /// The graph's inputs, in its order.
    pub inputs: Vec<Tensor>,
    /// What the policy goes by.
    pub waiting: Pending,
    /// Who goes first.
    pub priority: Priority,
    /// Where the answer goes; closed when the client has gone.
    pub reply: oneshot::Sender<Result<RunOutput, JobError>>,
    /// Who is charged for it.
    pub meter: Option<Arc<Meter>>,
}

impl Job {
    /// Tells the client, unless it has gone.
    pub fn answer(self, answer: Result<RunOutput, JobError>) {
        let _ = self.reply.send(answer);
    }

    /// Charges what was used for it.
    pub fn charge(&self, used: Used) {
        if let Some(meter) = &self.meter {
            meter.charge(used);
        }
    }

    /// Has its client gone?
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.reply.is_closed()
    }
}

/// 0 (last) to 9 (first). Each step is worth 100 ms in the queue: a job goes before those of the next lower priority
/// that came up to 100 ms earlier, and before no others. So nobody waits for ever, whatever comes after it.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use ounce::scheduler::job::Priority;
///
/// let now = Instant::now();
/// let usual = Priority::default().turn(now);
/// assert!(Priority::FIRST.turn(now) < usual);
/// // A request of the lowest priority that came a second earlier goes before one of the usual priority.
/// assert!(Priority::LAST.turn(now - Duration::from_secs(1)) < usual);
/// assert_eq!(Priority::new(10), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(u8);

impl Priority {
    /// The highest.
    pub const FIRST: Self = Self(9);
    /// The lowest.
    pub const LAST: Self = Self(0);

    const STEP: Duration = Duration::from_millis(100);

    /// A number from 0 to 9.
    #[must_use]
    pub fn new(priority: u8) -> Option<Self> {
        (priority <= Self::FIRST.0).then_some(Self(priority))
    }

    /// When a job that is queued now would have come if all had the highest priority.
    #[must_use]
    pub fn turn(self, queued_at: Instant) -> Instant {
        queued_at + Self::STEP * u32::from(Self::FIRST.0 - self.0)
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(5)
    }
}

/// Outputs, and how they came about.
#[derive(Debug)]
pub struct RunOutput {
    /// The graph's outputs, in its order, for this job alone.
    pub outputs: Vec<Tensor>,
    /// Time in the queue.
    pub queued: Duration,
    /// Time of the run that it was part of.
    pub ran: Duration,
    /// Rows in that run.
    pub batch_size: usize,
}

/// Why a job has no outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobError {
    /// Its deadline passed before its turn.
    DeadlineExceeded,
    /// The run failed; the runtime's words, for the log.
    Failed(String),
}
