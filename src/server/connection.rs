//! Serves one connection: HTTP/1 or HTTP/2, from its first byte to its end.

use std::{convert::Infallible, future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Instant};

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, Response, Version, header},
};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulConnection},
};
use tokio::sync::watch;
use tower::ServiceExt;

use super::{
    activity::{Activity, CountedBody},
    drain::Phase,
    life::{Life, Limits, Step},
    transport::Transport,
};
use crate::{
    api::{self, Peer},
    inference::Inference,
};

/// The most bytes of a request's head.
const MAX_HEAD_BYTES: u32 = 64 << 10;

/// The most requests that a client may have open at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 200;

/// The most HTTP/2 requests that a client may take back before the server has looked at them ("rapid reset", CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 20;

/// The most HTTP/2 requests of a client that the server may have to take back because of the client's errors ("made you reset",
/// CVE-2025-8671).
const MAX_ERROR_RESETS: usize = 100;

/// Serves connections.
#[derive(Debug, Clone)]
pub(super) struct Protocols {
    http: auto::Builder<TokioExecutor>,
    limits: Limits,
}

impl Protocols {
    pub(super) fn new(limits: Limits) -> Self {
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            // It covers a head and the pause before it; `Life` covers everything else.
            .header_read_timeout(limits.idle)
            .max_buf_size(MAX_HEAD_BYTES as usize);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_local_error_reset_streams(MAX_ERROR_RESETS)
            .max_header_list_size(MAX_HEAD_BYTES);
        Self { http, limits }
    }

    /// Serves a connection until it ends.
    pub(super) async fn serve(
        &self,
        transport: Transport,
        peer: Peer,
        routes: Routes,
        activity: Arc<Activity>,
        phase: watch::Receiver<Phase>,
    ) {
        let of_service = Arc::clone(&activity);
        let service = service_fn(move |request| routes.clone().answer(request, peer.clone(), Arc::clone(&of_service)));
        let connection = self.http.serve_connection(TokioIo::new(transport), service);
        watch_over(connection, &activity, self.limits.of_one(), phase).await;
    }
}

/// What answers requests.
#[derive(Debug, Clone)]
pub(super) struct Routes {
    pub router: Router,
    pub inference: Arc<Inference>,
}

impl Routes {
    /// Answers one request, and counts it as long as it is worked on and its answer is on its way.
    async fn answer(
        self,
        mut request: Request<Incoming>,
        peer: Peer,
        activity: Arc<Activity>,
    ) -> Result<Response<CountedBody>, Infallible> {
        let is_http2 = request.version() == Version::HTTP_2;
        let computing = activity.begin(is_http2);
        let mut response = match api::wrong_host(&self.inference, &request) {
            Some(refused) => refused,
            None => {
                request.extensions_mut().insert(peer);
                match self.router.oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                }
            }
        };
        if activity.is_leaving() && !is_http2 {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response.map(|body| computing.answer(body)))
    }
}

/// Drives a connection, and does with it what its [`Life`] says.
async fn watch_over<C>(connection: C, activity: &Activity, limits: Limits, mut phase: watch::Receiver<Phase>)
where
    C: GracefulConnection<Error = Box<dyn std::error::Error + Send + Sync>>,
{
    let mut connection = pin!(connection);
    let mut life = Life::new(limits, Instant::now());
    life.enter(*phase.borrow_and_update(), Instant::now());
    let mut alarm = pin!(tokio::time::sleep_until(life.next_look(Instant::now()).into()));
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(error, "a connection ended");
                }
                return;
            }
            changed = phase.changed(), if !life.is_closing() => {
                // Whoever tells the phase is gone, and the server with it.
                let now = if changed.is_ok() { *phase.borrow_and_update() } else { Phase::Closing };
                life.enter(now, Instant::now());
            }
            () = alarm.as_mut() => {}
        }
        // A request that is here already is begun before it is asked whether the connection is idle.
        let first = poll_fn(|context| Poll::Ready(connection.as_mut().poll(context))).await;
        if first.is_ready() {
            return;
        }
        let now = Instant::now();
        let step = life.look(activity.counts(), activity.is_http2(), now);
        activity.set_quiet_looks(life.quiet_looks());
        match step {
            Step::GoOn => {}
            Step::Leave => activity.leave(),
            Step::Shut => connection.as_mut().graceful_shutdown(),
            Step::Close(reason) => {
                tracing::debug!(reason, "a connection was closed");
                return;
            }
        }
        alarm.as_mut().reset(life.next_look(now).into());
    }
}
