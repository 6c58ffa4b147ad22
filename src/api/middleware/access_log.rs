//! One line in the log for each request, when its answer is known, and a span around what is logged until then.

use std::time::Instant;

use axum::{Extension, extract::Request, middleware::Next, response::Response};
use tracing::{Instrument, field::Empty};

use super::{is_probe, matched_route, request_info::RequestInfo};
use crate::{api::oip_grpc::status::GrpcCode, stats::round::places, telemetry::TraceContext};

/// Runs a request inside a span of its own, and logs it.
pub(in crate::api) async fn log_request(
    Extension(info): Extension<RequestInfo>,
    Extension(context): Extension<TraceContext>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let (method, route) = (request.method().clone(), matched_route(&request));
    let route = route.as_deref().unwrap_or("none");
    let span = tracing::info_span!("request", request_id = %info.id(), trace_id = %context.trace_id(), model = Empty);
    let response = next.run(request).instrument(span.clone()).await;
    let (status, duration_ms) = (response.status().as_u16(), places(started.elapsed().as_secs_f64() * 1e3, 3));
    // Absent over HTTP, and where a stream only begins.
    let grpc_status = response.extensions().get::<GrpcCode>().map(|GrpcCode(code)| *code);
    span.in_scope(|| {
        if is_probe(route) {
            tracing::debug!(%method, route, status, grpc_status, duration_ms, "answered");
        } else {
            tracing::info!(%method, route, status, grpc_status, duration_ms, "answered");
        }
    });
    response
}
