//! A model as it is served: facts for everybody, queues for this room.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::sync::oneshot;

use super::{
    Deadline, RequestContext, ms,
    promise::ForecastErrors,
    route::Routing,
    shadow::{Agreement, Shadow},
    stage::InFlight,
    traffic::Traffic,
};
use crate::{
    config::Provider,
    cost::Meter,
    error::Error,
    manifest::{Decoding, Task},
    scheduler::{
        backlog::PushError,
        job::{Job, JobError, RunOutput},
        latency_profile::ProfilePoint,
        policy::Pending,
        queue::Queue,
        stats::VariantStats,
    },
    stats::Ewma,
    vision::{
        answer::PostprocessOptions,
        outputs::Postprocessor,
        prepare::Preprocessor,
        tensor::{Port, Tensor},
    },
};

/// A loaded model.
#[derive(Debug)]
pub struct ServedModel {
    /// Its folder's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it answers.
    pub task: Task,
    /// The class names.
    pub labels: Vec<String>,
    /// How its outputs are read.
    pub decoding: Decoding,
    /// What holds where a request says nothing.
    pub defaults: PostprocessOptions,
    /// Width and height of its input in pixels.
    pub input_size: (u32, u32),
    /// The graph's inputs.
    pub inputs: Vec<Port>,
    /// The graph's outputs.
    pub outputs: Vec<Port>,
    /// Which of the inputs takes the picture.
    pub picture_input: usize,
    /// The most requests that wait for a variant.
    pub max_queue: usize,
    /// Its variants, the default first.
    pub variants: Vec<ServedVariant>,
    /// The metric by which variants are compared: one that all of them have, if there is one.
    pub metric: Option<String>,
    pub(super) routing: Routing,
    pub(super) shadow: Option<Shadow>,
    pub(super) traffic: Traffic,
}

/// Whether a graph takes several pictures at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchAxis {
    /// One picture a run.
    Fixed,
    /// Any number; the file says one, and the axis was freed when it was loaded.
    Freed,
    /// Any number.
    Free,
}

impl BatchAxis {
    /// Free when every input and output leaves its first dimension free. That may be another axis all the same (the
    /// boxes of one picture), so it has to be tried.
    pub(super) fn declared(inputs: &[Port], outputs: &[Port]) -> Self {
        let free = inputs.iter().chain(outputs).all(|port| matches!(port.shape.first(), Some(None)));
        if free { Self::Free } else { Self::Fixed }
    }

    /// Can pictures share a run?
    #[must_use]
    pub fn is_free(self) -> bool {
        self != Self::Fixed
    }
}

/// One file of a model, with the sessions that run it.
#[derive(Debug)]
pub struct ServedVariant {
    /// What requests call it.
    pub name: String,
    /// Is it the first: the one that answers where nothing speaks for another?
    pub default: bool,
    /// The file's name.
    pub file: String,
    /// The file's size.
    pub size_bytes: u64,
    /// Measured quality, by metric.
    pub accuracy: BTreeMap<String, f64>,
    /// The execution providers in use, in order.
    pub providers: Vec<Provider>,
    /// Those that were asked for and are not there.
    pub missing: Vec<Provider>,
    /// Sessions side by side.
    pub instances: usize,
    /// Intra-op threads a session.
    pub threads: usize,
    /// Whether several pictures can share a run.
    pub batch_axis: BatchAxis,
    /// Why they cannot, where the axis is fixed.
    pub why_fixed: Option<String>,
    /// The most pictures in a run.
    pub max_batch: usize,
    /// The graph's inputs.
    pub inputs: Vec<Port>,
    /// The graph's outputs.
    pub outputs: Vec<Port>,
    pub(super) preparer: Arc<Preprocessor>,
    pub(super) reader: Arc<Postprocessor>,
    pub(super) queue: Arc<Queue>,
    /// How many of its pictures wait to be decoded, or are.
    pub(super) decoding: InFlight,
    pub(super) surprises: ForecastErrors,
    /// Dollars an answer, lately.
    pub(super) typical_usd: Ewma,
    /// Pictures since the last look whose answers are its business.
    pub(super) asked: AtomicU64,
    /// How far its answers agreed with the shadow's, lately, 0 to 1.
    pub(super) agreement: Agreement,
}

