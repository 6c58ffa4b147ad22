//! The metrics of this server, as Prometheus scrapes them.

use std::sync::Arc;

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};

use crate::inference::Inference;

/// Metrics in Prometheus' text format.
#[utoipa::path(get, path = "/metrics", tag = "health", responses((status = 200, description = "Metrics", body = String)))]
pub(in crate::api) async fn metrics(State(inference): State<Arc<Inference>>) -> Response {
    let content_type = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    // Before the counters are gathered, so that the accounts add up in what is scraped.
    inference.ledger().balance();
    (content_type, inference.metrics().render()).into_response()
}
