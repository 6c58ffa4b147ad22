//! The response over gRPC: the messages `ModelInferResponse` and `ModelStreamInferResponse`, with raw contents. Field numbers are
//! those of `proto/open_inference.proto`.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::{Message, Oneof};

use super::{InferResponse, ResponseParameters};

/// The answer to a request.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ModelInferResponse {
    #[prost(string, tag = "1")]
    pub model_name: String,
    #[prost(string, tag = "2")]
    pub model_version: String,
    #[prost(string, tag = "3")]
    pub id: String,
    #[prost(btree_map = "string, message", tag = "4")]
    pub parameters: BTreeMap<String, InferParameter>,
    #[prost(message, repeated, tag = "5")]
    pub outputs: Vec<InferOutputTensor>,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    pub raw_output_contents: Vec<Bytes>,
}

/// An output, whose elements stand in the response's `raw_output_contents`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct InferOutputTensor {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub datatype: String,
    #[prost(int64, repeated, tag = "3")]
    pub shape: Vec<i64>,
}

/// A parameter.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct InferParameter {
    #[prost(oneof = "ParameterChoice", tags = "1, 2, 3, 4")]
    pub choice: Option<ParameterChoice>,
}

/// The value of a parameter.
#[derive(Clone, PartialEq, Oneof)]
pub(crate) enum ParameterChoice {
    #[prost(bool, tag = "1")]
    Bool(bool),
    #[prost(int64, tag = "2")]
    Int64(i64),
    #[prost(string, tag = "3")]
    Text(String),
    #[prost(double, tag = "4")]
    Double(f64),
}

/// The answer to one request of a stream, or why there is none.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ModelStreamInferResponse {
    #[prost(string, tag = "1")]
    pub error_message: String,
    #[prost(message, optional, tag = "2")]
    pub infer_response: Option<ModelInferResponse>,
}

impl ModelStreamInferResponse {
    /// An answer. A stream of this server has one answer for each request, and the parameter says so to clients that expect several.
    pub(crate) fn answer(mut response: ModelInferResponse) -> Self {
        response.parameters.insert("triton_final_response".to_owned(), ParameterChoice::Bool(true).into());
        Self { error_message: String::new(), infer_response: Some(response) }
    }

    /// A refusal of the request of that id.
    pub(crate) fn refusal(id: String, why: String) -> Self {
        Self { error_message: why, infer_response: Some(ModelInferResponse { id, ..ModelInferResponse::default() }) }
    }
}

impl From<ParameterChoice> for InferParameter {
    fn from(choice: ParameterChoice) -> Self {
        Self { choice: Some(choice) }
    }
}

impl InferResponse<'_> {
    /// The response as a message of gRPC.
    #[must_use]
    pub(crate) fn to_grpc_message(&self) -> ModelInferResponse {
        let mut raw_output_contents = Vec::with_capacity(self.outputs.len());
        let outputs = self.outputs.iter().map(|output| {
            let mut bytes = Vec::new();
            output.put_bytes(&mut bytes);
            raw_output_contents.push(bytes.into());
            InferOutputTensor {
                name: output.name.to_owned(),
                datatype: output.datatype.to_owned(),
                shape: output.shape.iter().map(|dim| i64::try_from(*dim).unwrap_or(i64::MAX)).collect(),
            }
        });
        ModelInferResponse {
            outputs: outputs.collect(),
            model_name: self.model_name.to_owned(),
            model_version: self.model_version.to_owned(),
            id: self.id.unwrap_or_default().to_owned(),
            parameters: parameters(&self.parameters),
            raw_output_contents,
        }
    }
}

fn parameters(took: &ResponseParameters<'_>) -> BTreeMap<String, InferParameter> {
    let text = |text: &str| ParameterChoice::Text(text.to_owned());
    let known = [
        ("variant", text(took.variant)),
        ("routed", text(took.routed)),
        ("batch_size", ParameterChoice::Int64(i64::try_from(took.batch_size).unwrap_or(i64::MAX))),
        ("queue_ms", ParameterChoice::Double(took.queue_ms)),
        ("inference_ms", ParameterChoice::Double(took.inference_ms)),
        ("total_ms", ParameterChoice::Double(took.total_ms)),
        ("cost_usd", ParameterChoice::Double(took.cost_usd)),
        ("cpu_seconds", ParameterChoice::Double(took.cpu_seconds)),
    ];
    let measured = [("gpu_seconds", took.gpu_seconds), ("energy_joules", took.energy_joules)];
    let measured = measured.into_iter().filter_map(|(name, value)| Some((name, ParameterChoice::Double(value?))));
    known.into_iter().chain(measured).map(|(name, choice)| (name.to_owned(), choice.into())).collect()
}