impl ServedModel {
    /// One without variants.
    #[cfg(test)]
    pub(crate) fn for_tests() -> Self {
        Self {
            name: String::new(),
            version: String::new(),
            task: Task::Classify,
            labels: Vec::new(),
            decoding: Decoding::Softmax,
            defaults: PostprocessOptions { min_score: 0.3, iou: 0.5, max_detections: 300, top_k: 5 },
            input_size: (1, 1),
            inputs: Vec::new(),
            outputs: Vec::new(),
            picture_input: 0,
            max_queue: 1,
            variants: Vec::new(),
            metric: None,
            routing: Routing::default(),
            shadow: None,
            traffic: Traffic::default(),
        }
    }

    /// How many requests wait for it.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.variants.iter().map(|variant| variant.queue.len()).sum()
    }

    /// Ends the workers; with `abandon` at once, else when all that waits is done.
    pub(super) fn close(&self, abandon: bool) {
        self.variants.iter().for_each(|variant| variant.queue.close(abandon));
    }

    /// Queues inputs and waits for their outputs. When this future is dropped, the job is never computed.
    pub(super) async fn run(
        &self,
        variant: &ServedVariant,
        inputs: Vec<Tensor>,
        terms: RequestContext,
        meter: &Arc<Meter>,
    ) -> Result<RunOutput, Error> {
        let RequestContext { deadline, priority, tenant: _ } = terms;
        let (reply, answer) = oneshot::channel();
        let rows = inputs.get(variant.preparer.picture_input()).and_then(|input| input.shape().first()).copied();
        // Where the axis is fixed, the first dimension may be anything.
        let rows = if variant.batch_axis.is_free() { rows.unwrap_or(1) } else { 1 };
        let batchable = variant.batch_axis.is_free();
        let pending = Pending { rows, batchable, queued_at: Instant::now(), deadline: deadline.at };
        variant.queue.push(Job { inputs, pending, priority, reply, meter: Some(Arc::clone(meter)) }).map_err(
            |refusal| match refusal {
                PushError::Full(retry_after) => {
                    Error::QueueFull { model: self.name.clone(), waiting: self.max_queue, retry_after }
                }
                PushError::TooSlow(expected) => {
                    let left = deadline.at.saturating_duration_since(Instant::now());
                    self.too_slow(expected, variant.queue.fastest() > left, deadline)
                }
                PushError::DeadlineExceeded => deadline.passed(),
                PushError::Closed => Error::Closed,
            },
        )?;
        let failed = |cause: String| Error::ModelFailed { model: self.name.clone(), cause };
        let mut leaving = Leaving { queue: &variant.queue, answered: false };
        let answer = answer.await;
        leaving.answered = true;
        match answer {
            Ok(Ok(ran)) => Ok(ran),
            Ok(Err(JobError::DeadlineExceeded)) => Err(deadline.passed()),
            Ok(Err(JobError::Failed(cause))) => Err(failed(cause)),
            Err(_) => Err(failed("the worker went away".to_owned())),
        }
    }

    pub(super) fn too_slow(&self, expected: Duration, hopeless: bool, deadline: Deadline) -> Error {
        let left = deadline.at.saturating_duration_since(Instant::now());
        Error::TooSlow {
            model: self.name.clone(),
            expected_ms: ms(expected),
            deadline_ms: ms(deadline.budget),
            hopeless,
            retry_after: expected.saturating_sub(left),
        }
    }
}

/// One that waits for its answer; when it goes away without one, its job leaves the queue.
struct Leaving<'a> {
    queue: &'a Queue,
    answered: bool,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.queue.remove_unwanted();
        }
    }
}

impl ServedVariant {
    /// What runs cost here, by rows.
    #[must_use]
    pub fn curve(&self) -> Vec<ProfilePoint> {
        self.queue.profile()
    }

    /// What has been run so far.
    #[must_use]
    pub fn stats(&self) -> VariantStats {
        self.queue.stats()
    }
}

impl Drop for ServedModel {
    /// When the last request that knew it has ended, nobody can queue anything any more.
    fn drop(&mut self) {
        self.close(false);
    }
}
