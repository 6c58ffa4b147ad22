//! The one way in, for every front door: reserve → admit → run. The types allow no other order: only [`Admitted`] has methods
//! that run, and it is made by reserving and admitting.
//!
//! A request whose body is in memory reserves a place in flight ([`Inference::reserve`]). One whose body is still to come first
//! gets the right to send it ([`Inference::receive`]), and its place when it runs: who only announces a body takes nothing from others.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::{
    Inference,
    call::{Asker, InputKind, RequestContext, Target, Terms},
    forecast::{Forecast, Forecasts},
    images::{self, ImageRequest},
    observers::is_for_room,
    permit::Permit,
    record::{RequestRecord, Route},
    response::{ImageOutput, Response, TensorOutputs},
    select,
    tensors::{self, TensorInputs},
    work_times::WorkEstimate,
};
use crate::{
    config::Task,
    cost::{BudgetExceeded, BudgetState, Tenant},
    error::Error,
    lifecycle::LifecycleState,
    limits::Allowance,
    models::Model,
};

/// Once the body has been read, a forecast that is older than this is made again.
const FRESH: Duration = Duration::from_millis(10);

/// An image that takes so much longer to decode than most gets a forecast of its own.
const NOTEWORTHY: Duration = Duration::from_millis(2);

/// A request that is let in and has a model. Which variant answers is still open.
#[derive(Debug)]
pub struct Reserved {
    inference: Arc<Inference>,
    permit: Permit,
    record: RequestRecord,
    tenant: Tenant,
    allowance: Option<Allowance>,
}

/// A request that is admitted: it has a variant, and a forecast of its answer that is in time.
#[derive(Debug)]
#[must_use = "an admitted request is answered by running it"]
pub struct Admitted {
    pub(super) inference: Arc<Inference>,
    pub(super) permit: Arc<Permit>,
    pub(super) record: RequestRecord,
    pub(super) route: Route,
    pub(super) context: RequestContext,
    pub(super) forecast: Option<Forecast>,
    /// Whether other images of the same request run beside this one.
    one_of_several: bool,
}

impl Inference {
    /// The model that a request is for.
    ///
    /// # Errors
    /// [`Error::Starting`] before models are loaded, [`Error::UnknownModel`], [`Error::NoModelForTask`], or
    /// [`Error::BadParameter`] where the named model answers another task.
    pub fn find(&self, target: &Target) -> Result<Arc<Model>, Error> {
        if self.lifecycle.state() == LifecycleState::Starting {
            return Err(Error::Starting);
        }
        match target {
            Target::Task(task) => self.models.model_for(*task),
            Target::Model { name, task } => self.models.model(name).and_then(|model| answers(model, *task)),
        }
    }

    /// Takes a place for a request that is there already.
    ///
    /// # Errors
    /// [`Error::Busy`] when all places are taken, [`Error::OverBudget`] when the tenant may spend nothing.
    pub fn reserve(self: &Arc<Self>, model: Arc<Model>, tenant: Tenant) -> Result<Reserved, Error> {
        self.let_in(model, tenant, true, self.gate.enter(tenant, || self.decoding.expected()))
    }

    /// Lets a request send its body, from this address. It takes its place when it runs.
    ///
    /// # Errors
    /// [`Error::Busy`] when all places are taken at this moment, [`Error::TooManyBodies`] when its sender has too many bodies coming,
    /// [`Error::OverBudget`] when the tenant may spend nothing.
    pub fn receive(
        self: &Arc<Self>,
        model: Arc<Model>,
        tenant: Tenant,
        address: Option<IpAddr>,
    ) -> Result<Reserved, Error> {
        self.let_in(model, tenant, false, self.gate.receive(address, tenant, || self.decoding.expected()))
    }

    /// Lets a request send its body before anybody knows which model it asks: over gRPC, the body says so.
    ///
    /// # Errors
    /// [`Error::Busy`] and [`Error::TooManyBodies`], as [`Inference::receive`].
    pub fn receive_unnamed(&self, tenant: Tenant, address: Option<IpAddr>) -> Result<Permit, Error> {
        self.gate.receive(address, tenant, || self.decoding.expected())
    }

    /// Goes on with a request that was received so, once its model is known.
    ///
    /// # Errors
    /// [`Error::OverBudget`] when the tenant may spend nothing.
    pub fn name(self: &Arc<Self>, permit: Permit, model: Arc<Model>, tenant: Tenant) -> Result<Reserved, Error> {
        self.let_in(model, tenant, true, Ok(permit))
    }

