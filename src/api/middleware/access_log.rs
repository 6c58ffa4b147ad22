//! The outermost layer: the request's id, its trace, its span, its line in the access log, and the body of a problem.

use std::{
    cell::RefCell,
    pin::pin,
    time::{Duration, Instant, SystemTime},
};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use tracing::{Instrument, Span, field::Empty};
use ulid::Ulid;

use super::{problem::Problem, round::places, trace};
use crate::{
    inference::Timing,
    telemetry::{Answered, RequestSpan, SpanDetails, Traces, Watched},
};

/// The header that carries the id, both ways.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken from a client.
const LONGEST_ID: usize = 128;

/// The longest path that a collector is told.
const LONGEST_PATH: usize = 256;

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
            _ => Self(Ulid::generate().to_string()),
        }
    }
}

tokio::task_local! {
    /// The request that runs, where a collector will hear of it.
    static WATCHED: RefCell<Option<Watched>>;
}

/// Calls `tell` when the request's trace is recorded.
fn tell(tell: impl FnOnce(&mut SpanDetails)) {
    // Outside a request, as in a test of a handler, nobody listens.
    let _ = WATCHED.try_with(|watched| watched.borrow_mut().as_mut().and_then(Watched::told).map(tell));
}

/// Tells the request's span which model it is about.
pub(super) fn record_model(name: &str) {
    Span::current().record("model", name);
    tell(|told| told.model = Some(name.to_owned()));
}

/// Tells the request's span that an answer is there, from which of the model's files, and where its time went.
pub(super) fn record_answer(variant: &str, timing: &Timing) {
    tell(|told| {
        let (variant, ended, total) = (variant.to_owned(), SystemTime::now(), trace::duration(timing.total_ms));
        told.answers.push(Answered { variant, ended, total, stages: trace::stages(timing) });
    });
}

/// Runs a request inside a span of its own and logs it once, when its answer is known.
pub(super) async fn observe(State(traces): State<Traces>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = RequestId::of(&request);
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let route = matched.as_deref().unwrap_or("none");
    let (mut context, state) = trace::read(request.headers());
    context.sampled = traces.sampled(&context, is_probe(route));
    let watched = traces.watch(&context, || RequestSpan {
        context,
        began: SystemTime::now(),
        took: Duration::ZERO,
        method: trace::method(request.method()),
        route: matched.clone(),
        path: request.uri().path().chars().take(LONGEST_PATH).collect(),
        protocol: trace::protocol(request.version()),
        status: None,
        request_id: id.0.clone(),
        told: SpanDetails::default(),
    });
    let span = tracing::info_span!("request", request_id = %id.0, trace_id = %context.trace_id(), model = Empty);
    request.extensions_mut().insert(id.clone());

    let mut answering = pin!(WATCHED.scope(RefCell::new(watched), next.run(request).instrument(span.clone())));
    let mut response = answering.as_mut().await;
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
    trace::write(&context, state, response.headers_mut());

    let (status, duration_ms) = (response.status().as_u16(), places(started.elapsed().as_secs_f64() * 1e3, 3));
    span.in_scope(|| {
        if is_probe(route) {
            tracing::debug!(%method, route, status, duration_ms, "answered");
        } else {
            tracing::info!(%method, route, status, duration_ms, "answered");
        }
    });
    if let Some(watched) = answering.as_mut().take_value().and_then(RefCell::into_inner) {
        watched.answered(status);
    }
    response
}

/// Paths that machines ask every few seconds, which would drown the rest.
fn is_probe(route: &str) -> bool {
    matches!(route, "/livez" | "/readyz" | "/metrics" | "/v2/health/live" | "/v2/health/ready")
}
