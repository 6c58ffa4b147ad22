//! Runs an admitted request within its deadline, finishes its record and bills it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::oneshot, time::timeout_at};

use super::{
    admission::Admitted,
    call::RequestContext,
    cpu_pool::PieceError,
    forecast::too_slow,
    record::{Outcome, RequestRecord},
    response::{Response, Timing},
};
use crate::{
    cost::{Account, BillingInfo, Ledger, Meter},
    error::Error,
    manifest::VariantId,
    models::{Model, Variant},
    scheduler::{
        backlog::PushError,
        job::{Job, JobError, RunOutput},
        policy::Pending,
        queue::Queue,
    },
    vision::tensor::Tensor,
};

/// What the work for a request needs: model, variant, deadline, and the meter.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub model: Arc<Model>,
    pub variant: VariantId,
    pub context: RequestContext,
    /// Counts what is used for the request.
    pub meter: Arc<Meter>,
}

impl Run {
    /// Work for a variant, charged to an account.
    pub(super) fn new(
        ledger: &Arc<Ledger>,
        account: Account,
        model: &Arc<Model>,
        variant: VariantId,
        context: RequestContext,
    ) -> Self {
        let name = model.variant(variant).info.name.as_str().into();
        let bill = BillingInfo {
            account,
            model: model.info.name.as_str().into(),
            variant: name,
            tenant: context.tenant,
            allowance: context.allowance.clone(),
        };
        Self { model: Arc::clone(model), variant, context, meter: Meter::new(ledger, bill) }
    }

    /// The variant that answers.
    pub(super) fn variant(&self) -> &Variant {
        self.model.variant(self.variant)
    }

    /// How long an answer takes when no other request is in its way.
    fn alone(&self) -> Duration {
        self.variant().queue.service_times().fastest + self.model.routing.demand.overhead()
    }

    /// The refusal of a request whose deadline has passed.
    pub(super) fn deadline_exceeded(&self) -> Error {
        self.context.deadline.exceeded(self.alone())
    }

    /// Its arrival, in which its priority counts.
    pub(super) fn arrival(&self) -> Instant {
        self.context.priority.effective_arrival(Instant::now())
    }

    /// The refusal or the failure of a request whose work was not done.
    pub(super) fn not_done(&self, not_done: PieceError) -> Error {
        match not_done {
            PieceError::TooLate => self.deadline_exceeded(),
            PieceError::Failed(cause) => self.failed(cause),
        }
    }

    fn queue_full(&self, retry_after: Duration) -> Error {
        Error::QueueFull { model: self.model.info.name.clone(), waiting: self.model.info.max_queue, retry_after }
    }

    /// The failure of the model, with its cause for the log.
    pub(super) fn failed(&self, cause: String) -> Error {
        Error::ModelFailed { model: self.model.info.name.clone(), cause }
    }

    /// Queues inputs and waits for their outputs. When this future is dropped, the job is never computed.
    pub(super) async fn queue(&self, inputs: Vec<Tensor>) -> Result<RunOutput, Error> {
        let RequestContext { deadline, priority, share, .. } = self.context;
        let variant = self.variant();
        let (reply, answer) = oneshot::channel();
        let batchable = variant.info.batch_axis.is_free();
        let rows = inputs.get(variant.preprocessor.image_input()).and_then(|input| input.shape().first()).copied();
        // If the batch axis is fixed, the first dimension may mean something else.
        let rows = if batchable { rows.unwrap_or(1) } else { 1 };
        let pending = Pending { rows, batchable, queued_at: Instant::now(), deadline: deadline.at };
        let job = Job { inputs, pending, priority, share, reply, meter: Some(Arc::clone(&self.meter)) };
        variant.queue.push(job).map_err(|refusal| match refusal {
            PushError::Full(retry_after) => self.queue_full(retry_after),
            PushError::TooSlow(expected) => {
                let hopeless = variant.queue.service_times().fastest > deadline.left();
                too_slow(&self.model.info.name, expected, hopeless, deadline)
            }
            PushError::DeadlineExceeded => self.deadline_exceeded(),
            PushError::Closed => Error::Closed,
        })?;
        let mut leaving = Leaving { queue: &variant.queue, answered: false };
        let answer = answer.await;
        leaving.answered = true;
        match answer {
            Ok(Ok(ran)) => Ok(ran),
            Ok(Err(JobError::Displaced(retry_after))) => Err(self.queue_full(retry_after)),
            Ok(Err(JobError::DeadlineExceeded)) => Err(self.deadline_exceeded()),
            Ok(Err(JobError::Failed(cause))) => Err(self.failed(cause)),
            Err(_) => Err(self.failed("the worker went away".to_owned())),
        }
    }
}

/// Guards a waiting job: if the request is dropped before its answer, the job is removed from the queue.
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

/// Does the work of an admitted request within its deadline, then finishes the record: the one place where an answer gets its
/// price.
pub(super) async fn run<T>(
    admitted: Admitted,
    work: impl AsyncFnOnce(&Run, &mut RequestRecord) -> Result<T, Error>,
) -> Result<Response<T>, Error> {
    let Admitted { inference, permit, mut record, route, context, .. } = admitted;
    let (started, deadline) = (Instant::now(), context.deadline);
    let run = Run::new(&inference.ledger, Account::Request, &record.model, route.variant, context);
    record.begin();
    let working = inference.working.enter();
    let result = timeout_at(deadline.at.into(), work(&run, &mut record)).await;
    let output = match result.unwrap_or_else(|_| Err(run.deadline_exceeded())) {
        Ok(output) => output,
        Err(error) => return Err(record.fail(error)),
    };
    record.total = started.elapsed();
    let cost = run.meter.bill();
    drop(working);
    inference.pace.answered(cost.cpu_seconds, inference.working.count(), Instant::now());
    let timing = Timing { stages: record.stages, total: record.total };
    let (batch_size, model) = (record.batch_size, run.model);
    record.finish(&Outcome::Answered(&cost));
    let (variant, reason) = (route.variant, route.reason);
    Ok(Response { model, variant, reason, output, timing, batch_size, cost, permit })
}
