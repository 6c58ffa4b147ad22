//! A request as the queue sees it, and what comes back.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::{cost::CpuTime, vision::tensor::Tensor};

/// Inputs that wait for a session.
#[derive(Debug)]
pub struct Job {
    /// The graph's inputs, in its order.
    pub inputs: Vec<Tensor>,
    /// May it share a run with others? Only what has one row may.
    pub shares: bool,
    /// When it was put into the queue.
    pub queued_at: Instant,
    /// After this nobody wants the answer.
    pub deadline: Instant,
    /// Where the answer goes; closed when the client has gone.
    pub reply: oneshot::Sender<Result<Ran, JobError>>,
}

/// Outputs, and how they came about.
#[derive(Debug)]
pub struct Ran {
    /// The graph's outputs, in its order, for this job alone.
    pub outputs: Vec<Tensor>,
    /// Time in the queue.
    pub queued: Duration,
    /// Time of the run that it was part of.
    pub ran: Duration,
    /// Jobs in that run.
    pub batch_size: usize,
    /// Its share of the CPU time of that run.
    pub cpu: CpuTime,
}

/// Why a job has no outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobError {
    /// Its deadline passed before its turn.
    Late,
    /// The run failed; the runtime's words, for the log.
    Failed(String),
}
