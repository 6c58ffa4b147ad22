//! Who is at the other end of a connection.

use std::{net::SocketAddr, sync::Arc};

/// The client's end of a connection. The server puts it into the extensions of each request that comes over the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The address that the connection comes from: the client's, or a proxy's.
    pub address: SocketAddr,
    /// The tenant that the client's certificate stands for, where the client showed one.
    pub certificate_tenant: Option<Arc<str>>,
}
