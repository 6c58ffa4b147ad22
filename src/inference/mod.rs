//! One request's life: reserve → admit → run → [`Response`], for every front door.
//!
//! In: a [`Target`], a tenant, [`Terms`], then an image or tensors. Out: a [`Response`] with the answer, where its time went
//! and what it cost, or an [`Error`](crate::error::Error). This room knows no protocol.
//!
//! - [`call`]: what a front door asks for.
//! - [`admission`]: the one way in. `permit` bounds how many come in: `coming` those whose bodies are still to come, `memory` what
//!   all of them take. `select` chooses the variant, `forecast` says when the answer would come.
//! - [`images`], [`tensors`]: what is done for the two kinds of input, by `run` within the deadline, on the threads of a
//!   `cpu_pool` (`preprocess`) and in the scheduler's queues. `thread_queue` says whose image is decoded next, by what `work_times` has
//!   learned; `pace` measures how fast the queues drain.
//! - `record`: what is known about a request; `observers` and `shadow` hear how it ended.
//! - [`tick`](mod@tick), `readings`, [`frontier`](mod@frontier): what is done once a second, what the gauges show, what variants can do.

pub mod admission;
pub mod call;
mod coming;
mod cpu_pool;
mod forecast;
pub mod frontier;
pub mod images;
mod memory;
mod observers;
mod pace;
pub mod permit;
mod places;
mod preprocess;
mod readings;
mod record;
pub mod response;
mod run;
mod select;
mod shadow;
pub mod tensors;
mod thread_queue;
pub mod tick;
mod work_times;

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

pub use self::{
    admission::{Admitted, Reserved},
    call::{Deadline, InputKind, Target, Terms},
    images::{ImageInput, ImageRequest, PostprocessOverrides},
    permit::Permit,
    response::{DrawnImage, ImageFacts, ImageOutput, Response, TensorOutputs, Timing},
    tensors::TensorInputs,
    tick::ReplicaLoad,
};
use self::{
    cpu_pool::CpuPool,
    forecast::ForecastGuard,
    observers::{CountInMetrics, LearnDemand, TallyLoad},
    pace::DrainPace,
    permit::Gate,
    record::Observers,
    shadow::Shadow,
};
use crate::{
    capacity::CapacityEstimator,
    config::Config,
    cost::{Ledger, longest_pause},
    engine::thread_plan::usable_cpus,
    lifecycle::Lifecycle,
    limits::Limiter,
    models::{Model, ModelError, Repository, Selection},
    stats::InFlight,
    telemetry::metrics::{GaugeSource, Metrics},
    vision::header::{ImageHeader, read_header},
};
// What front doors put into their terms.
pub use crate::{routing::policy::VariantPreference, scheduler::job::Priority};

/// Everything between a front door and the sessions. Front doors share it.
#[derive(Debug)]
pub struct Inference {
    config: Arc<Config>,
    lifecycle: Arc<Lifecycle>,
    metrics: Arc<Metrics>,
    ledger: Arc<Ledger>,
    limiter: Arc<Limiter>,
    models: Repository,
    gate: Arc<Gate>,
    /// Threads for work whose time grows with the size of the image: decoding, preprocessing, drawing.
    decoding: CpuPool,
    /// Threads for work of a moment, so that it never waits behind a large image.
    postprocessing: CpuPool,
    /// Requests that are being answered.
    working: InFlight,
    /// How fast work is done while some of it waits.
    pace: DrainPace,
    observers: Observers,
    estimator: Mutex<CapacityEstimator>,
    load: Mutex<ReplicaLoad>,
    /// Refusals since the last tick, by whichever part of the server.
    refused: AtomicU64,
}

