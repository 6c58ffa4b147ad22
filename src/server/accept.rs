//! Accepts connections, and gives each to a task that serves it.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    task::JoinHandle,
};

use super::{
    connection::{Protocols, Routes},
    drain::{self, Phase},
    slots::Slots,
    tls::Tls,
    transport::Transport,
};
use crate::api::Peer;

/// Pause after a connection could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Least time between two warnings that connections cannot be accepted.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// What is the same for all connections of a listener.
#[derive(Debug)]
pub(super) struct Door {
    pub routes: Routes,
    pub protocols: Protocols,
    pub slots: Arc<Slots>,
    /// TLS; none where the listener speaks plain HTTP.
    pub tls: Option<Arc<Tls>>,
}

/// Accepts connections and serves them until the server closes. The task ends when all connections have ended.
pub(super) fn serve(listener: TcpListener, door: Door, phase: watch::Receiver<Phase>) -> JoinHandle<()> {
    let door = Arc::new(door);
    let mut closing = phase.clone();
    let close = async move {
        // An error means that the sender has been dropped, and then the server has to stop, too.
        drop(closing.wait_for(|phase| *phase == Phase::Closing).await);
    };
    tokio::spawn(async move {
        tokio::pin!(close);
        // Each connection holds a sender until it ends.
        let (alive, mut all_ended) = mpsc::channel::<()>(1);
        let mut warned: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                () = &mut close => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, address)) => admit(&door, stream, address, &phase, &alive),
                // The client went away at once.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    door.routes.inference.metrics().connection_refused("open_files");
                    if warned.is_none_or(|at| at.elapsed() >= WARNING_INTERVAL) {
                        warned = Some(Instant::now());
                        tracing::warn!(
                            %error,
                            "connections cannot be accepted; if files are too many, raise their limit (`ulimit -n`) or lower `connections.max`"
                        );
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        for (stream, address) in drain::pending_connections(listener) {
            admit(&door, stream, address, &phase, &alive);
        }
        drop(alive);
        // No one ever sends anything: it ends when the last connection has.
        all_ended.recv().await;
    })
}

/// Takes a slot for a connection and serves it on a task of its own, or closes it at once.
fn admit(
    door: &Arc<Door>,
    stream: TcpStream,
    address: SocketAddr,
    phase: &watch::Receiver<Phase>,
    alive: &mpsc::Sender<()>,
) {
    let slot = match door.slots.take(address.ip()) {
        Ok(slot) => slot,
        Err(refusal) => {
            tracing::debug!(%address, reason = refusal.reason(), "a connection was refused");
            return;
        }
    };
    // Answers are small, so waiting to fill a TCP segment would only add latency.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let (id, door, phase, alive) = (slot.id, Arc::clone(door), phase.clone(), alive.clone());
    let slots = Arc::clone(&door.slots);
    let task = tokio::spawn(async move {
        let (transport, certificate_tenant) = match &door.tls {
            None => (Transport::Plain(stream), None),
            Some(tls) => match tls.handshake(stream).await {
                Ok((stream, tenant)) => (Transport::Tls(Box::new(stream)), tenant),
                Err(error) => {
                    door.routes.inference.metrics().connection_refused("tls");
                    tracing::debug!(%address, %error, "no TLS");
                    return;
                }
            },
        };
        let peer = Peer { address, certificate_tenant };
        door.protocols.serve(transport, peer, door.routes.clone(), Arc::clone(&slot.activity), phase).await;
        drop((slot, alive));
    });
    slots.serve_by(id, task.abort_handle());
}
