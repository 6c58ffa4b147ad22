//! `/v2`: the Open Inference Protocol over REST, with the binary tensor and classification extensions. Encoded pictures
//! may stand for the picture input (datatype BYTES).

mod blobs;
mod compressed;
mod elements;
pub(in crate::api) mod repository;
mod request;
mod response;
pub(in crate::api) mod stats;

use std::{sync::Arc, time::Instant};

use axum::{
    Json,
    extract::{Request, State},
    http::HeaderMap,
    response::Response,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    body::{self, Upload},
    docs::Binary,
    health::check_ready,
    heavy,
    models::PortBody,
    observe::{record_answer, record_model},
    path::Path,
    problem::{Problem, ProblemBody, Refusals},
    refused, tenant,
};
use crate::{
    error::Error,
    inference::{Deadline, Permit, Pipeline, RequestContext, ServedModel, TensorRequest},
};

/// What answers here.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ServerMetadata {
    name: &'static str,
    version: &'static str,
    extensions: [&'static str; 5],
}

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

/// A model by its path, with or without a version.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    model: String,
    version: Option<String>,
}

impl Named {
    fn resolve(&self, pipeline: &Pipeline) -> Result<Arc<ServedModel>, Problem> {
        let model = pipeline.model(&self.model)?;
        record_model(&model.name);
        match &self.version {
            Some(version) if *version != model.version => {
                let (version, serving) = (version.clone(), model.version.clone());
                Err(Error::UnknownVersion { model: model.name.clone(), version, serving }.into())
            }
            _ => Ok(model),
        }
    }
}

/// The server and the extensions it has.
#[utoipa::path(get, path = "/v2", tag = "open inference", responses((status = 200, description = "The server", body = ServerMetadata)))]
pub(super) async fn server() -> Json<ServerMetadata> {
    Json(ServerMetadata {
        name: env!("CARGO_PKG_NAME"),
        version: env!("CARGO_PKG_VERSION"),
        extensions: ["binary_tensor_data", "classification", "model_repository", "parameters", "statistics"],
    })
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
pub(super) async fn ready(State(pipeline): State<Pipeline>) -> Result<Json<Ready>, Problem> {
    check_ready(&pipeline).map(|()| Json(Ready { name: None, ready: true }))
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
    State(pipeline): State<Pipeline>,
    Path(named): Path<Named>,
) -> Result<Json<ModelMetadata>, Problem> {
    let model = named.resolve(&pipeline)?;
    Ok(Json(ModelMetadata {
        name: model.name.clone(),
        versions: vec![model.version.clone()],
        platform: "onnx_onnxv1",
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
    State(pipeline): State<Pipeline>,
    Path(named): Path<Named>,
) -> Result<Json<Ready>, Problem> {
    let model = named.resolve(&pipeline)?;
    Ok(Json(Ready { name: Some(model.name.clone()), ready: true }))
}

/// Runs a model on tensors, or on encoded pictures. Also under `/versions/{version}`.
///
/// JSON, optionally with the binary tensor extension (`Inference-Header-Content-Length`): tensors of any of the
/// protocol's datatypes, or datatype BYTES for the picture input, each element an encoded picture (base64 in JSON).
/// Request parameters: `timeout` (microseconds), `priority` (1 first to 10 last; 0: the default), `variant`, `objective`,
/// `min_accuracy`, `max_cost_usd`, `binary_data_output`; output parameters: `binary_data`, `classification`.
#[utoipa::path(
    post, path = "/v2/models/{model}/infer", tag = "open inference",
    params(("model" = String, Path, description = "The model's name")),
    request_body(description = "The request; four times the limit of a picture at most", content(
        (serde_json::Value = "application/json"),
        (Binary = "application/octet-stream"),
    )),
    responses(
        (status = 200, description = "The outputs; what they took is among the `parameters`", content(
            (serde_json::Value = "application/json"),
            (Binary = "application/octet-stream"),
        )),
        Refusals,
    ),
)]
pub(super) async fn infer(
    State(pipeline): State<Pipeline>,
    Path(named): Path<Named>,
    request: Request,
) -> Result<Response, Problem> {
    let received = Instant::now();
    let (head, body) = request.into_parts();
    let mut upload = Upload::new(&head.headers, body);
    let answered = answer(&pipeline, &named, &head.headers, &mut upload, received).await;
    if let Err(problem) = &answered {
        upload.drain(problem).await;
    }
    answered
}

async fn answer(
    pipeline: &Pipeline,
    named: &Named,
    headers: &HeaderMap,
    upload: &mut Upload,
    received: Instant,
) -> Result<Response, Problem> {
    let model = named.resolve(pipeline)?;
    let mut permit = pipeline.admit()?;
    let tenant = tenant(pipeline, headers);
    pipeline.may_spend(&model, tenant)?;
    let request = read(pipeline, &mut permit, &model, headers, upload)
        .await
        .inspect_err(|problem| refused(pipeline, &model.name, problem))?;
    let deadline = Deadline::after(received, request.budget.unwrap_or(pipeline.config().requests.deadline));
    let terms = RequestContext { deadline, priority: request.priority, tenant };
    let route = pipeline.route(&model, &request.preference, terms)?;
    let tensors = TensorRequest { model, route, inputs: request.inputs, terms };
    let answer = pipeline.infer(&permit, tensors).await?;
    record_answer(&answer.variant, &answer.timing);
    let size = answer.outputs.iter().map(|(_, tensor)| tensor.shape().iter().product::<usize>()).sum();
    heavy(pipeline, size, move || Ok(response::write(&answer, request.id.as_deref(), &request.outputs))).await
}

async fn read(
    pipeline: &Pipeline,
    permit: &mut Permit,
    model: &Arc<ServedModel>,
    headers: &HeaderMap,
    upload: &mut Upload,
) -> Result<request::Request, Problem> {
    let packing = compressed::packing(headers)?;
    let header_length = headers.get(response::HEADER_LENGTH).map(|value| {
        let number = value.to_str().ok().and_then(|text| text.parse().ok());
        number
            .ok_or_else(|| Problem::bad_parameter("Inference-Header-Content-Length", format!("{value:?} is no number")))
    });
    let (header_length, limits) = (header_length.transpose()?, body::Limits::of(pipeline.config()));
    let most = limits.tensors();
    permit.hold(if packing != compressed::Packing::Plain { most * 2 } else { upload.expected(most) })?;
    let body = upload.read(most, limits.time).await?;
    let (model, limits) = (Arc::clone(model), request::Limits { picture: limits.picture });
    heavy(pipeline, body.len(), move || {
        let body = compressed::unpack(body, packing, most)?;
        request::parse(&model, &body, header_length, limits)
    })
    .await
}
