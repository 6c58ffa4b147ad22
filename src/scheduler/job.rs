//! A job (a request as the scheduler sees it), its priority, and its result.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::policy::Pending;
use crate::{
    cost::{FairShare, Meter, ResourceUsage},
    vision::tensor::Tensor,
};

/// Input tensors that wait for a session to run them.
#[derive(Debug)]
pub struct Job {
    /// One tensor for each input of the graph, in the graph's order; the first dimension is the rows.
    pub inputs: Vec<Tensor>,
    /// What the batching policy decides by: rows, arrival and deadline.
    pub pending: Pending,
    /// Which jobs of the same tenant are served first.
    pub priority: Priority,
    /// Whose job it is.
    pub share: FairShare,
    /// Channel that takes the result. It is closed when the client has gone.
    pub reply: oneshot::Sender<Result<RunOutput, JobError>>,
    /// Meter of the request that pays for the job; none where nobody is billed.
    pub meter: Option<Arc<Meter>>,
}

impl Job {
    /// Sends the result to the client, unless the client has gone.
    pub fn answer(self, result: Result<RunOutput, JobError>) {
        let _ = self.reply.send(result);
    }

    /// Charges `usage` to the request that the job belongs to.
    pub fn charge(&self, usage: ResourceUsage) {
        if let Some(meter) = &self.meter {
            meter.charge(usage);
        }
    }

    /// Whether the client has gone.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.reply.is_closed()
    }
}

/// Priority of a job among those of the same tenant, from 0 (last) to 9 (first).
///
/// Each step is worth 100 ms in the queue: a job is served before jobs of the next lower priority that arrived up to
/// 100 ms earlier, but not before older ones. So no job waits for ever, whatever arrives after it.
///
/// ```
/// use std::time::{Duration, Instant};
///
/// use ounce::scheduler::job::Priority;
///
/// let now = Instant::now();
/// let usual = Priority::default().effective_arrival(now);
/// assert!(Priority::FIRST.effective_arrival(now) < usual);
/// // A job of the lowest priority that arrived a second earlier is served before one of the usual priority.
/// assert!(Priority::LAST.effective_arrival(now - Duration::from_secs(1)) < usual);
/// assert_eq!(Priority::new(10), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority(u8);

impl Priority {
    /// The highest priority.
    pub const FIRST: Self = Self(9);
    /// The lowest priority.
    pub const LAST: Self = Self(0);

    const STEP: Duration = Duration::from_millis(100);

    /// Makes a priority of a number from 0 to 9; none for other numbers.
    #[must_use]
    pub fn new(priority: u8) -> Option<Self> {
        (priority <= Self::FIRST.0).then_some(Self(priority))
    }

    /// The same priority, or the highest that is allowed.
    #[must_use]
    pub fn at_most(self, highest: u8) -> Self {
        Self(self.0.min(highest))
    }

    /// Arrival time that the queue sorts by: the real one, 100 ms later for each step below the highest priority.
    #[must_use]
    pub fn effective_arrival(self, queued_at: Instant) -> Instant {
        queued_at + Self::STEP * u32::from(Self::FIRST.0 - self.0)
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(5)
    }
}

/// Outputs of a job, and how its run went.
#[derive(Debug)]
pub struct RunOutput {
    /// The job's rows of each output of the graph, in the graph's order.
    pub outputs: Vec<Tensor>,
    /// Time that the job spent in the queue.
    pub queue_time: Duration,
    /// Duration of the run that the job was part of.
    pub run_time: Duration,
    /// Rows in that run, without padding.
    pub batch_size: usize,
}

/// Why a job has no outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobError {
    /// The job's deadline passed before it ran.
    DeadlineExceeded,
    /// The queue was full, and a tenant that had less in it came. A place may be free after that time.
    Displaced(Duration),
    /// The run failed. The text is the runtime's own and is meant for the log.
    Failed(String),
}
