//! `/v1/models/{model}/frontier`: what each variant costs and takes on this machine, and which are worth it.

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::{
        find_model,
        middleware::request_info::RequestInfo,
        path::Path,
        problem::{Problem, ProblemBody},
    },
    inference::{
        Inference,
        frontier::{self, FrontierPoint},
    },
    stats::round::{places, significant},
};

/// All that was measured of a model on this machine.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Frontier)]
pub(in crate::api) struct FrontierBody {
    /// The model.
    #[schema(example = "pedestrian")]
    model: String,
    /// What `accuracy` is, as in `/v1/models`; null where no variant says.
    #[schema(example = "ap50")]
    accuracy_metric: Option<String>,
    /// Every variant at every batch size that was run.
    points: Vec<PointBody>,
}

/// A variant at one batch size.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FrontierPoint)]
pub(in crate::api) struct PointBody {
    /// The variant.
    #[schema(example = "int8")]
    variant: String,
    /// Pictures in a run.
    batch_size: usize,
    /// Runs that the quantiles are read from: those of the warm-up, then the latest ones.
    runs: usize,
    /// Half of the runs took no longer.
    p50_ms: f64,
    /// Nine in ten took no longer.
    p90_ms: f64,
    /// 99 in 100 took no longer.
    p99_ms: f64,
    /// Answers a second, if the machine does nothing else.
    answers_per_second: f64,
    /// Dollars for a million answers: a picture's share of a run, with decoding and post-processing as they were lately.
    usd_per_million: f64,
    /// Measured quality.
    accuracy: Option<f64>,
    /// Another is at least as fast (p50), as cheap and as accurate, and better in one of these.
    dominated: bool,
}

/// What a model's variants cost and take on this machine, by batch size, and which of them another beats in everything.
///
/// From the warm-up, then from traffic. Until the first answer, decoding and post-processing count as nothing.
#[utoipa::path(
    get, path = "/v1/models/{model}/frontier", tag = "models",
    params(("model" = String, Path, description = "The model's name")),
    responses(
        (status = 200, description = "The frontier", body = FrontierBody),
        (status = 404, description = "No such model", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(in crate::api) async fn one(
    State(inference): State<Arc<Inference>>,
    Extension(info): Extension<RequestInfo>,
    Path(name): Path<String>,
) -> Result<Json<FrontierBody>, Problem> {
    let model = find_model(&inference, &info, name)?;
    Ok(Json(FrontierBody {
        model: model.info.name.clone(),
        accuracy_metric: model.info.metric.clone(),
        points: frontier::frontier(&model, inference.ledger()).into_iter().map(PointBody::from).collect(),
    }))
}

impl From<FrontierPoint> for PointBody {
    fn from(FrontierPoint { point, dominated }: FrontierPoint) -> Self {
        let ms = |time: std::time::Duration| places(time.as_secs_f64() * 1e3, 3);
        Self {
            variant: point.variant,
            batch_size: point.batch_size,
            runs: point.runs,
            p50_ms: ms(point.p50),
            p90_ms: ms(point.p90),
            p99_ms: ms(point.p99),
            answers_per_second: places(point.answers_per_second, 1),
            usd_per_million: significant(point.usd_per_million, 4),
            accuracy: point.accuracy,
            dominated,
        }
    }
}
