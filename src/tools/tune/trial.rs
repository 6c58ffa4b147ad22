//! Tries one setting: this process serves it on a port of its own, and loads it until it misses the goal.

use std::{num::NonZeroUsize, thread::JoinHandle, time::Duration};

use serde::Serialize;
use tokio::sync::oneshot;

use super::{Setting, TuneGoal};
use crate::{
    config::{AdminListen, AuthMode, Auto, Config, ModelOverrides},
    cost::{PriceSheet, capacity_cpus},
    http_client::Roots,
    inference::{
        Inference,
        frontier::{FrontierPoint, frontier},
    },
    models::Selection,
    server::{self, Listeners},
    tools::bench::{BenchTarget, EncodedImage, LoadPlan, LoadResult, RunControl, closed_loop, open_loop},
};

/// Warm-up of a load, as a share of its measured time.
const WARMUP: f64 = 0.2;

/// Largest number of connections that is tried.
const MAX_CONNECTIONS: usize = 256;

/// Ratio of answers a second below which more connections do not pay.
const LEAST_GAIN: f64 = 1.02;

/// Shares of the closed loop's rate at which the goal is confirmed with an open loop.
const CONFIRMED_SHARES: [f64; 5] = [0.95, 0.9, 0.8, 0.7, 0.5];

/// The model to tune, and what is sent to it.
#[derive(Debug)]
pub struct Subject {
    /// The settings that are the same for all trials. Their model folder holds the model.
    pub config: Config,
    /// Name of the model.
    pub model: String,
    /// The images that are sent.
    pub images: Vec<EncodedImage>,
}

/// Measurement of a setting under one load.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Measurement {
    /// Number of connections of a closed loop; none for an open loop.
    pub connections: Option<usize>,
    /// Answers a second.
    pub answers_per_s: f64,
    /// Median latency in milliseconds.
    pub p50_ms: f64,
    /// Latency in milliseconds that 99 in 100 answers did not exceed.
    pub p99_ms: f64,
    /// Dollars for a million answers, if the replica is always this busy.
    pub usd_per_million: f64,
    /// Whether the goal was met.
    pub keeps: bool,
}

/// A setting, and its measurements under growing load.
#[derive(Debug, Clone, Serialize)]
pub struct SettingResult {
    /// The setting.
    pub setting: Setting,
    /// Accuracy of its variant.
    pub accuracy: Option<f64>,
    /// Measurements in ascending order of connections.
    pub loads: Vec<Measurement>,
}

impl SettingResult {
    /// The load with the most answers a second that met the goal.
    #[must_use]
    pub fn best(&self) -> Option<&Measurement> {
        let kept = self.loads.iter().filter(|load| load.keeps);
        kept.max_by(|a, b| a.answers_per_s.total_cmp(&b.answers_per_s))
    }
}

impl Subject {
    /// Price of this machine in dollars an hour.
    #[must_use]
    pub fn usd_per_hour(&self) -> f64 {
        PriceSheet::new(&self.config.cost, capacity_cpus()).usd_per_hour
    }

    /// Loads the model and returns its frontier: latency and price of each variant and batch size.
    pub(super) async fn curve(&self) -> Result<Vec<FrontierPoint>, String> {
        let inference = Inference::new(self.config.clone()).map_err(|error| format!("{error:#}"))?;
        let name = self.model.clone();
        let loaded = tokio::task::spawn_blocking(move || {
            let loaded = inference.load(&Selection::model(&name));
            let model = inference.models().model(&name);
            let points = model.map(|model| frontier(&model, inference.ledger())).unwrap_or_default();
            inference.close();
            loaded.map(|()| points)
        });
        let wrong = |errors: Vec<_>| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  ");
        let loaded = loaded.await.map_err(|error| error.to_string())?;
        loaded.map_err(|errors: Vec<crate::models::ModelError>| wrong(errors))
    }

    /// Serves a setting and loads it with more and more connections, until it misses the goal or more connections do not
    /// pay. Returns none where the search was stopped before the first load was measured.
    pub(super) async fn serve(
        &self,
        setting: &Setting,
        accuracy: Option<f64>,
        goal: &TuneGoal,
        control: &RunControl,
    ) -> Result<Option<SettingResult>, String> {
        let server = TrialServer::start(self, setting).await?;
        let target = self.target(&server)?;
        let mut tried = SettingResult { setting: setting.clone(), accuracy, loads: Vec::new() };
        let counts = std::iter::successors(Some(1), |count| Some(count * 2)).take_while(|n| *n <= MAX_CONNECTIONS);
        for connections in counts {
            let measured = closed_loop(&target, connections, &plan(goal), control).await?;
            if control.is_stopped() {
                break;
            }
            let load = self.measurement(&measured, Some(connections), goal)?;
            let most = tried.loads.iter().map(|load| load.answers_per_s).fold(0.0, f64::max);
            tried.loads.push(load);
            if !load.keeps || load.answers_per_s < most * LEAST_GAIN {
                break;
            }
        }
        drop(target);
        server.end().await?;
        Ok(Some(tried).filter(|tried| !tried.loads.is_empty()))
    }

