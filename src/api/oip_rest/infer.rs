//! The handler of `/v2/models/{model}/infer`.

use std::{sync::Arc, time::Instant};

use axum::{
    Extension,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};

use super::ModelPath;
use crate::{
    api::{
        body::{BodyLimits, Upload},
        client_address::client_address,
        compressed::{self, MOST_UNPACKED, Packing},
        docs::Binary,
        drain, heavy,
        middleware::request_info::RequestInfo,
        path::Path,
        problem::{Problem, Refusals},
        rest::wire,
        tenant,
    },
    inference::{self, Deadline, Inference, InputKind, Reserved, TensorInputs, TensorOutputs, Terms},
    models::Model,
    oip::{self, InferRequest, InferResponse, ModelSignature, RequestedOutput},
};

/// The header that says where the JSON ends and the bytes begin.
const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

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
pub(in crate::api) async fn infer(
    State(inference): State<Arc<Inference>>,
    Extension(info): Extension<RequestInfo>,
    Path(path): Path<ModelPath>,
    request: Request,
) -> Result<Response, Problem> {
    let received = Instant::now();
    let (head, body) = request.into_parts();
    let mut upload = Upload::new(&head.headers, body);
    let answered = async {
        let model = path.find(&inference, &info)?;
        answer(&inference, &info, model, &head, &mut upload, received).await
    }
    .await;
    if let Err(problem) = &answered {
        drain(&inference, &info, &mut upload, problem).await;
    }
    answered
}

/// Reads the body, admits the request, and runs it.
async fn answer(
    inference: &Arc<Inference>,
    info: &RequestInfo,
    model: Arc<Model>,
    head: &Parts,
    upload: &mut Upload,
    received: Instant,
) -> Result<Response, Problem> {
    let address = client_address(inference.config(), &head.extensions, &head.headers);
    let reserved = inference.receive(Arc::clone(&model), tenant(&head.extensions), address)?;
    let mut reserved = reserved.limited_by(head.extensions.get());
    let request = read(inference, &reserved, Arc::clone(&model), &head.headers, upload).await?;
    reserved.body_is_there();
    let deadline = inference.deadline(&model, received, request.time_budget);
    let answered = run(info, reserved, request, deadline).await?;
    heavy(inference, answered.elements(), move || {
        Ok(write(&answered.response, answered.id.as_deref(), &answered.outputs))
    })
    .await
}

/// The answer to a request, and which of its outputs were asked for.
#[derive(Debug)]
pub(in crate::api) struct InferAnswer {
    pub response: inference::Response<TensorOutputs>,
    pub id: Option<String>,
    pub outputs: Vec<RequestedOutput>,
}

impl InferAnswer {
    /// The number of elements of all outputs.
    pub(in crate::api) fn elements(&self) -> usize {
        self.response.output.iter().map(|(_, tensor)| tensor.shape().iter().product::<usize>()).sum()
    }
}

/// Admits a request that has a place, and runs it: the same over HTTP and over gRPC.
pub(in crate::api) async fn run(
    info: &RequestInfo,
    reserved: Reserved,
    request: InferRequest,
    deadline: Deadline,
) -> Result<InferAnswer, Problem> {
    let InferRequest { id, preference, time_budget: _, priority, inputs, outputs } = request;
    let input = match &inputs {
        TensorInputs::Tensors(_) => InputKind::Tensors,
        TensorInputs::Images(images) => InputKind::Images(images.len()),
    };
    let terms = Terms { preference, deadline, priority, input };
    let response = reserved.admit(&terms)?.run_tensors(inputs).await?;
    info.record_answer(&response.variant().info.name, &response.timing);
    Ok(InferAnswer { response, id, outputs })
}

async fn read(
    inference: &Arc<Inference>,
    reserved: &Reserved,
    model: Arc<Model>,
    headers: &HeaderMap,
    upload: &mut Upload,
) -> Result<InferRequest, Problem> {
    let packing = compressed::packing(headers)?;
    let header_length = header_length(headers)?;
    let limits = BodyLimits::of(inference.config());
    let most = limits.tensors();
    let body = upload.read(most, limits.pace, &|bytes| reserved.hold(bytes)).await?;
    // The tensors that it becomes take about as much again; before that, it may have to be unpacked.
    let unpacked = if packing == Packing::Plain { 0 } else { body.len().saturating_mul(MOST_UNPACKED).min(most) };
    reserved.hold(body.len().max(unpacked).saturating_mul(2))?;
    let (read, bytes) = heavy(inference, body.len(), move || {
        let body = compressed::unpack(body, packing, most)?;
        let signature = ModelSignature {
            inputs: &model.info.inputs,
            outputs: &model.info.outputs,
            image_input: model.info.image_input,
            max_image_bytes: limits.image,
        };
        Ok((oip::read_http_body(&signature, &body, header_length)?, body.len()))
    })
    .await?;
    reserved.shrink_body(bytes.saturating_mul(2));
    Ok(read)
}

/// The length of the JSON, where the client says it.
fn header_length(headers: &HeaderMap) -> Result<Option<usize>, Problem> {
    let Some(value) = headers.get(HEADER_LENGTH) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    let no_number = || Problem::bad_parameter(oip::HEADER_LENGTH, format!("{value:?} is no number"));
    number.map(Some).ok_or_else(no_number)
}

fn write(response: &inference::Response<TensorOutputs>, id: Option<&str>, outputs: &[RequestedOutput]) -> Response {
    let timing = wire::server_timing(&response.timing, Some(&response.cost));
    let body = InferResponse::new(response, id, outputs).to_http_body();
    let content_type = if body.header_length.is_some() { "application/octet-stream" } else { "application/json" };
    let header_length = body.header_length.map(|length| [(HEADER_LENGTH, HeaderValue::from(length))]);
    let mut sent = (timing, [(header::CONTENT_TYPE, content_type)], body.bytes).into_response();
    sent.headers_mut().extend(header_length.into_iter().flatten());
    sent
}
