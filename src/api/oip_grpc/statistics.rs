//! What was run, how often, and how long it took.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
    response::Response,
};

use super::{
    frames,
    messages::{
        InferBatchStatistics, InferStatistics, ModelStatistics, ModelStatisticsResponse, NamedModelRequest,
        TotalDuration,
    },
    metadata::read,
};
use crate::{
    api::{
        middleware::request_info::RequestInfo,
        oip_rest::stats::{Amount, BatchStats, ModelStats},
        problem::Problem,
    },
    inference::Inference,
};

/// The statistics of a model, or of all models where none is named.
pub(super) async fn statistics(
    State(inference): State<Arc<Inference>>,
    Extension(info): Extension<RequestInfo>,
    request: Request,
) -> Result<Response, Problem> {
    let named: NamedModelRequest = read(&inference, request).await?;
    let models = if named.name.is_empty() { inference.models().models() } else { vec![named.find(&inference, &info)?] };
    let model_stats = models.iter().map(|model| ModelStats::new(model).into()).collect();
    Ok(frames::reply(&ModelStatisticsResponse { model_stats }))
}

impl From<ModelStats> for ModelStatistics {
    fn from(stats: ModelStats) -> Self {
        let all = stats.inference_stats;
        Self {
            name: stats.name,
            version: stats.version,
            last_inference: stats.last_inference,
            inference_count: stats.inference_count,
            execution_count: stats.execution_count,
            inference_stats: Some(InferStatistics {
                success: duration(all.success),
                fail: duration(all.fail),
                queue: duration(all.queue),
                compute_input: duration(all.compute_input),
                compute_infer: duration(all.compute_infer),
                compute_output: duration(all.compute_output),
                cache_hit: duration(all.cache_hit),
                cache_miss: duration(all.cache_miss),
            }),
            batch_stats: stats.batch_stats.iter().map(InferBatchStatistics::from).collect(),
        }
    }
}

impl From<&BatchStats> for InferBatchStatistics {
    fn from(stats: &BatchStats) -> Self {
        Self {
            batch_size: u64::try_from(stats.batch_size).unwrap_or(u64::MAX),
            compute_input: duration(stats.compute_input),
            compute_infer: duration(stats.compute_infer),
            compute_output: duration(stats.compute_output),
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a message's field may be missing, and these never are")]
fn duration(amount: Amount) -> Option<TotalDuration> {
    Some(TotalDuration { count: amount.count, ns: amount.ns })
}