    fn let_in(
        self: &Arc<Self>,
        model: Arc<Model>,
        tenant: Tenant,
        has_body: bool,
        permit: Result<Permit, Error>,
    ) -> Result<Reserved, Error> {
        let mut record = RequestRecord::new(&self.observers, model);
        record.has_body = has_body;
        let permit = match permit {
            Ok(permit) => permit,
            Err(error) => return Err(record.fail(error)),
        };
        match self.budget(tenant) {
            Ok(_) => Ok(Reserved { inference: Arc::clone(self), permit, record, tenant, allowance: None }),
            Err(error) => Err(record.fail(error)),
        }
    }

    /// Counts a request of this model that was refused before its body came, for this reason, now that its body has come all the same: its
    /// client wanted an answer. Where the reason is want of room, another replica would have given one.
    pub fn count_refused_body(&self, model: &str, reason: &str) {
        if is_for_room(reason)
            && let Ok(model) = self.models.model(model)
        {
            model.tally.refused_for_room();
        }
    }

    /// What the tenant may spend at this moment.
    fn budget(&self, tenant: Tenant) -> Result<BudgetState, Error> {
        self.ledger.budget_state(tenant).map_err(|BudgetExceeded { tenant, usd_per_hour, retry_after }| {
            Error::OverBudget { tenant, usd_per_hour, retry_after }
        })
    }

    /// Reserves, admits and runs in one step, for callers that have the image in memory already.
    ///
    /// # Errors
    /// As [`Reserved::admit`] and [`Admitted::run_image`].
    pub async fn answer(
        self: &Arc<Self>,
        model: &Arc<Model>,
        terms: &Terms,
        request: ImageRequest,
    ) -> Result<Response<ImageOutput>, Error> {
        self.reserve(Arc::clone(model), Tenant::default())?.admit(terms)?.run_image(request).await
    }
}

/// Returns the model if it answers `task`, or if no task is asked for.
fn answers(model: Arc<Model>, task: Option<Task>) -> Result<Arc<Model>, Error> {
    match task {
        Some(task) if model.info.task != task => {
            let (name, other) = (&model.info.name, model.info.task);
            let why = format!("`{name}` answers {other}, not {task}; ask it at /v1/{other}");
            Err(Error::BadParameter { name: "model".to_owned(), why })
        }
        _ => Ok(model),
    }
}

impl Reserved {
    /// The model that it is for.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.record.model
    }

    /// Draws its pixels and its price from these limits, where there are any.
    #[must_use]
    pub fn limited_by(self, allowance: Option<&Allowance>) -> Self {
        Self { allowance: allowance.cloned(), ..self }
    }

    /// Takes memory for what has come of the body, so many bytes in all.
    ///
    /// # Errors
    /// [`Error::NoRoom`], [`Error::TooManyBodies`] and [`Error::TooLarge`], as [`Permit::hold`] says.
    pub fn hold(&self, bytes: usize) -> Result<(), Error> {
        self.record.hold(&self.permit, bytes)
    }

    /// Says that the whole body is there.
    pub fn body_is_there(&mut self) {
        self.record.has_body = true;
    }

    /// Gives back all but so many bytes of the memory that the body has taken.
    pub fn shrink_body(&self, bytes: usize) {
        self.permit.shrink_body(bytes);
    }

    /// Chooses the variant and forecasts its answer.
    ///
    /// # Errors
    /// [`Error::NoVariant`] when no variant meets a limit, [`Error::BadParameter`] for a variant that does not exist,
    /// [`Error::TooSlow`] when the answer to an image would come after its deadline, [`Error::OverBudget`] when the
    /// tenant's money was spent while the body was read.
    pub fn admit(self, terms: &Terms) -> Result<Admitted, Error> {
        let Self { inference, permit, mut record, tenant, allowance } = self;
        let model = Arc::clone(&record.model);
        let tenants = &inference.ledger.tenants;
        let asker =
            Asker { share: tenants.share(tenant), priority: terms.priority.at_most(tenants.max_priority(tenant)) };
        let selected =
            inference.budget(tenant).and_then(|budget| select::select(&inference, &model, terms, asker, budget));
        let selected = match selected {
            Ok(selected) => selected,
            Err(error) => return Err(record.fail(error)),
        };
        let route = selected.route;
        record.admit(route);
        let forecast = match (terms.input, selected.forecasts) {
            (InputKind::Tensors, _) => None,
            // Each gets a forecast when it runs, since it has the others ahead of it.
            (InputKind::Images(several), _) if several > 1 => {
                record.holds(several);
                None
            }
            (InputKind::Images(_), Some(forecasts)) => Some(forecasts.own),
            (InputKind::Images(_), None) => {
                Some(Forecasts::new(&inference, model.variant(route.variant), asker, None).own)
            }
        };
        if let Some(Err(error)) = forecast.map(|forecast| forecast.check_deadline(&model.info.name, terms.deadline)) {
            return Err(record.fail(error));
        }
        let Asker { share, priority } = asker;
        let context = RequestContext { deadline: terms.deadline, priority, tenant, share, allowance };
        Ok(Admitted { inference, permit: Arc::new(permit), record, route, context, forecast, one_of_several: false })
    }
}

