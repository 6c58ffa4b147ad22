//! `ModelStreamInfer`: each message of the client is a request of its own, and the answers come in the order of the requests.
//!
//! Every message is admitted for itself, so that a stream is no way around the limits. So many run at once; the others stay with the
//! client, which HTTP/2 stops. A request that is refused gets an answer that says why, and the stream goes on.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use axum::{
    Extension,
    body::{Body, Bytes},
    extract::{Request, State},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream, stream::FuturesOrdered};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::task::JoinHandle;
use tonic::Status;
use tracing::{Instrument, Span};

use super::{
    frames::{self, Packed},
    health::until_streams_end,
    infer::{Call, RefusedMessage},
    status::{self, Streams},
    stream_messages::Messages,
};
use crate::{
    api::{middleware::request_info::RequestInfo, problem::Problem},
    error::Error,
    inference::{Inference, Permit},
    oip::{ModelInferResponse, ModelStreamInferResponse},
};

/// How many requests of a stream run at once.
const CONCURRENT_MESSAGES: usize = 16;

/// Answers a stream.
pub(super) async fn infer(
    State(inference): State<Arc<Inference>>,
    Extension(info): Extension<RequestInfo>,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let end = Box::pin(until_streams_end(Arc::clone(&inference)));
    let call = Call::new(inference, info, &head, Instant::now())?;
    let messages = Messages::new(body, frames::packing(&head.headers)?, call.clone());
    let answers = Answers { messages, running: FuturesOrdered::new(), call, span: Span::current(), end, over: None };
    let frames = stream::unfold(Some(answers), async |answers| {
        let mut answers = answers?;
        Some(match answers.next().await {
            Some(answer) => (Ok::<_, Infallible>(Frame::data(answer)), Some(answers)),
            None => (Ok(Frame::trailers(frames::trailers(&answers.status()))), None),
        })
    });
    let body = Body::new(StreamBody::new(frames).boxed_unsync());
    Ok((Extension(Streams), [(header::CONTENT_TYPE, frames::CONTENT_TYPE)], body).into_response())
}

/// The answers of a stream. What still runs is given up when this is dropped, as it is when the client goes away.
struct Answers {
    messages: Messages,
    running: FuturesOrdered<RunningMessage>,
    call: Call,
    /// The request's, for what is logged.
    span: Span,
    /// Comes when the server ends.
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Why no more requests are read; what runs is still answered.
    over: Option<Result<(), Problem>>,
}

impl Answers {
    /// The next answer; none when all are given.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let reads = self.over.is_none() && self.running.len() < CONCURRENT_MESSAGES;
            if !reads && self.running.is_empty() {
                return None;
            }
            tokio::select! {
                biased;
                Some(answer) = self.running.next() => return Some(answer),
                message = self.messages.next(), if reads => match message {
                    Ok(Some(Ok((message, permit)))) => self.start(message, permit),
                    Ok(Some(Err(problem))) => {
                        let refused = Err(RefusedMessage { id: String::new(), problem });
                        return Some(frames::frame(&count(&self.call, refused)));
                    }
                    Ok(None) => self.over = Some(Ok(())),
                    Err(problem) => self.over = Some(Err(problem)),
                },
                () = &mut self.end, if self.over.is_none() => {
                    self.over = Some(Err(Error::Closed.into()));
                }
            }
        }
    }

    /// Runs a request on its own, so that it ends and gives its place back even where the client takes no answers.
    fn start(&mut self, message: Packed, permit: Permit) {
        let call = self.call.clone();
        let work = async move {
            let (call, answered) = match call.of_message() {
                Ok(call) => {
                    let answered = call.answer(message, permit, Instant::now()).await;
                    (call, answered)
                }
                Err(problem) => (call, Err(RefusedMessage { id: String::new(), problem })),
            };
            frames::frame(&count(&call, answered))
        };
        self.running.push_back(RunningMessage(tokio::spawn(work.instrument(self.span.clone()))));
    }

    /// The status that the stream ends with. A refusal of the whole stream is counted here.
    fn status(&self) -> Status {
        match &self.over {
            Some(Err(problem)) => {
                count_refusal(&self.call, problem);
                status::of(problem)
            }
            Some(Ok(())) | None => Status::ok(""),
        }
    }
}

/// The answer to one request, counted.
fn count(call: &Call, answered: Result<ModelInferResponse, RefusedMessage>) -> ModelStreamInferResponse {
    match answered {
        Ok(answer) => {
            call.inference.metrics().grpc_responded(ROUTE, status::name(tonic::Code::Ok));
            ModelStreamInferResponse::answer(answer)
        }
        Err(RefusedMessage { id, problem }) => {
            count_refusal(call, &problem);
            ModelStreamInferResponse::refusal(id, problem.detail)
        }
    }
}

/// The route of a stream, by which its messages are counted.
const ROUTE: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

fn count_refusal(call: &Call, problem: &Problem) {
    let code = status::name(status::code(problem));
    call.inference.metrics().grpc_responded(ROUTE, code);
    if let Some(reason) = problem.refusal() {
        call.inference.refused(call.info.model().unwrap_or_default(), reason);
    }
    tracing::debug!(grpc_status = code, detail = problem.detail, "a message of a stream was refused");
}

/// A request that runs; it is given up when this is dropped.
struct RunningMessage(JoinHandle<Bytes>);

impl Future for RunningMessage {
    type Output = Bytes;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Bytes> {
        Pin::new(&mut self.0).poll(context).map(|ended| {
            // It has panicked, and the panic hook has logged where.
            let panicked = |_| ModelStreamInferResponse::refusal(String::new(), Problem::our_mistake().detail);
            ended.unwrap_or_else(|error| frames::frame(&panicked(error)))
        })
    }
}

impl Drop for RunningMessage {
    fn drop(&mut self) {
        self.0.abort();
    }
}
