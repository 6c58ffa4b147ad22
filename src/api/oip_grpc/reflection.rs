//! Reflection: which services and messages there are, for clients that have no `.proto` file.

use std::sync::Arc;

use axum::{Router, extract::Request, routing::post};
use tonic_reflection::server::Builder;
use tower::ServiceExt;

use crate::inference::Inference;

/// What `make proto` makes of the files in `proto/`.
const DESCRIPTORS: &[u8] = include_bytes!("../../../proto/descriptors.bin");

/// Adds both versions of the reflection service.
pub(super) fn add(routes: Router<Arc<Inference>>) -> Router<Arc<Inference>> {
    let builder = || Builder::configure().register_encoded_file_descriptor_set(DESCRIPTORS);
    let (v1, v1alpha) = match (builder().build_v1(), builder().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => (v1, v1alpha),
        // A test asks for reflection, so this is no more than what the types want.
        (Err(error), _) | (_, Err(error)) => {
            tracing::error!(%error, "there is no reflection over gRPC");
            return routes;
        }
    };
    routes
        .route(
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            post(|request: Request| v1.oneshot(request)),
        )
        .route(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
            post(|request: Request| v1alpha.oneshot(request)),
        )
}
