//! `/v2`: the Open Inference Protocol over HTTP, with the binary tensor and classification extensions. Encoded images may stand for
//! the image input (datatype BYTES).
//!
//! What the protocol says is known to [`oip`](crate::oip); here stand the handlers, which read bodies and write responses. The model
//! repository extension is in `admin`.

pub(in crate::api) mod infer;
pub(in crate::api) mod stats;

use std::sync::Arc;

use axum::{Extension, Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    admin::health::check_ready,
    find_model,
    middleware::request_info::RequestInfo,
    path::Path,
    problem::{Problem, ProblemBody},
    rest::models::PortBody,
};
use crate::{error::Error, inference::Inference, models::Model};

/// The server's name, its version, and the extensions of the protocol that it has.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ServerMetadata {
    name: &'static str,
    version: &'static str,
    extensions: [&'static str; 5],
}

/// The extensions of the protocol that the server has, over HTTP and over gRPC.
pub(super) const EXTENSIONS: [&str; 5] =
    ["binary_tensor_data", "classification", "model_repository", "parameters", "statistics"];

/// What models are made for, in Triton's words.
pub(super) const PLATFORM: &str = "onnx_onnxv1";

/// A model, in the protocol's words.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelMetadata {
    name: String,
    versions: Vec<String>,
    #[schema(example = "onnx_onnxv1")]
    platform: &'static str,
    inputs: Vec<PortBody>,
    outputs: Vec<PortBody>,
}

/// Whether the server lives.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Live {
    live: bool,
}

/// Whether something is ready.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Ready {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    ready: bool,
}

/// The model that a path names, with or without a version.
#[derive(Debug, Deserialize)]
pub(super) struct ModelPath {
    model: String,
    version: Option<String>,
}

impl ModelPath {
    /// The model of that name, and of that version where one is named.
    pub(super) fn new(model: String, version: Option<String>) -> Self {
        Self { model, version }
    }

    /// The model, if it is served.
    pub(super) fn find(&self, inference: &Inference, info: &RequestInfo) -> Result<Arc<Model>, Problem> {
        let model = find_model(inference, info, self.model.clone())?;
        match &self.version {
            Some(version) if *version != model.info.version => {
                let (version, serving) = (version.clone(), model.info.version.clone());
                Err(Error::UnknownVersion { model: model.info.name.clone(), version, serving }.into())
            }
            _ => Ok(model),
        }
    }
}

/// The server and the extensions it has.
#[utoipa::path(get, path = "/v2", tag = "open inference", responses((status = 200, description = "The server", body = ServerMetadata)))]
pub(super) async fn server() -> Json<ServerMetadata> {
    Json(ServerMetadata { name: env!("CARGO_PKG_NAME"), version: env!("CARGO_PKG_VERSION"), extensions: EXTENSIONS })
}

/// The process answers.
#[utoipa::path(get, path = "/v2/health/live", tag = "open inference", responses((status = 200, description = "Alive", body = Live)))]
pub(super) async fn live() -> Json<Live> {
    Json(Live { live: true })
}

/// The server takes requests.
#[utoipa::path(get, path = "/v2/health/ready", tag = "open inference", responses(
    (status = 200, description = "Ready", body = Ready),
    (status = 503, description = "Not ready, and why", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(super) async fn ready(State(inference): State<Arc<Inference>>) -> Result<Json<Ready>, Problem> {
    check_ready(&inference).map(|()| Json(Ready { name: None, ready: true }))
}

/// A model's inputs and outputs. Also under `/versions/{version}`.
#[utoipa::path(
    get, path = "/v2/models/{model}", tag = "open inference",
    params(("model" = String, Path, description = "The model's name")),
    responses(
        (status = 200, description = "The model", body = ModelMetadata),
        (status = 404, description = "No such model or version", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn model(
    State(inference): State<Arc<Inference>>,
    Extension(info): Extension<RequestInfo>,
    Path(path): Path<ModelPath>,
) -> Result<Json<ModelMetadata>, Problem> {
    let model = &path.find(&inference, &info)?.info;
    Ok(Json(ModelMetadata {
        name: model.name.clone(),
        versions: vec![model.version.clone()],
        platform: PLATFORM,
        inputs: model.inputs.iter().map(PortBody::from).collect(),
        outputs: model.outputs.iter().map(PortBody::from).collect(),
    }))
}

/// Whether a model takes requests. Also under `/versions/{version}`.
#[utoipa::path(
    get, path = "/v2/models/{model}/ready", tag = "open inference",
    params(("model" = String, Path, description = "The model's name")),
    responses(
        (status = 200, description = "Ready", body = Ready),
        (status = 404, description = "No such model or version", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "Not ready", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(super) async fn model_ready(
    State(inference): State<Arc<Inference>>,
    Extension(info): Extension<RequestInfo>,
    Path(path): Path<ModelPath>,
) -> Result<Json<Ready>, Problem> {
    let model = path.find(&inference, &info)?;
    Ok(Json(Ready { name: Some(model.info.name.clone()), ready: true }))
}
