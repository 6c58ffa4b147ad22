//! Whether the server and its models are ready, and what the models are.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
    response::Response,
};
use prost::Message;

use super::{
    frames,
    messages::{
        ModelConfig, ModelConfigResponse, ModelDynamicBatching, ModelInput, ModelMetadataResponse, ModelOutput,
        ModelReadyResponse, NamedModelRequest, Nothing, ServerLiveResponse, ServerMetadataResponse,
        ServerReadyResponse, TensorMetadata,
    },
};
use crate::{
    api::{
        admin::health::check_ready,
        body::BodyLimits,
        middleware::request_info::RequestInfo,
        oip_rest::{self, ModelPath},
        problem::Problem,
    },
    inference::Inference,
    models::Model,
    oip,
    vision::tensor::Port,
};

/// Reads the message of a call that asks no model.
pub(super) async fn read<M: Message + Default>(inference: &Inference, request: Request) -> Result<M, Problem> {
    let (head, body) = request.into_parts();
    frames::read(&head.headers, body, BodyLimits::of(inference.config())).await
}

impl NamedModelRequest {
    /// The model of that name and version; an empty version stands for the one that is served.
    pub(super) fn find(self, inference: &Inference, info: &RequestInfo) -> Result<Arc<Model>, Problem> {
        ModelPath::new(self.name, Some(self.version).filter(|version| !version.is_empty())).find(inference, info)
    }
}

/// The process answers.
pub(super) async fn server_live(
    State(inference): State<Arc<Inference>>,
    request: Request,
) -> Result<Response, Problem> {
    let Nothing {} = read(&inference, request).await?;
    Ok(frames::reply(&ServerLiveResponse { live: true }))
}

/// Whether the server takes requests.
pub(super) async fn server_ready(
    State(inference): State<Arc<Inference>>,
    request: Request,
) -> Result<Response, Problem> {
    let Nothing {} = read(&inference, request).await?;
    Ok(frames::reply(&ServerReadyResponse { ready: check_ready(&inference).is_ok() }))
}

/// Whether a model takes requests; of one that is not served, the answer is no, as Triton's is.
pub(super) async fn model_ready(
    State(inference): State<Arc<Inference>>,
    Extension(info): Extension<RequestInfo>,
    request: Request,
) -> Result<Response, Problem> {
    let model = read::<NamedModelRequest>(&inference, request).await?.find(&inference, &info);
    Ok(frames::reply(&ModelReadyResponse { ready: model.is_ok() }))
}

/// The server and the extensions it has.
pub(super) async fn server(State(inference): State<Arc<Inference>>, request: Request) -> Result<Response, Problem> {
    let Nothing {} = read(&inference, request).await?;
    Ok(frames::reply(&ServerMetadataResponse {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        extensions: oip_rest::EXTENSIONS.map(ToOwned::to_owned).to_vec(),
    }))
}

/// A model's inputs and outputs.
pub(super) async fn model(
    State(inference): State<Arc<Inference>>,
    Extension(info): Extension<RequestInfo>,
    request: Request,
) -> Result<Response, Problem> {
    let model = read::<NamedModelRequest>(&inference, request).await?.find(&inference, &info)?;
    let tensor = |port: &Port| TensorMetadata {
        name: port.name.clone(),
        datatype: port.element.oip_name().to_owned(),
        shape: dims(port),
    };
    Ok(frames::reply(&ModelMetadataResponse {
        name: model.info.name.clone(),
        versions: vec![model.info.version.clone()],
        platform: oip_rest::PLATFORM.to_owned(),
        inputs: model.info.inputs.iter().map(tensor).collect(),
        outputs: model.info.outputs.iter().map(tensor).collect(),
    }))
}

/// A model's configuration, as far as Triton's clients ask for it: its inputs, its outputs, and how large a batch may be.
pub(super) async fn model_config(
    State(inference): State<Arc<Inference>>,
    Extension(info): Extension<RequestInfo>,
    request: Request,
) -> Result<Response, Problem> {
    let model = read::<NamedModelRequest>(&inference, request).await?.find(&inference, &info)?;
    let batches = model.variants.first().filter(|variant| variant.info.batch_axis.is_free());
    let max_batch_size = batches.map_or(0, |variant| i32::try_from(variant.info.max_batch).unwrap_or(i32::MAX));
    // Where there are batches, the first dimension is theirs and is left out.
    let dims = |port: &Port| dims(port).split_off(usize::from(max_batch_size > 0 && !port.shape.is_empty()));
    let input = |port: &Port| ModelInput {
        name: port.name.clone(),
        data_type: oip::triton_data_type(port.element),
        dims: dims(port),
    };
    let output = |port: &Port| ModelOutput {
        name: port.name.clone(),
        data_type: oip::triton_data_type(port.element),
        dims: dims(port),
    };
    let config = ModelConfig {
        name: model.info.name.clone(),
        platform: oip_rest::PLATFORM.to_owned(),
        max_batch_size,
        input: model.info.inputs.iter().map(input).collect(),
        output: model.info.outputs.iter().map(output).collect(),
        dynamic_batching: batches.map(|_| ModelDynamicBatching { preferred_batch_size: vec![max_batch_size] }),
        backend: "onnxruntime".to_owned(),
    };
    Ok(frames::reply(&ModelConfigResponse { config: Some(config) }))
}

fn dims(port: &Port) -> Vec<i64> {
    port.shape.iter().map(|dim| dim.and_then(|dim| i64::try_from(dim).ok()).unwrap_or(-1)).collect()
}
