//! A request's place in its client's trace, by W3C Trace Context, and its span for a collector.

use std::time::{Duration, SystemTime};

use axum::{
    Extension,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Version},
    middleware::Next,
    response::Response,
};

use super::{is_probe, matched_route, method_name, request_info::RequestInfo};
use crate::telemetry::{RequestSpan, SpanDetails, TraceContext, Traces, Watched};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The longest `tracestate` that is passed on, in bytes over all its headers: what the specification asks for.
const MAX_STATE_BYTES: usize = 512;

/// The longest path that a collector is told.
const MAX_PATH_CHARS: usize = 256;

/// Continues the client's trace or begins one, tells the client of it, and sends the request's span to the collector, if there is one.
pub(in crate::api) async fn trace_request(
    State(traces): State<Traces>,
    Extension(info): Extension<RequestInfo>,
    mut request: Request,
    next: Next,
) -> Response {
    let (mut context, state) = read(request.headers());
    let route = matched_route(&request);
    context.sampled = traces.sampled(&context, route.as_deref().is_some_and(is_probe));
    request.extensions_mut().insert(context);
    let watched = traces.watch(&context, || RequestSpan {
        context,
        began: SystemTime::now(),
        took: Duration::ZERO,
        method: method_name(request.method()),
        route,
        path: request.uri().path().chars().take(MAX_PATH_CHARS).collect(),
        protocol: protocol(request.version()),
        status: None,
        request_id: info.id().to_owned(),
        told: SpanDetails::default(),
    });
    let span = SpanUnderWay { watched, info };
    let mut response = next.run(request).await;
    write(&context, state, response.headers_mut());
    span.answered(response.status().as_u16());
    response
}

/// The span of a request that is under way. It leaves for the collector with what handlers have said about the request, also when it
/// is dropped because the client went away.
#[derive(Debug)]
struct SpanUnderWay {
    watched: Option<Watched>,
    info: RequestInfo,
}

impl SpanUnderWay {
    fn answered(mut self, status: u16) {
        if let Some(watched) = self.take() {
            watched.answered(status);
        }
    }

    fn take(&mut self) -> Option<Watched> {
        let mut watched = self.watched.take()?;
        if let Some(told) = watched.told() {
            *told = self.info.take_details();
        }
        Some(watched)
    }
}

impl Drop for SpanUnderWay {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// A request's place in its client's trace, or in a new one, and the `tracestate` that goes with it.
fn read(headers: &HeaderMap) -> (TraceContext, Vec<HeaderValue>) {
    let mut parents = headers.get_all(TRACEPARENT).iter();
    // Of two, nobody knows which is right.
    let only = parents.next().filter(|_| parents.next().is_none());
    match only.and_then(|parent| TraceContext::continued(parent.as_bytes())) {
        Some(context) => (context, state(headers)),
        None => (TraceContext::fresh(), Vec::new()),
    }
}

/// The client's `tracestate` as it came, when it is text and not too long.
fn state(headers: &HeaderMap) -> Vec<HeaderValue> {
    let all = || headers.get_all(TRACESTATE).iter().filter(|value| !value.is_empty());
    let sane =
        all().all(|value| value.to_str().is_ok()) && all().map(HeaderValue::len).sum::<usize>() <= MAX_STATE_BYTES;
    if sane { all().cloned().collect() } else { Vec::new() }
}

/// Tells the client in which trace its request was answered, and by which span.
fn write(context: &TraceContext, state: Vec<HeaderValue>, headers: &mut HeaderMap) {
    if let Ok(value) = HeaderValue::try_from(context.to_string()) {
        headers.insert(TRACEPARENT, value);
    }
    for value in state {
        headers.append(TRACESTATE, value);
    }
}

/// The version of HTTP as OpenTelemetry writes it.
fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn answered(sent: &[(&'static str, &str)]) -> (Option<u64>, HeaderMap) {
        let mut headers = HeaderMap::new();
        for (name, value) in sent {
            headers.append(*name, HeaderValue::from_str(value).expect("a header"));
        }
        let (context, state) = read(&headers);
        let mut answer = HeaderMap::new();
        write(&context, state, &mut answer);
        (context.parent_id, answer)
    }

    #[test]
    fn state_goes_with_a_valid_parent_as_it_came() {
        let (parent, answer) = answered(&[
            ("traceparent", PARENT),
            ("tracestate", "rojo=00f067aa0ba902b7, congo=t61rcWkgMzE"),
            ("tracestate", ""),
            ("tracestate", "x=1"),
        ]);
        assert_eq!(parent, Some(0x00f0_67aa_0ba9_02b7));
        let states: Vec<_> = answer.get_all("tracestate").iter().collect();
        assert_eq!(states, ["rojo=00f067aa0ba902b7, congo=t61rcWkgMzE", "x=1"]);
        let ours = answer["traceparent"].to_str().expect("text");
        assert!(ours.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-") && ours.ends_with("-01"), "{ours}");
        assert!(!ours.contains("00f067aa0ba902b7"), "the span is ours: {ours}");
    }

    #[test]
    fn state_without_a_valid_parent_or_of_no_sane_length_is_left_out() {
        let long = "x".repeat(MAX_STATE_BYTES);
        for sent in [
            &[("tracestate", "a=1")][..],
            &[("traceparent", "00-0-0-0"), ("tracestate", "a=1")],
            &[("traceparent", PARENT), ("traceparent", PARENT), ("tracestate", "a=1")],
            &[("traceparent", PARENT), ("tracestate", &long), ("tracestate", "a=1")],
        ] {
            let (_, answer) = answered(sent);
            assert!(!answer.contains_key("tracestate"), "{sent:?}");
            assert_eq!(answer["traceparent"].len(), PARENT.len(), "{sent:?}");
        }
        assert_eq!(answered(&[("traceparent", PARENT), ("traceparent", PARENT)]).0, None);
        assert!(answered(&[("traceparent", PARENT), ("tracestate", &long)]).1.contains_key("tracestate"));
    }
}
