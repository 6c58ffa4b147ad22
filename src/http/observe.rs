//! The outermost layer: the request's id, its span, its line in the access log, and the body of a problem.

use std::time::Instant;

use axum::{
    extract::{MatchedPath, Request},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use tracing::{Instrument, Span, field::Empty};
use ulid::Ulid;

use super::{problem::Problem, round::places};

/// The header that carries the id, both ways.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken from a client.
const LONGEST_ID: usize = 128;

/// Names a request, in the answer, in problems and in the log.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub String);

impl RequestId {
    /// The client's, when it is short and visible ASCII; else a new one.
    fn of(request: &Request) -> Self {
        let theirs = request.headers().get(REQUEST_ID).and_then(|value| value.to_str().ok());
        match theirs {
            Some(id) if (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) => {
                Self(id.to_owned())
            }
            _ => Self(Ulid::r#gen().to_string()),
        }
    }
}

/// Tells the request's span which model it is about.
pub(super) fn record_model(name: &str) {
    Span::current().record("model", name);
}

/// Runs a request inside a span of its own and logs it once, when its answer is known.
pub(super) async fn observe(mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = RequestId::of(&request);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let span = tracing::info_span!("request", request_id = %id.0, model = Empty);
    request.extensions_mut().insert(id.clone());

    let mut response = next.run(request).instrument(span.clone()).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let bare = std::mem::replace(&mut response, problem.render(Some(&id.0)));
        for (name, value) in bare.headers() {
            if name != axum::http::header::CONTENT_LENGTH {
                response.headers_mut().entry(name).or_insert_with(|| value.clone());
            }
        }
    }
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert(REQUEST_ID, value);
    }

    let (status, duration_ms) = (response.status().as_u16(), places(started.elapsed().as_secs_f64() * 1e3, 3));
    span.in_scope(|| {
        if is_probe(&route) {
            tracing::debug!(%method, route, status, duration_ms, "answered");
        } else {
            tracing::info!(%method, route, status, duration_ms, "answered");
        }
    });
    response
}

/// Paths that machines ask every few seconds, which would drown the rest.
fn is_probe(route: &str) -> bool {
    matches!(route, "/livez" | "/readyz" | "/metrics" | "/v2/health/live" | "/v2/health/ready")
}
