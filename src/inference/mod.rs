//! One request's life: admit → decode → queue → run → read the outputs → account.
//!
//! [`Pipeline`] is what a front door (HTTP, the command line) holds. It knows no protocol; what it speaks is here and in
//! the few plain types that it passes on from the rooms below.

mod admission;
mod frontier;

mod load;
mod pictures;
mod promise;
mod repository;
mod route;
mod scaling;
mod served;
mod shadow;
mod stage;
mod tensors;
mod traffic;
mod trial;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

pub use self::{
    admission::{Deadline, Permit, RequestContext},
    frontier::FrontierPoint,
    load::{Loaded, Loader},
    pictures::{PictureAnswer, PictureFacts, PictureRequest, PostprocessOverrides},
    repository::{LastLook, ModelState},
    route::{Route, VariantPreference},
    served::{BatchAxis, ServedModel, ServedVariant},
    tensors::{TensorAnswer, TensorInputs, TensorRequest},
};
use self::{repository::Repository, scaling::Scaling, stage::CpuPool};
use crate::{
    config::Config,
    cost::{Account, BillingInfo, CpuTime, Ledger, Meter},
    engine::thread_plan::usable_cpus,
    error::Error,
    lifecycle::{Lifecycle, LifecycleState},
    telemetry::metrics::Metrics,
};
pub use crate::{
    cost::{RequestCost, Tenant},
    routing::{Objective, Reason, frontier::Point},
    scheduler::{
        job::Priority,
        latency_profile::ProfilePoint,
        stats::{SizeStats, StatisticDuration, VariantStats},
    },
    vision::{
        answer::{BBox, Class, Detection, PostprocessOptions, Prediction},
        decode::Format,
        draw::ImageFormat,
        tensor::{ElementType, Port, Tensor, in_words},
    },
};

/// Everything between a front door and the sessions. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Pipeline(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Config,
    lifecycle: Lifecycle,
    metrics: Arc<Metrics>,
    repository: Repository,
    /// A permit a request, from before its body is read until its answer is there.
    in_flight: Arc<Semaphore>,
    /// Bytes → tensor.
    decoding: CpuPool,
    /// Outputs → answer, and other work of no more than a moment: so that it never waits behind a large picture.
    reading: CpuPool,
    /// A permit a KiB of bodies in memory.
    body_kib: Arc<Semaphore>,
    ledger: Arc<Ledger>,
    scaling: Scaling,
    scraping: Mutex<()>,
}

/// Where a request's time went, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Timing {
    /// Bytes → pixels.
    pub decode_ms: f64,
    /// Pixels → tensor.
    pub preprocess_ms: f64,
    /// Pending for a decode thread and for a session.
    pub queue_ms: f64,
    /// The run that it was part of.
    pub inference_ms: f64,
    /// Outputs → answer, and drawing where it was asked for.
    pub postprocess_ms: f64,
    /// From the last byte of the request to the answer.
    pub total_ms: f64,
}

impl Pipeline {
    /// A pipeline without models, in state [`LifecycleState::Starting`].
    ///
    /// # Errors
    /// When metrics clash, which a test would show.
    pub fn new(config: Config) -> anyhow::Result<Self> {
        let cpus = usable_cpus();
        let metrics = Arc::new(Metrics::new()?);
        let inner = Inner {
            lifecycle: Lifecycle::default(),
            scaling: Scaling::default(),
            scraping: Mutex::default(),
            ledger: Ledger::new(&config, Arc::clone(&metrics)),
            metrics,
            repository: Repository::default(),
            in_flight: semaphore(config.requests.max_in_flight.get()),
            decoding: CpuPool::new(config.threads.decode.or(cpus)),
            reading: CpuPool::new(config.threads.decode.or(cpus)),
            body_kib: semaphore(config.requests.max_body_bytes.get().div_ceil(1024)),
            config,
        };
        inner.metrics.cpus(cpus, inner.decoding.threads());
        Ok(Self(Arc::new(inner)))
    }

    /// The CPUs that this process may use, and the threads that decode.
    #[must_use]
    pub fn threads(&self) -> (usize, usize) {
        (usable_cpus(), self.0.decoding.threads())
    }

    /// The settings in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Where the server is in its life.
    #[must_use]
    pub fn state(&self) -> LifecycleState {
        self.0.lifecycle.state()
    }

    /// Turns `/readyz` to 503; requests are still answered.
    pub fn drain(&self) {
        self.0.lifecycle.advance(LifecycleState::Draining);
    }

