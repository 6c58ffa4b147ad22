//! While the server drains, every answer ends its connection: then clients and balancers that keep some alive go elsewhere before the
//! sockets close, which would tear a request that is just setting out.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, Version, header},
    middleware::Next,
    response::Response,
};

use crate::{inference::Inference, lifecycle};

/// Sets `Connection: close` on answers while the server drains.
pub(in crate::api) async fn close_connections(
    State(inference): State<Arc<Inference>>,
    request: Request,
    next: Next,
) -> Response {
    // HTTP/2 has no such header; it says it when the connection ends.
    let has_header = request.version() <= Version::HTTP_11;
    let mut response = next.run(request).await;
    if has_header && inference.lifecycle().state() == lifecycle::LifecycleState::Draining {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
