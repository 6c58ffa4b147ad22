//! Whether the server lives, and whether it is ready.

use std::{sync::Arc, time::Duration};

use axum::extract::State;

use crate::{
    api::problem::{Problem, ProblemBody, kinds, not_ready},
    inference::Inference,
    lifecycle,
};

/// The process answers.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, description = "Alive", body = String)))]
pub(in crate::api) async fn live() -> &'static str {
    "ok"
}

/// The server takes requests.
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, description = "Ready", body = String),
    (status = 503, description = "Not ready, and why", body = ProblemBody, content_type = "application/problem+json"),
))]
pub(in crate::api) async fn ready(State(inference): State<Arc<Inference>>) -> Result<&'static str, Problem> {
    check_ready(&inference).map(|()| "ok")
}

/// Why the server is not ready, if it is not.
pub(in crate::api) fn check_ready(inference: &Inference) -> Result<(), Problem> {
    match inference.lifecycle().state() {
        lifecycle::LifecycleState::Starting => return Err(not_ready("the server is starting")),
        lifecycle::LifecycleState::Draining => {
            return Err(
                Problem::new(&kinds::DRAINING, "the server is shutting down").retry_after(Duration::from_secs(1))
            );
        }
        lifecycle::LifecycleState::Ready => {}
    }
    if inference.models().serves_none() {
        return Err(not_ready("no model is served any more; load one with POST /v2/repository/models/{model}/load"));
    }
    Ok(())
}