    /// The metrics of this server.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// Counts a refusal that belongs to no model. Before models are loaded, that is the reason for all of them.
    fn refused(&self, error: Error) -> Error {
        let error = if self.state() == LifecycleState::Starting { Error::Starting } else { error };
        self.metrics().refused("", error.reason());
        error
    }

    /// Work on a thread of a stage: waits for one, and says how long it waited, and what the work used.
    async fn on_thread<T: Send + 'static>(
        &self,
        stage: &CpuPool,
        model: &str,
        meter: Option<&Arc<Meter>>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<(T, BudgetExceeded), Error> {
        let asked = Instant::now();
        let failed = |cause: String| Error::ModelFailed { model: model.to_owned(), cause };
        let thread = stage.thread().await.map_err(|error| failed(error.to_string()))?;
        let waited = asked.elapsed();
        let (begun, meter) = (Instant::now(), meter.cloned());
        let task = tokio::task::spawn_blocking(move || {
            // Held by the work and not by the request: a client that goes away does not make room for a second decode
            // while the first still runs.
            let _thread = thread;
            let cpu = CpuTime::of_this_thread();
            let value = work();
            let used = CpuTime::of_this_thread_since(cpu);
            meter.iter().for_each(|meter| meter.charge(used.into()));
            (value, used)
        });
        let (value, cpu) = task.await.map_err(|error| failed(format!("a decode thread failed: {error}")))?;
        Ok((value, BudgetExceeded { waited, took: begun.elapsed(), cpu }))
    }

    /// Work that a front door would not do on the threads that serve its sockets. `None` when it panicked.
    pub async fn aside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        self.on_thread(&self.0.reading, "", None, work).await.ok().map(|(value, _)| value)
    }

    /// The text that Prometheus scrapes.
    #[must_use]
    pub fn render_metrics(&self) -> String {
        // One after the other, or one would forget what the other has just read.
        let _reading = self.0.scraping.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.ledger.balance();
        self.metrics().forget_readings();
        for model in self.models() {
            self.metrics().waiting(&model.name, model.waiting());
            for variant in &model.variants {
                if let Some(usd) = variant.typical_usd.get() {
                    self.metrics().costs(&model.name, &variant.name, usd);
                }
                if let (Some(shadow), Some(agreement)) = (&model.shadow, variant.agreement.so_far()) {
                    self.metrics().agrees(&model.name, &variant.name, &shadow.variant, agreement);
                }
                for of in variant.curve() {
                    let percentiles = [("50", of.p50), ("90", of.p90), ("99", of.p99)];
                    self.metrics().curve(&model.name, &variant.name, of.rows, &percentiles);
                }
            }
        }
        self.metrics().render()
    }

    /// Whose request it is, by its API keys or the header that a proxy set.
    #[must_use]
    pub fn tenant(&self, keys: [Option<&str>; 2], header: impl FnOnce(&str) -> Option<String>) -> Tenant {
        let tenants = &self.0.ledger.tenants;
        tenants.find(keys, tenants.header.as_deref().and_then(header).as_deref())
    }

    /// Counts what is used for one answer of a variant.
    fn meter(&self, account: Account, model: &ServedModel, variant: &ServedVariant, tenant: Tenant) -> Arc<Meter> {
        let (model, variant) = (model.name.as_str().into(), variant.name.as_str().into());
        Meter::new(&self.0.ledger, BillingInfo { account, model, variant, tenant })
    }

    /// Counts how a request ended, and logs what is ours to mend.
    fn ended<T>(&self, model: &ServedModel, variant: &str, result: Result<T, Error>) -> Result<T, Error> {
        if let Err(error) = &result {
            if let Error::ModelFailed { model, cause } = error {
                tracing::error!(model, variant, cause, "a request failed");
                self.0.metrics.failed(model, variant);
            } else {
                let reason = match error {
                    // Another replica would not have been in time, either.
                    Error::DeadlinePassed { deadline_ms } if *deadline_ms < ms(model.alone(variant)) => "too_short",
                    _ => error.reason(),
                };
                self.0.metrics.refused(&model.name, reason);
            }
        }
        result
    }
}

/// What a piece of work on a decode thread took.
#[derive(Debug, Clone, Copy)]
struct BudgetExceeded {
    waited: Duration,
    /// From there on, the way to the thread and back included.
    took: Duration,
    cpu: CpuTime,
}

/// As many permits as asked for, or as tokio can count.
fn semaphore(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS)))
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
