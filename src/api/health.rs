//! Whether the server lives, whether it is ready, and its metrics.

use std::time::Duration;

use axum::{
    extract::{Request, State},
    http::{HeaderValue, Version, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::{
    kinds,
    problem::{Problem, ProblemBody, not_ready},
};
use crate::{inference::Pipeline, lifecycle};

/// The process answers.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, description = "Alive", body = String)))]
pub(super) async fn live() -> &'static str {
    "ok"
}

/// The server takes requests.
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, description = "Ready", body = String),
    (status = 503, description = "Not ready, and why", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(super) async fn ready(State(pipeline): State<Pipeline>) -> Result<&'static str, Problem> {
    check_ready(&pipeline).map(|()| "ok")
}

/// Why the server is not ready, if it is not.
pub(super) fn check_ready(pipeline: &Pipeline) -> Result<(), Problem> {
    match pipeline.state() {
        lifecycle::LifecycleState::Starting => return Err(not_ready("the server is starting")),
        lifecycle::LifecycleState::Draining => {
            return Err(
                Problem::new(&kinds::DRAINING, "the server is shutting down").retry_after(Duration::from_secs(1))
            );
        }
        lifecycle::LifecycleState::Ready => {}
    }
    Ok(())
}

/// While the server drains, every answer ends its connection: then clients and balancers that keep some alive go elsewhere
/// before the sockets close, which would tear a request that is just setting out.
pub(super) async fn part(State(pipeline): State<Pipeline>, request: Request, next: Next) -> Response {
    // HTTP/2 has no such header; it says it when the connection ends.
    let has_header = request.version() <= Version::HTTP_11;
    let mut response = next.run(request).await;
    if has_header && pipeline.state() == lifecycle::LifecycleState::Draining {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, description = "Metrics", body = String)))]
pub(super) async fn metrics(State(pipeline): State<Pipeline>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], pipeline.render_metrics()).into_response()
}
