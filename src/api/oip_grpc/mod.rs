//! The Open Inference Protocol over gRPC: service `inference.GRPCInferenceService` with Triton's extensions, gRPC's health checks, and
//! reflection. The messages are those of `proto/open_inference.proto`.
//!
//! What the protocol says is known to [`oip`](crate::oip), the same as over HTTP. Here stand the handlers, one route a method, so that
//! each method is logged, counted and guarded like any other route:
//!
//! - `frames`: messages in bodies. A body is read as those over HTTP are, so that it takes memory as it comes; tonic's own reader
//!   would take as much as a message announces.
//! - `status`: a problem's code. Handlers refuse with a [`Problem`], as those of HTTP do.
//! - `infer`, `stream`, `metadata`, `statistics`, `repository`, `health`, `reflection`: the methods.

pub(super) mod frames;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod health;
mod infer;
mod messages;
mod metadata;
mod reflection;
mod repository;
mod statistics;
pub(super) mod status;
mod stream;
mod stream_messages;
mod timeout;

use std::sync::Arc;

use axum::{Router, extract::Request, routing::post};

use super::problem::{Problem, kinds};
use crate::inference::Inference;

/// The methods of the Open Inference Protocol that ask a model or about one, health checks, and reflection.
pub(super) fn routes() -> Router<Arc<Inference>> {
    let routes = Router::new()
        .route("/inference.GRPCInferenceService/ServerLive", post(metadata::server_live))
        .route("/inference.GRPCInferenceService/ServerReady", post(metadata::server_ready))
        .route("/inference.GRPCInferenceService/ServerMetadata", post(metadata::server))
        .route("/inference.GRPCInferenceService/ModelReady", post(metadata::model_ready))
        .route("/inference.GRPCInferenceService/ModelMetadata", post(metadata::model))
        .route("/inference.GRPCInferenceService/ModelConfig", post(metadata::model_config))
        .route("/inference.GRPCInferenceService/ModelStatistics", post(statistics::statistics))
        .route("/inference.GRPCInferenceService/ModelInfer", post(infer::infer))
        .route("/inference.GRPCInferenceService/ModelStreamInfer", post(stream::infer))
        .route("/inference.GRPCInferenceService/{*method}", post(not_offered))
        .route("/grpc.health.v1.Health/Check", post(health::check))
        .route("/grpc.health.v1.Health/Watch", post(health::watch));
    reflection::add(routes)
}

/// The method that lists models. It is served where that of HTTP is.
pub(super) fn index_routes() -> Router<Arc<Inference>> {
    Router::new().route("/inference.GRPCInferenceService/RepositoryIndex", post(repository::index))
}

/// The methods that load and unload models. They are served where those of HTTP are.
pub(super) fn change_routes() -> Router<Arc<Inference>> {
    Router::new()
        .route("/inference.GRPCInferenceService/RepositoryModelLoad", post(repository::load))
        .route("/inference.GRPCInferenceService/RepositoryModelUnload", post(repository::unload))
}

/// Answers the methods of the service that are not served here.
async fn not_offered(request: Request) -> Problem {
    let method = request.uri().path().rsplit('/').next().unwrap_or_default();
    let detail = if method.contains("SharedMemory") {
        "shared memory is not offered; send the data in the request".to_owned()
    } else if method.starts_with("Repository") {
        format!("{method} is served on the admin listener (setting `admin_listen`)")
    } else {
        format!("{method} is not offered; reflection lists the methods that are")
    };
    Problem::new(&kinds::NOT_OFFERED, detail)
}
