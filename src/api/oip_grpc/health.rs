//! gRPC's health checks, of the server and of each model. Nothing is kept here: every answer is what is so at that moment.

use std::{convert::Infallible, future::Future, pin::Pin, sync::Arc, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{Request, State},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tonic::Status;

use super::{
    frames,
    messages::{HealthCheckRequest, HealthCheckResponse},
    metadata::read,
    status::Streams,
};
use crate::{
    api::{
        admin::health::check_ready,
        problem::{Problem, kinds},
    },
    inference::Inference,
};

/// The service that answers requests; it is as healthy as the server.
const INFERENCE: &str = "inference.GRPCInferenceService";

/// How often a watch looks whether something has changed.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);

/// What health checks say, by their numbers on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ServingStatus {
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

impl ServingStatus {
    /// The state of the server (``""``), of the inference service, or of a model.
    fn of(inference: &Inference, service: &str) -> Self {
        let known = matches!(service, "" | INFERENCE) || inference.models().model(service).is_ok();
        match check_ready(inference) {
            Ok(()) if known => Self::Serving,
            Ok(()) => Self::ServiceUnknown,
            // Before models are loaded, nobody knows which there are.
            Err(_) => Self::NotServing,
        }
    }

    fn message(self) -> HealthCheckResponse {
        HealthCheckResponse { status: self as i32 }
    }
}

/// The state at this moment.
pub(super) async fn check(State(inference): State<Arc<Inference>>, request: Request) -> Result<Response, Problem> {
    let HealthCheckRequest { service } = read(&inference, request).await?;
    match ServingStatus::of(&inference, &service) {
        ServingStatus::ServiceUnknown => {
            let detail = format!("there is no service `{service}`; ask for \"\", `{INFERENCE}` or a model's name");
            Err(Problem::new(&kinds::UNKNOWN_MODEL, detail))
        }
        known => Ok(frames::reply(&known.message())),
    }
}

/// A watch over a service.
struct Watch {
    inference: Arc<Inference>,
    service: String,
    told: Option<ServingStatus>,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    ended: bool,
}

/// The state, and each change of it, until the client goes away or the server ends.
pub(super) async fn watch(State(inference): State<Arc<Inference>>, request: Request) -> Result<Response, Problem> {
    let HealthCheckRequest { service } = read(&inference, request).await?;
    let end = Box::pin(until_streams_end(Arc::clone(&inference)));
    let watch = Watch { inference, service, told: None, end, ended: false };
    let frames = stream::unfold(Some(watch), async |watch| {
        let mut watch = watch?;
        loop {
            let now = ServingStatus::of(&watch.inference, &watch.service);
            if watch.told != Some(now) {
                watch.told = Some(now);
                return Some((Ok::<_, Infallible>(Frame::data(frames::frame(&now.message()))), Some(watch)));
            }
            if watch.ended {
                let status = Status::unavailable("the server is shutting down");
                return Some((Ok(Frame::trailers(frames::trailers(&status))), None));
            }
            tokio::select! {
                // The client hears of it once more, before the end.
                () = &mut watch.end => watch.ended = true,
                () = tokio::time::sleep(WATCH_INTERVAL) => {}
            }
        }
    });
    let body = Body::new(StreamBody::new(frames).boxed_unsync());
    Ok((Extension(Streams), [(header::CONTENT_TYPE, frames::CONTENT_TYPE)], body).into_response())
}

/// Waits until streams have to end: when the server has drained for as long as it takes requests while it does.
pub(super) async fn until_streams_end(inference: Arc<Inference>) {
    inference.lifecycle().draining().await;
    tokio::time::sleep(inference.config().shutdown.drain_delay).await;
}
