//! Who asks, and whether he may: the layer knows for every route which scope it needs. Handlers find an [`Identity`] in the request's extensions.
//!
//! A route that is missing from [`needs`] wants the scope `admin`, so that nobody opens one by forgetting it.

use std::{sync::Arc, time::SystemTime};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, header, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};

use super::rate_limit::count_denied;
use crate::{
    api::{body::Upload, peer::Peer, problem::Problem},
    auth::{Authenticator, CallSource, Credentials, Denied, Identity, Scope},
    inference::Inference,
};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What proxies add to a request that they pass on.
const OF_PROXIES: [&str; 4] = ["via", "forwarded", "x-forwarded-for", "x-real-ip"];

/// Which requests may call a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api) enum RouteAccess {
    /// Everybody may ask, key or not.
    Nothing,
    /// A key of this scope.
    Key(Scope),
    /// A key of this scope; without keys, a call from this machine, since it changes something.
    KeyOrLocal(Scope),
}

/// Who may call the route of that pattern.
fn needs(route: &str) -> RouteAccess {
    match route {
        "/" | "/errors" | "/openapi.json" | "/docs" | "/docs/" | "/docs/{*rest}" => RouteAccess::Nothing,
        "/livez" | "/readyz" | "/v2/health/live" | "/v2/health/ready" => RouteAccess::Nothing,
        "/metrics" => RouteAccess::Key(Scope::Metrics),
        "/v2/repository/index" => RouteAccess::Key(Scope::Admin),
        "/v2/repository/models/{model}/load" | "/v2/repository/models/{model}/unload" => {
            RouteAccess::KeyOrLocal(Scope::Admin)
        }
        "/v2" => RouteAccess::Key(Scope::Infer),
        route if route.starts_with("/inference.") || route.starts_with("/grpc.") => needs_over_grpc(route),
        route if route.starts_with("/v1/") || route.starts_with("/v2/models/") => RouteAccess::Key(Scope::Infer),
        _ => RouteAccess::Key(Scope::Admin),
    }
}

/// Who may call the gRPC method of that path.
fn needs_over_grpc(route: &str) -> RouteAccess {
    match route.strip_prefix("/inference.GRPCInferenceService/") {
        // Health checks and reflection, as the probes and the description of HTTP.
        None | Some("ServerLive" | "ServerReady") => RouteAccess::Nothing,
        Some("RepositoryIndex") => RouteAccess::Key(Scope::Admin),
        Some("RepositoryModelLoad" | "RepositoryModelUnload") => RouteAccess::KeyOrLocal(Scope::Admin),
        Some(_) => RouteAccess::Key(Scope::Infer),
    }
}

