//! The Open Inference Protocol, version 2, without a transport.
//!
//! A transport (HTTP in `api::oip_rest`, gRPC in `api::oip_grpc`) hands in what it received: the body or message of a request and the [`ModelSignature`] of the
//! model that it is for. Out comes an [`InferRequest`], which the inference room can run. The other way round, the outputs of a run
//! become an [`InferResponse`], which the transport writes in its own form. A request that cannot be read ends with an [`OipError`],
//! to which the transport gives its status.
//!
//! The layout is that of these documents:
//!
//! - *Open Inference Protocol*, "Predict Protocol - Version 2" (`kserve/open-inference-protocol`): the JSON of a request and of a
//!   response, the datatypes' names, tensors as flat or nested arrays.
//! - *Binary Tensor Data Extension* (`triton-inference-server/server`, `docs/protocol/extension_binary_data.md`): the tensors' bytes
//!   behind the JSON, little endian, in the order of the inputs; a body that is nothing but one tensor.
//! - *Classification Extension* (`extension_classification.md`): an output as `value:index:label`.
//! - *Parameters Extension* and *Schedule Policy Extension* (`extension_parameters.md`, `extension_schedule_policy.md`): `priority`
//!   and `timeout`.
//! - OpenVINO Model Server, "Predict on Binary Inputs via KServe API": encoded images as elements of datatype BYTES.
//!
//! ```text
//! body ───── http_body ────► RawInferRequest ─ request ─► InferRequest ─► (inference) ─► InferResponse ─ response ──────► body
//! message ── grpc_message ──►                                                                          ─ grpc_response ─► message
//! ```

pub mod base64;
mod grpc_message;
mod grpc_response;
mod http_body;
mod image_bytes;
mod parameters;
mod protobuf;
mod request;
mod response;
mod tensor_codec;
mod typed_contents;

pub(crate) use self::grpc_response::{ModelInferResponse, ModelStreamInferResponse};
pub use self::{
    grpc_message::{GrpcTarget, read_grpc_message},
    http_body::{HEADER_LENGTH, read_http_body},
    request::{InferRequest, RawInferRequest, RawInput, RawOutput, RawTensor, RequestedOutput},
    response::{HttpBody, InferResponse, OutputContents, ResponseOutput, ResponseParameters},
};

use crate::{
    error::over_image_limit,
    vision::tensor::{ElementType, Port},
};

/// The largest number of encoded images in one request.
pub const MAX_IMAGES: usize = 64;

/// What a request is checked against: the model's inputs and outputs.
#[derive(Debug, Clone, Copy)]
pub struct ModelSignature<'a> {
    /// The graph's inputs, in its order.
    pub inputs: &'a [Port],
    /// The graph's outputs, in its order.
    pub outputs: &'a [Port],
    /// The place of the input that takes an image.
    pub image_input: usize,
    /// The largest encoded image, in bytes.
    pub max_image_bytes: usize,
}

/// Why a request cannot be read. The text is one sentence for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OipError {
    /// A parameter, an input or an output that cannot be used.
    #[error("`{name}`: {why}")]
    BadParameter {
        /// Its name.
        name: String,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// A body that is not what the protocol says.
    #[error("{0}")]
    BadBody(String),
    /// An image has more bytes than the limit.
    #[error("{}", over_image_limit(.what, *.limit))]
    TooLarge {
        /// What is too large, and how large it is.
        what: String,
        /// The limit in bytes.
        limit: usize,
    },
}

impl OipError {
    /// A parameter, an input or an output that cannot be used.
    pub(crate) fn parameter(name: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::BadParameter { name: name.into(), why: why.to_string() }
    }
}

/// The number of a type in Triton's enum `DataType`.
#[must_use]
pub fn triton_data_type(element: ElementType) -> i32 {
    match element {
        ElementType::Bool => 1,
        ElementType::U8 => 2,
        ElementType::U16 => 3,
        ElementType::U32 => 4,
        ElementType::U64 => 5,
        ElementType::I8 => 6,
        ElementType::I16 => 7,
        ElementType::I32 => 8,
        ElementType::I64 => 9,
        ElementType::F16 => 10,
        ElementType::F32 => 11,
        ElementType::F64 => 12,
    }
}

#[cfg(test)]
mod tests;
