//! A request's id, and what is known of the request while it runs.
//!
//! The layer puts a [`RequestInfo`] into the request's extensions. Handlers tell it which model they ask and what was answered; the
//! log, the span and the counters read that. On the way back the layer writes the body of a [`Problem`], since a problem names the
//! request's id.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::SystemTime,
};

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    middleware::Next,
    response::Response,
};
use tracing::Span;
use ulid::Ulid;

use crate::{
    api::{oip_grpc::frames, problem::Problem},
    inference::Timing,
    telemetry::{Answered, SpanDetails},
};

/// The header that carries the id, both ways.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken from a client.
const MAX_ID_BYTES: usize = 128;

/// What is known of a request while it runs. Clones are the same request's.
#[derive(Debug, Clone)]
pub(in crate::api) struct RequestInfo(Arc<SharedInfo>);

#[derive(Debug)]
struct SharedInfo {
    id: String,
    grpc: bool,
    model: OnceLock<String>,
    answers: Mutex<Vec<Answered>>,
}

impl RequestInfo {
    /// A request with the client's id, when that is short and visible ASCII; else with a new one.
    pub(in crate::api) fn new(headers: &HeaderMap) -> Self {
        let theirs = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
        let sane = |id: &&str| (1..=MAX_ID_BYTES).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
        let id = theirs.filter(sane).map_or_else(|| Ulid::generate().to_string(), ToOwned::to_owned);
        Self::named(id, frames::is_grpc(headers))
    }

    fn named(id: String, grpc: bool) -> Self {
        Self(Arc::new(SharedInfo { id, grpc, model: OnceLock::new(), answers: Mutex::default() }))
    }

    /// What is known of one message of a stream, which has the stream's id and may ask a model of its own.
    pub(in crate::api) fn of_message(&self) -> Self {
        Self::named(self.0.id.clone(), self.0.grpc)
    }

    /// Whether it is a call of gRPC, so that its answer tells of problems in gRPC's way.
    pub(in crate::api) fn is_grpc(&self) -> bool {
        self.0.grpc
    }

    /// The request's id: in the answer, in problems and in the log.
    pub(in crate::api) fn id(&self) -> &str {
        &self.0.id
    }

    /// Says which model is asked. Only the name of a model that is served may stand here, never one from the wire.
    pub(in crate::api) fn set_model(&self, name: &str) {
        Span::current().record("model", name);
        // A request asks one model.
        let _ = self.0.model.set(name.to_owned());
    }

    /// The model that is asked, once it is known.
    pub(in crate::api) fn model(&self) -> Option<&str> {
        self.0.model.get().map(String::as_str)
    }

    /// Says that an answer is there, from which variant of the model, and where its time went.
    pub(in crate::api) fn record_answer(&self, variant: &str, timing: &Timing) {
        self.answers().push(Answered {
            variant: variant.to_owned(),
            ended: SystemTime::now(),
            total: timing.total,
            stages: timing.stages,
        });
    }

    /// What handlers have said, for the span of the request.
    pub(super) fn take_details(&self) -> SpanDetails {
        SpanDetails { model: self.0.model.get().cloned(), answers: std::mem::take(&mut *self.answers()) }
    }

    fn answers(&self) -> MutexGuard<'_, Vec<Answered>> {
        self.0.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names the request, and writes the body of a problem.
pub(in crate::api) async fn identify(mut request: Request, next: Next) -> Response {
    let info = RequestInfo::new(request.headers());
    request.extensions_mut().insert(info.clone());
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>().filter(|_| !info.is_grpc()) {
        let bare = std::mem::replace(&mut response, problem.render(Some(info.id())));
        for (name, value) in bare.headers() {
            if name != header::CONTENT_LENGTH {
                response.headers_mut().entry(name).or_insert_with(|| value.clone());
            }
        }
    }
    if let Ok(value) = HeaderValue::from_str(info.id()) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}