impl Admitted {
    /// The model that answers.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.record.model
    }

    /// Takes the place in flight, now that the body is there.
    pub(super) fn take_place(&mut self) -> Result<(), Error> {
        self.record.has_body = true;
        self.permit.take_place(|| self.inference.decoding.expected())?;
        self.record.arrived();
        Ok(())
    }

    /// Takes memory for what has come of the body, so many bytes in all.
    ///
    /// # Errors
    /// [`Error::NoRoom`], [`Error::TooManyBodies`] and [`Error::TooLarge`], as [`Permit::hold`] says.
    pub fn hold(&self, bytes: usize) -> Result<(), Error> {
        self.record.hold(&self.permit, bytes)
    }

    /// Answers an image.
    ///
    /// # Errors
    /// [`Error::Busy`] when all places are taken by now, [`Error::TooSlow`] when the forecast has become worse since the
    /// admission, or an error of decoding, queueing or running. When this future is dropped, what is not computed yet never is.
    pub async fn run_image(mut self, request: ImageRequest) -> Result<Response<ImageOutput>, Error> {
        if let Err(error) = self.take_place() {
            return Err(self.record.fail(error));
        }
        images::run_image(self, request).await
    }

    /// Runs the graph on tensors, or on encoded images.
    ///
    /// # Errors
    /// [`Error::BadParameter`] names the input that does not fit and the shape that would; else as
    /// [`Admitted::run_image`].
    pub async fn run_tensors(mut self, inputs: TensorInputs) -> Result<Response<TensorOutputs>, Error> {
        if let Err(error) = self.take_place() {
            return Err(self.record.fail(error));
        }
        tensors::run_tensors(self, inputs).await
    }

    /// One admitted request for each of several images that came together. They share the place, which stays taken as long as
    /// somebody holds the permit.
    ///
    /// # Errors
    /// [`Error::Busy`] when all places are taken by now.
    pub fn split(mut self, images: usize) -> Result<(Arc<Permit>, Vec<Self>), Error> {
        if let Err(error) = self.take_place() {
            return Err(self.record.fail(error));
        }
        let place = Arc::clone(&self.permit);
        self.record.holds(images);
        self.record.images = 1;
        self.one_of_several = images > 1;
        let others: Vec<Self> = (1..images)
            .map(|_| Self {
                inference: Arc::clone(&self.inference),
                permit: Arc::clone(&self.permit),
                record: self.record.for_image(),
                context: self.context.clone(),
                ..self
            })
            .collect();
        Ok((place, std::iter::once(self).chain(others).take(images).collect()))
    }

    /// The forecast made at admission, or a new one if the body took long, other images of the same request run beside this
    /// one, or the header of the image says that it takes longer than most.
    ///
    /// # Errors
    /// [`Error::TooSlow`] when the answer would come after its deadline by now.
    pub(super) fn fresh_forecast(&self, work: Option<WorkEstimate>) -> Result<Option<Forecast>, Error> {
        let Some(forecast) = self.forecast else { return Ok(None) };
        let left = self.context.deadline.left();
        let unusual = self.inference.decoding.typical() + NOTEWORTHY;
        let large = work.is_some_and(|work| work.expected > unusual || work.least > left);
        if forecast.made_at.elapsed() < FRESH && !self.one_of_several && !large {
            return Ok(Some(forecast.renewed()));
        }
        let variant = self.record.model.variant(self.route.variant);
        let forecast = Forecasts::new(&self.inference, variant, self.context.asker(), work).own;
        forecast.check_deadline(&self.record.model.info.name, self.context.deadline)?;
        Ok(Some(forecast))
    }
}
