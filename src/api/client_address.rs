//! Which address a request comes from: the connection's, or the client's for whom a trusted proxy asks.

use std::{net::IpAddr, sync::Once};

use axum::http::{Extensions, HeaderMap};

use super::peer::Peer;
use crate::{config::Config, limits};

/// The address of the client of a request; where only a proxy is known, the proxy's. There is none where no connection is, as in tests.
pub(super) fn client_address(config: &Config, extensions: &Extensions, headers: &HeaderMap) -> Option<IpAddr> {
    let peer = extensions.get::<Peer>()?.address.ip();
    let name = config.proxy.header.name();
    if !config.proxy.trusted.contain(peer) {
        if headers.contains_key(name) {
            warn_once(peer, name);
        }
        return Some(peer.to_canonical());
    }
    let lines = headers.get_all(name).iter().map(|value| value.as_bytes());
    Some(limits::client_address(&config.proxy, peer, lines))
}

/// Says once that a header is not believed. A client may send it as well, so it need not be a mistake of the operator.
fn warn_once(peer: IpAddr, header: &str) {
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        tracing::warn!(
            %peer,
            header,
            "a request names another address than it comes from, and is not believed: if {peer} is your proxy, add it to `proxy.trusted`, \
             or all its clients count as one"
        );
    });
}