/// Finds out who asks, and refuses the request when he may not.
pub(in crate::api) async fn authenticate(
    State((authenticator, inference)): State<(Arc<Authenticator>, Arc<Inference>)>,
    mut request: Request,
    next: Next,
) -> Response {
    // What matches no route is told so, key or not.
    let Some(route) = request.extensions().get::<MatchedPath>() else { return next.run(request).await };
    let needs = needs(route.as_str());
    if needs == RouteAccess::Nothing {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let mut checked = check(&authenticator, needs, &head);
    // Whoever signs tokens changes keys now and then.
    if checked.as_ref().is_err_and(Denied::wants_token_keys) {
        authenticator.fetch_token_keys_soon().await;
        checked = check(&authenticator, needs, &head);
    }
    match checked {
        Ok(identity) => {
            request = Request::from_parts(head, body);
            request.extensions_mut().insert(identity);
            next.run(request).await
        }
        Err(denied) => {
            let (problem, headers) = count_denied(&inference, &head, Problem::from(denied));
            Upload::new(&head.headers, body).drain(&problem).await;
            let mut response = problem.into_response();
            response.headers_mut().extend(headers);
            response
        }
    }
}

/// Finds out who sends the request, and refuses whoever may not call the route.
pub(in crate::api) fn check(
    authenticator: &Authenticator,
    needs: RouteAccess,
    head: &Parts,
) -> Result<Identity, Denied> {
    let peer = head.extensions.get::<Peer>();
    let shown = credentials(authenticator, &head.headers, peer);
    let identity = authenticator.identify(&shown, SystemTime::now())?;
    match needs {
        RouteAccess::Nothing => {}
        RouteAccess::KeyOrLocal(_) if !authenticator.wants_keys() => source(head, peer).check_local()?,
        RouteAccess::Key(scope) | RouteAccess::KeyOrLocal(scope) => identity.allow(scope)?,
    }
    if let RouteAccess::KeyOrLocal(_) = needs {
        tracing::info!(key = identity.by.log_name(), path = head.uri.path(), "a call that changes something is let in");
    }
    Ok(identity)
}

/// The keys of a request: `Authorization: Bearer KEY` and `x-api-key: KEY`, and what else tells whose it is.
fn credentials<'a>(authenticator: &Authenticator, headers: &'a HeaderMap, peer: Option<&'a Peer>) -> Credentials<'a> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let bearer = text("authorization").and_then(|value| value.split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, key)| key.trim());
    let twice = |name: HeaderName| headers.get_all(name).iter().nth(1).is_some();
    Credentials {
        keys: [bearer, text(API_KEY.as_str())],
        twice: twice(header::AUTHORIZATION) || twice(API_KEY),
        tenant_header: authenticator.tenant_header().and_then(text),
        certificate_tenant: peer.and_then(|peer| peer.certificate_tenant.as_deref()),
    }
}

/// Where a call comes from.
fn source<'a>(head: &'a Parts, peer: Option<&Peer>) -> CallSource<'a> {
    // What is no text is no name of this machine, either.
    let text = |name: HeaderName| head.headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let target = head.uri.authority().map(|authority| authority.as_str());
    let named = head.headers.get_all(header::HOST).iter().map(|value| value.to_str().unwrap_or("?"));
    CallSource {
        peer: peer.map(|peer| peer.address.ip()),
        hosts: target.into_iter().chain(named).collect(),
        origin: text(header::ORIGIN),
        fetch_site: text(FETCH_SITE),
        proxy_header: OF_PROXIES.into_iter().find(|name| head.headers.contains_key(*name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_that_nobody_has_thought_of_is_closed() {
        assert_eq!(needs("/v3/anything"), RouteAccess::Key(Scope::Admin));
        assert_eq!(needs("/v2/repository/models/{model}/delete"), RouteAccess::Key(Scope::Admin));
        assert_eq!(needs("/livez"), RouteAccess::Nothing);
        assert_eq!(needs("/v1/detect"), RouteAccess::Key(Scope::Infer));
    }

    #[test]
    fn keys_are_read_however_they_are_sent() {
        let mut config = crate::config::Config::defaults().expect("valid");
        let authenticator = Authenticator::new(&mut config).expect("open");
        let keys = |sent: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in sent {
                headers.append(*name, value.parse().expect("a header"));
            }
            let shown = credentials(&authenticator, &headers, None);
            (shown.keys.map(|key| key.unwrap_or("-").to_owned()), shown.twice)
        };
        let read = |bearer: &str, other: &str, twice| ([bearer.to_owned(), other.to_owned()], twice);
        assert_eq!(keys(&[("authorization", "Bearer k")]), read("k", "-", false));
        assert_eq!(keys(&[("authorization", "bearer   k  ")]), read("k", "-", false));
        assert_eq!(keys(&[("authorization", "Basic dTpw"), ("x-api-key", " k\t")]), read("-", "k", false));
        assert_eq!(keys(&[("authorization", "Bearer")]), read("-", "-", false));
        assert_eq!(keys(&[("authorization", "Bearer a"), ("authorization", "Bearer b")]), read("a", "-", true));
        assert_eq!(keys(&[("x-api-key", "a"), ("x-api-key", "a")]), read("-", "a", true));
    }
}
