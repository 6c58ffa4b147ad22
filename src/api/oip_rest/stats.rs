//! The statistics extension of the Open Inference Protocol: what was run, how often, and how long it took.

use std::{
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use axum::{Extension, Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::ModelPath;
use crate::{
    api::{
        middleware::request_info::RequestInfo,
        path::Path,
        problem::{Problem, ProblemBody},
        rest::models::ProfileBody,
    },
    inference::Inference,
    models::{Model, Variant},
    scheduler::stats::{SizeStats, StatisticDuration},
};

/// Statistics of one or more models.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Statistics {
    model_stats: Vec<ModelStats>,
}

/// One model's statistics; those of its variants together, and the batches of each.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ModelStats {
    pub name: String,
    pub version: String,
    /// Milliseconds since 1970 when the last run ended; 0: never.
    pub last_inference: u64,
    /// Pictures that went through the graph.
    pub inference_count: u64,
    /// Runs of the graph.
    pub execution_count: u64,
    pub inference_stats: InferenceStats,
    pub batch_stats: Vec<BatchStats>,
}

/// What requests went through, in all: a request takes the whole time of the batch that it is part of.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(in crate::api) struct InferenceStats {
    pub success: Amount,
    pub fail: Amount,
    pub queue: Amount,
    pub compute_input: Amount,
    pub compute_infer: Amount,
    pub compute_output: Amount,
    pub cache_hit: Amount,
    pub cache_miss: Amount,
}

/// The runs of one variant with one batch size.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct BatchStats {
    pub batch_size: usize,
    pub compute_input: Amount,
    pub compute_infer: Amount,
    pub compute_output: Amount,
    /// Not in the protocol: the variant.
    variant: String,
    /// Not in the protocol: quantiles of the latest runs of this size, the warm-up included.
    latest: ProfileBody,
}

/// How often, and how many nanoseconds in all.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
pub(in crate::api) struct Amount {
    pub count: u64,
    pub ns: u64,
}

impl Amount {
    fn add(&mut self, total: StatisticDuration) {
        self.count += total.count;
        self.ns += nanoseconds(total.time);
    }
}

impl From<StatisticDuration> for Amount {
    fn from(total: StatisticDuration) -> Self {
        Self { count: total.count, ns: nanoseconds(total.time) }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The statistics of all models.
#[utoipa::path(get, path = "/v2/models/stats", tag = "open inference", responses((status = 200, description = "Statistics", body = Statistics)))]
pub(in crate::api) async fn all(State(inference): State<Arc<Inference>>) -> Json<Statistics> {
    Json(Statistics { model_stats: inference.models().models().iter().map(ModelStats::new).collect() })
}

/// The statistics of a model, and what a run of each batch size costs. Also under `/versions/{version}`.
#[utoipa::path(
    get, path = "/v2/models/{model}/stats", tag = "open inference",
    params(("model" = String, Path, description = "The model's name")),
    responses(
        (status = 200, description = "Statistics", body = Statistics),
        (status = 404, description = "No such model or version", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(in crate::api) async fn one(
    State(inference): State<Arc<Inference>>,
    Extension(info): Extension<RequestInfo>,
    Path(path): Path<ModelPath>,
) -> Result<Json<Statistics>, Problem> {
    Ok(Json(Statistics { model_stats: vec![ModelStats::new(&path.find(&inference, &info)?)] }))
}

impl ModelStats {
    /// What is known of the model at this moment.
    pub(in crate::api) fn new(model: &Arc<Model>) -> Self {
        let mut all = Self {
            name: model.info.name.clone(),
            version: model.info.version.clone(),
            last_inference: 0,
            inference_count: 0,
            execution_count: 0,
            inference_stats: InferenceStats::default(),
            batch_stats: Vec::new(),
        };
        model.variants.iter().for_each(|variant| all.add(variant));
        all
    }

    fn add(&mut self, variant: &Variant) {
        let stats = variant.stats();
        let last = stats.last.and_then(|last| last.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        self.last_inference = self.last_inference.max(u64::try_from(last.as_millis()).unwrap_or(u64::MAX));
        self.inference_stats.success.add(stats.succeeded);
        self.inference_stats.fail.add(stats.failed);
        self.inference_stats.queue.add(stats.queued);
        self.inference_stats.compute_input.add(stats.gather);
        self.inference_stats.compute_infer.add(stats.run);
        self.inference_stats.compute_output.add(stats.scatter);
        self.inference_count += stats.rows;
        // Every run is in the curve; sizes that only the warm-up has run count nothing.
        for point in variant.latency_profile() {
            let SizeStats { gather, run, scatter } = stats.sizes.get(&point.rows).copied().unwrap_or_default();
            self.execution_count += run.count;
            self.batch_stats.push(BatchStats {
                batch_size: point.rows,
                compute_input: gather.into(),
                compute_infer: run.into(),
                compute_output: scatter.into(),
                variant: variant.info.name.clone(),
                latest: point.into(),
            });
        }
    }
}
