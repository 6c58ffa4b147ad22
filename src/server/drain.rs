//! The end of connections and of requests in flight.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use hyper_util::server::graceful::GracefulShutdown;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

/// Interval at which the number of open connections is checked.
const LINGER_CHECK: Duration = Duration::from_millis(5);

/// Closes the socket, and returns the connections that were waiting to be accepted. Merely closing it would reset them.
pub(super) fn pending_connections(listener: TcpListener) -> Vec<(TcpStream, SocketAddr)> {
    let Ok(listener) = listener.into_std() else { return Vec::new() };
    let ready = |stream: std::net::TcpStream| stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
    // The socket does not block, so an error means that no connection is left. An aborted connection is skipped.
    let next = || loop {
        match listener.accept() {
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionAborted => {}
            accepted => return accepted.ok(),
        }
    };
    std::iter::from_fn(next).filter_map(|(stream, address)| Some((ready(stream).ok()?, address))).collect()
}

/// Closes connections that are idle after `linger`, and waits for the others to finish their requests.
///
/// Where connections are kept alive, a client may already have sent a request before it learns that the server stops.
/// Such a request still finds its connection open while the connections linger.
pub(super) async fn close_connections(connections: GracefulShutdown, linger: Duration) {
    let begun = Instant::now();
    while connections.count() > 0 && begun.elapsed() < linger {
        tokio::time::sleep(LINGER_CHECK).await;
    }
    connections.shutdown().await;
}

/// Waits until all servers have ended, for at most the grace time.
///
/// # Errors
/// A server has panicked.
pub(super) async fn wait_for(servers: Vec<JoinHandle<()>>, grace: Duration) -> anyhow::Result<()> {
    let all = async {
        for server in servers {
            server.await?;
        }
        anyhow::Ok(())
    };
    match tokio::time::timeout(grace, all).await {
        Ok(ended) => ended,
        Err(_) => {
            tracing::warn!(grace_ms = grace.as_millis(), "requests were still in flight after the grace time");
            Ok(())
        }
    }
}
