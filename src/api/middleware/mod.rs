//! What happens around every request, whichever handler answers it. `routes` puts these layers around the routes, from the outside in:
//!
//! - [`draining`]: answers end their connections while the server drains.
//! - [`request_info`]: the request's id, what is known of the request while it runs, and the body of a problem.
//! - [`trace_context`]: the request's place in its client's trace, and its span for a collector.
//! - [`access_log`]: one line in the log for each request.
//! - [`security_headers`]: what browsers and caches are told.
//! - [`outcomes`]: counts the responses and the refusals that are really sent.
//! - [`auth`]: who asks, and whether he may.
//! - [`rate_limit`]: refuses clients that ask for more than they may, where the settings limit any.
//!
//! Inside of these a panic of a handler is caught, so that all of them see its response.

pub(super) mod access_log;
pub(super) mod auth;
pub(super) mod draining;
pub(super) mod outcomes;
pub(super) mod rate_limit;
pub(super) mod request_info;
pub(super) mod security_headers;
pub(super) mod trace_context;

use axum::{
    extract::{MatchedPath, Request},
    http::Method,
};

/// The pattern of the route that the request matched, if it matched one.
fn matched_route(request: &Request) -> Option<String> {
    request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned())
}

/// Whether machines ask this route every few seconds, so that the answers would drown all others in the log.
fn is_probe(route: &str) -> bool {
    matches!(
        route,
        "/livez"
            | "/readyz"
            | "/metrics"
            | "/v2/health/live"
            | "/v2/health/ready"
            | "/grpc.health.v1.Health/Check"
            | "/inference.GRPCInferenceService/ServerLive"
            | "/inference.GRPCInferenceService/ServerReady"
    )
}

/// The method by its name; `_OTHER` for one that HTTP does not define.
pub(super) fn method_name(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| known == method).unwrap_or("_OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_that_nobody_defined_have_one_name() {
        assert_eq!(method_name(&Method::GET), "GET");
        assert_eq!(method_name(&Method::from_bytes(b"BREW").expect("a token")), "_OTHER");
    }
}
