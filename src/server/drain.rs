//! The end of connections and of requests in flight.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

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

/// Where the server is on its way to its end, for its connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It serves.
    Serving,
    /// It still serves, and asks clients to go elsewhere.
    Draining,
    /// It takes no more connections, and ends those that are open once their requests are answered.
    Closing,
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
