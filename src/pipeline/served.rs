//! A model as it is served: facts for everybody, queues for this room.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
use tokio::sync::oneshot;

use super::Deadline;
use crate::{
    batch::{
        job::{Job, JobError, Ran},
        queue::Queue,
    },
    config::Provider,
    error::Error,
    registry::manifest::{Decoding, Task},
    router,
    vision::{
        answer::ReadOptions,
        outputs::OutputReader,
        prepare::Preparer,
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
    pub defaults: ReadOptions,
    /// Width and height of its input in pixels.
    pub input_size: (u32, u32),
    /// The graph's inputs.
    pub inputs: Vec<Port>,
    /// The graph's outputs.
    pub outputs: Vec<Port>,
    /// Which of the inputs takes the picture.
    pub picture_input: usize,
    /// The most pictures in a run.
    pub max_batch: usize,
    /// The most requests that wait.
    pub max_queue: usize,
    /// Whether several pictures can share a run.
    pub batch_axis: BatchAxis,
    /// Its variants, the default first.
    pub variants: Vec<ServedVariant>,
}

/// Whether the graph takes several pictures at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchAxis {
    /// One picture a run.
    Fixed,
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
}

/// One file of a model, with the sessions that run it.
#[derive(Debug)]
pub struct ServedVariant {
    /// What requests call it.
    pub name: String,
    /// Does it answer when a request names none?
    pub default: bool,
    /// The file's name.
    pub file: String,
    /// The file's size.
    pub size_bytes: u64,
    /// Measured quality, by metric.
    pub accuracy: BTreeMap<String, f64>,
    /// The execution providers in use, in order.
    pub providers: Vec<Provider>,
    /// Sessions side by side.
    pub instances: usize,
    /// Intra-op threads a session.
    pub threads: usize,
    /// The graph's inputs.
    pub inputs: Vec<Port>,
    /// The graph's outputs.
    pub outputs: Vec<Port>,
    pub(super) preparer: Arc<Preparer>,
    pub(super) reader: Arc<OutputReader>,
    pub(super) queue: Arc<Queue>,
}

impl ServedModel {
    /// How many requests wait for it.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.variants.iter().map(|variant| variant.queue.len()).sum()
    }

    /// The variant that answers.
    pub(super) fn variant(&self, requested: Option<&str>) -> Result<&ServedVariant, Error> {
        let names = self.variants.iter().map(|variant| variant.name.as_str());
        let unknown = |why: String| Error::BadParameter { name: "variant".to_owned(), why };
        let choice = router::choose(names, requested).map_err(|error| unknown(error.to_string()))?;
        self.variants.get(choice.variant).ok_or_else(|| unknown("the model has no variants".to_owned()))
    }

    pub(crate) fn close(&self) {
        // Requests that are still here are past the grace time.
        self.variants.iter().for_each(|variant| variant.queue.close(true));
    }

    /// Queues inputs and waits for their outputs. When this future is dropped, the job is never computed.
    pub(super) async fn run(
        &self,
        variant: &ServedVariant,
        inputs: Vec<Tensor>,
        shares: bool,
        deadline: Deadline,
    ) -> Result<Ran, Error> {
        let (reply, answer) = oneshot::channel();
        let job = Job { inputs, shares, queued_at: Instant::now(), deadline: deadline.at, reply };
        variant.queue.push(job).map_err(|_| Error::QueueFull {
            model: self.name.clone(),
            waiting: self.max_queue,
            retry_after: Duration::from_secs(1),
        })?;
        let failed = |cause: String| Error::ModelFailed { model: self.name.clone(), cause };
        match answer.await {
            Ok(Ok(ran)) => Ok(ran),
            Ok(Err(JobError::Late)) => Err(deadline.passed()),
            Ok(Err(JobError::Failed(cause))) => Err(failed(cause)),
            Err(_) => Err(failed("the worker went away".to_owned())),
        }
    }
}