impl Inference {
    /// A server without models, in state [`LifecycleState::Starting`](crate::lifecycle::LifecycleState::Starting).
    ///
    /// # Errors
    /// When two metrics have the same name; any test that starts a server would show it.
    pub fn new(config: Config) -> anyhow::Result<Arc<Self>> {
        let (config, lifecycle) = (Arc::new(config), Arc::new(Lifecycle::default()));
        let metrics = Arc::new(Metrics::new()?);
        let ledger = Ledger::new(&config, Arc::clone(&metrics));
        let limiter = Limiter::new(&config, Arc::clone(&metrics));
        let models =
            Repository::new(Arc::clone(&config), Arc::clone(&lifecycle), Arc::clone(&ledger), Arc::clone(&metrics));
        let threads = config.threads.decode.or(usable_cpus());
        let this = Arc::new_cyclic(|this| Self {
            gate: Arc::new(Gate::new(&config, ledger.tenants.count())),
            decoding: CpuPool::new(threads),
            postprocessing: CpuPool::new(threads),
            working: InFlight::default(),
            pace: DrainPace::new(ledger.cpus, longest_pause(), threads),
            observers: Arc::new([
                Box::new(CountInMetrics),
                Box::new(LearnDemand),
                Box::new(TallyLoad),
                Box::new(ForecastGuard),
                Box::new(Shadow(this.clone())),
            ]),
            estimator: Mutex::new(CapacityEstimator::new(ledger.cpus, Instant::now())),
            load: Mutex::default(),
            refused: AtomicU64::new(0),
            config,
            lifecycle,
            metrics,
            ledger,
            limiter,
            models,
        });
        let source: Arc<dyn GaugeSource> = Arc::<Self>::clone(&this);
        this.metrics.read_gauges_from(Arc::downgrade(&source))?;
        Ok(this)
    }

    /// Loads the selected models; the server is then ready. Blocks.
    ///
    /// # Errors
    /// When a model cannot be served: all that is wrong, each in one sentence.
    pub fn load(&self, only: &Selection) -> Result<(), Vec<ModelError>> {
        self.models.load_all(only)
    }

    /// Ends the workers, and forgets the models. Blocks.
    pub fn close(&self) {
        self.models.close();
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where the server is in its life.
    #[must_use]
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// The models that are served.
    #[must_use]
    pub fn models(&self) -> &Repository {
        &self.models
    }

    /// The metrics of this server.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Where the money goes, and who pays.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The deadline of a request for a model: what the request names, else the model's promise, else that of the settings.
    #[must_use]
    pub fn deadline(&self, model: &Model, received: Instant, asked: Option<Duration>) -> Deadline {
        let budget = asked.or(model.routing.policy.slo).unwrap_or(self.config.requests.deadline);
        Deadline::after(received, budget)
    }

    /// The header of an image, unless it is one that is refused for its size anyway.
    fn header(&self, image: &[u8]) -> Option<ImageHeader> {
        read_header(image).filter(|header| header.pixels <= self.config.images.max_pixels)
    }

    /// How much clients may ask for.
    #[must_use]
    pub fn limiter(&self) -> &Arc<Limiter> {
        &self.limiter
    }

    /// The number of threads that decode.
    #[must_use]
    pub fn decode_threads(&self) -> usize {
        self.decoding.threads()
    }

    /// Does work that a front door would not do on the threads that serve its sockets. `None` when it panicked.
    pub async fn spawn_cpu<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        self.postprocessing.run(None, work).await.ok().map(|(value, _)| value)
    }

    /// Counts a refusal, for a model where one is known, else for "". Front doors call this for each that they send.
    pub fn refused(&self, model: &str, reason: &str) {
        self.metrics.refused(model, reason);
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    #[expect(clippy::cast_precision_loss, reason = "few enough a second")]
    fn take_refused(&self) -> f64 {
        self.refused.swap(0, Ordering::Relaxed) as f64
    }

    /// The load of this replica at the last tick.
    #[must_use]
    pub fn replica_load(&self) -> ReplicaLoad {
        self.load.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn publish(&self, load: ReplicaLoad) {
        *self.load.lock().unwrap_or_else(PoisonError::into_inner) = load;
    }

    fn estimator(&self) -> MutexGuard<'_, CapacityEstimator> {
        self.estimator.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