    /// Loads a setting with an open loop and returns the highest rate that meets the goal; none where no rate does.
    pub(super) async fn confirm(
        &self,
        tried: &SettingResult,
        goal: &TuneGoal,
        control: &RunControl,
    ) -> Result<Option<Measurement>, String> {
        let Some(best) = tried.best() else { return Ok(None) };
        let server = TrialServer::start(self, &tried.setting).await?;
        let target = self.target(&server)?;
        let mut confirmed = None;
        for part in CONFIRMED_SHARES {
            let plan = LoadPlan { duration: goal.step * 2, ..plan(goal) };
            let measured = open_loop(&target, best.answers_per_s * part, &plan, control).await?;
            if control.is_stopped() {
                break;
            }
            let load = self.measurement(&measured, None, goal)?;
            if load.keeps {
                confirmed = Some(load);
                break;
            }
        }
        drop(target);
        server.end().await?;
        Ok(confirmed)
    }

    fn target(&self, server: &TrialServer) -> Result<BenchTarget, String> {
        // The variant is named, so that the router cannot choose another one.
        let url = format!("{}/v1/models/{}/predict?variant={}", server.url, self.model, server.variant);
        BenchTarget::new(&url, self.images.clone(), &[], &Roots::Nobody)
    }

    fn measurement(
        &self,
        measured: &LoadResult,
        connections: Option<usize>,
        goal: &TuneGoal,
    ) -> Result<Measurement, String> {
        let (Some(p50_ms), Some(p99_ms)) = (measured.p50_ms, measured.p99_ms) else {
            let why = measured.first_error.clone().unwrap_or_else(|| "no answer came".to_owned());
            return Err(format!("{} answers nothing: {why}", self.model));
        };
        let missed = measured.refused + measured.late + measured.not_sent + measured.errors.values().sum::<u64>();
        let all_answered = missed * 100 <= measured.sent + measured.not_sent;
        let usd_per_million = self.usd_per_hour() / 3600.0 / measured.answers_per_s * 1e6;
        let keeps = all_answered && p99_ms <= goal.slo_p99.as_secs_f64() * 1e3;
        Ok(Measurement { connections, answers_per_s: measured.answers_per_s, p50_ms, p99_ms, usd_per_million, keeps })
    }
}

fn plan(goal: &TuneGoal) -> LoadPlan {
    LoadPlan { warmup: goal.step.mul_f64(WARMUP), duration: goal.step, slo_p99: goal.slo_p99 }
}

/// A server in this process. It has a runtime of its own, so that the load generator does not share its threads.
struct TrialServer {
    url: String,
    variant: String,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<Result<(), String>>,
}

impl TrialServer {
    async fn start(subject: &Subject, setting: &Setting) -> Result<Self, String> {
        let fixed = |n: usize| NonZeroUsize::new(n).map_or(Auto::Auto, Auto::Fixed);
        let mut config = subject.config.clone();
        config.listen = ([127, 0, 0, 1], 0).into();
        config.admin_listen = AdminListen::Main;
        // The load generator has no key.
        (config.auth.mode, config.auth.keys_file) = (AuthMode::Open, None);
        // A trial must not be limited by budgets, and its traces must not reach the collector.
        config.cost.budget_usd_per_hour = None;
        config.tenants.clear();
        config.telemetry.otlp_endpoint = None;
        config.shutdown.drain_delay = Duration::ZERO;
        config.threads.decode = fixed(setting.decode_threads);
        config.model.insert(
            subject.model.clone(),
            ModelOverrides {
                instances: Some(fixed(setting.instances)),
                threads: Some(fixed(setting.threads)),
                max_batch: Some(fixed(setting.max_batch)),
                ..ModelOverrides::default()
            },
        );
        let only = Selection { model: Some(subject.model.clone()), variant: Some(setting.variant.clone()) };
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
            runtime.map_err(|error| error.to_string())?.block_on(async {
                let listeners = Listeners::bind(&config).await.map_err(|error| format!("{error:#}"))?;
                let address = listeners.main.local_addr().map_err(|error| error.to_string())?;
                let shutdown = async { drop(stopped.await) };
                let tell = move || {
                    let _ = ready.send(address);
                };
                server::run_only(config, listeners, only, tell, shutdown).await.map_err(|error| format!("{error:#}"))
            })
        });
        match is_ready.await {
            Ok(address) => {
                let variant = form_urlencoded::byte_serialize(setting.variant.as_bytes()).collect();
                Ok(Self { url: format!("http://{address}"), variant, stop, thread })
            }
            // The server ended before it was ready, and returns the reason.
            Err(_) => Err(match join(thread).await {
                Err(why) => why,
                Ok(()) => "the server ended before it was ready".to_owned(),
            }),
        }
    }

    async fn end(self) -> Result<(), String> {
        let _ = self.stop.send(());
        join(self.thread).await
    }
}

async fn join(thread: JoinHandle<Result<(), String>>) -> Result<(), String> {
    let joined = tokio::task::spawn_blocking(move || thread.join()).await.map_err(|error| error.to_string())?;
    joined.unwrap_or_else(|_| Err("the server panicked".to_owned()))
}
