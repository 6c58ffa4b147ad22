//! Refuses requests of clients that ask for more than they may, before their bodies are read, and tells each limited client what it
//! has left.
//!
//! Where nothing is limited, this layer is not there. Handlers find the request's [`Allowance`] in its extensions; they give it to
//! the inference room, which draws pixels and dollars from it.

use std::{
    net::{IpAddr, Ipv4Addr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, request::Parts},
    middleware::Next,
    response::{IntoResponse, Response},
};
use hyper::body::{Frame, SizeHint};

use super::{is_probe, matched_route};
use crate::{
    api::{body::Upload, client_address::client_address, problem::Problem, tenant},
    inference::Inference,
    limits::{Allowance, Limited, Refusal, Standing},
};

const LIMIT: HeaderName = HeaderName::from_static("x-ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("x-ratelimit-reset");
const STANDINGS: HeaderName = HeaderName::from_static("ratelimit");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Lets a request in if its client may ask.
pub(in crate::api) async fn limit(
    State(inference): State<Arc<Inference>>,
    mut request: Request,
    next: Next,
) -> Response {
    if matched_route(&request).is_some_and(|route| is_probe(&route)) {
        return next.run(request).await;
    }
    let tenant = tenant(request.extensions());
    let address = client_address(inference.config(), request.extensions(), request.headers());
    let address = address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    match inference.limiter().admit(inference.ledger().tenants.name(tenant), address) {
        Ok(None) => next.run(request).await,
        Ok(Some(allowance)) => {
            request.extensions_mut().insert(allowance.without_place());
            let mut response = next.run(request).await;
            tell(&allowance.standings(), response.headers_mut());
            if allowance.has_place() {
                return response.map(|body| Body::new(PlaceHolding { body, _allowance: allowance }));
            }
            response
        }
        Err(Refusal { error, standings }) => {
            let problem = Problem::from(error);
            let (head, body) = request.into_parts();
            Upload::new(&head.headers, body).drain(&problem).await;
            let mut response = problem.into_response();
            tell(&standings, response.headers_mut());
            response
        }
    }
}

/// Counts a request that was denied, and writes what its address has left into the answer; where that is nothing, this is the answer: the
/// limit, and no word about the key.
pub(super) fn count_denied(inference: &Inference, head: &Parts, denied: Problem) -> (Problem, HeaderMap) {
    let mut headers = HeaderMap::new();
    let address = client_address(inference.config(), &head.extensions, &head.headers);
    let counted = inference.limiter().count_stranger(address.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)));
    let (problem, standings) = match counted {
        Ok(standings) => (denied, standings),
        Err(Refusal { error, standings }) => (Problem::from(error), standings),
    };
    tell(&standings, &mut headers);
    (problem, headers)
}

/// Writes what a client has left into the headers of its answer: of all limits as the draft of the IETF says, of the first also in the
/// headers that clients have known for longer.
fn tell(standings: &[Standing], headers: &mut HeaderMap) {
    let Some(first) = standings.first() else { return };
    let units = Units::of(first);
    for (name, number) in [(LIMIT, units.most), (REMAINING, units.left), (RESET, seconds(first.full_in))] {
        headers.insert(name, HeaderValue::from(number));
    }
    let list = |write: &dyn Fn(&Standing, Units) -> String| {
        let items: Vec<_> = standings.iter().map(|standing| write(standing, Units::of(standing))).collect();
        HeaderValue::try_from(items.join(", ")).ok()
    };
    let policy = |standing: &Standing, Units { name, most, .. }: Units| {
        format!("\"{name}\";q={most};w={}", seconds(standing.window))
    };
    let left = |standing: &Standing, Units { name, left, .. }: Units| {
        format!("\"{name}\";r={left};t={}", seconds(standing.full_in))
    };
    headers.extend(list(&policy).map(|value| (POLICY, value)));
    headers.extend(list(&left).map(|value| (STANDINGS, value)));
}

/// A limit in whole numbers, as the headers want them.
struct Units {
    name: &'static str,
    most: u64,
    left: u64,
}

impl Units {
    fn of(standing: &Standing) -> Self {
        let (name, scale) = match standing.limit {
            Limited::Requests => ("requests", 1.0),
            Limited::Pixels => ("pixels", 1.0),
            Limited::Usd => ("nanodollars", 1e9),
        };
        // A little is added before it is rounded down, since a whole number may come out a hair too small.
        let whole = |amount: f64| (amount * scale + 1e-6) as u64;
        Self { name, most: whole(standing.most), left: whole(standing.left) }
    }
}

/// Whole seconds, rounded up.
fn seconds(time: Duration) -> u64 {
    time.as_secs_f64().ceil() as u64
}

/// A response's body that keeps its client's place in flight until it has been sent or the client is gone.
struct PlaceHolding {
    body: Body,
    _allowance: Allowance,
}

impl HttpBody for PlaceHolding {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
