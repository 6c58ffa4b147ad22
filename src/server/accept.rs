//! Accepts TCP connections and serves them over HTTP/1 and HTTP/2.

use std::{net::SocketAddr, time::Duration};

use axum::{Router, extract::Request};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tower::ServiceExt;

use super::drain;
use crate::api::Peer;

/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Time limits of connections.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeouts {
    /// Longest time before and during the head of a request.
    pub header: Duration,
    /// Time that idle connections stay open after the last one was accepted, for requests that are already on their way.
    pub linger: Duration,
}

/// Accepts connections and serves `app` on them until `stopped` turns true. The task ends when all connections have
/// finished their requests.
pub(super) fn serve(
    listener: TcpListener,
    app: Router,
    timeouts: Timeouts,
    mut stopped: watch::Receiver<bool>,
) -> JoinHandle<()> {
    let mut connections = auto::Builder::new(TokioExecutor::new());
    // A client that sends only half a head must not hold a socket for ever.
    connections.http1().timer(TokioTimer::new()).header_read_timeout(timeouts.header);
    connections.http2().timer(TokioTimer::new());
    let graceful = GracefulShutdown::new();
    let stop = async move {
        // An error means that the sender has been dropped, and then the server has to stop, too.
        drop(stopped.wait_for(|stopped| *stopped).await);
    };
    tokio::spawn(async move {
        tokio::pin!(stop);
        let connect = |(stream, address): (TcpStream, SocketAddr)| {
            // Answers are small, so waiting to fill a TCP segment would only add latency.
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY");
            }
            let peer = Peer { address, certificate_tenant: None };
            let service = app.clone().map_request(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(peer.clone());
                request
            });
            let service = TowerToHyperService::new(service);
            let connection = connections.serve_connection(TokioIo::new(stream), service);
            let connection = graceful.watch(connection.into_owned());
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(error, "a connection ended");
                }
            });
        };
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    Err(error) => {
                        // The client went away at once, or no file descriptor is left. Neither ends the server.
                        tracing::debug!(%error, "accept");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                        continue;
                    }
                },
            };
            connect(accepted);
        }
        drain::pending_connections(listener).into_iter().for_each(connect);
        drain::close_connections(graceful, timeouts.linger).await;
    })
}
