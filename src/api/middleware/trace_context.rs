//! W3C Trace Context in headers, and HTTP in the words of OpenTelemetry.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Version};

use crate::{
    inference::Timing,
    telemetry::{Stage, StageTimes, TraceContext},
};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The longest `tracestate` that is passed on, in bytes over all its headers: what the specification asks for.
const LONGEST_STATE: usize = 512;

/// A request's place in its client's trace, or in a new one, and the `tracestate` that goes with it.
pub(super) fn read(headers: &HeaderMap) -> (TraceContext, Vec<HeaderValue>) {
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
    let sane = all().all(|value| value.to_str().is_ok()) && all().map(HeaderValue::len).sum::<usize>() <= LONGEST_STATE;
    if sane { all().cloned().collect() } else { Vec::new() }
}

/// Tells the client in which trace its request was answered, and by which span.
pub(super) fn write(context: &TraceContext, state: Vec<HeaderValue>, headers: &mut HeaderMap) {
    if let Ok(value) = HeaderValue::try_from(context.to_string()) {
        headers.insert(TRACEPARENT, value);
    }
    for value in state {
        headers.append(TRACESTATE, value);
    }
}

/// The method by its name, `_OTHER` for those that HTTP does not define.
pub(super) fn method(method: &Method) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "CONNECT"];
    KNOWN.into_iter().find(|known| known == method).unwrap_or("_OTHER")
}

/// The version of HTTP as OpenTelemetry writes it.
pub(super) fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

/// How long each stage of an answer took.
pub(super) fn stages(timing: &Timing) -> StageTimes {
    let mut times = StageTimes::default();
    for stage in Stage::ALL {
        let ms = match stage {
            Stage::Decode => timing.decode_ms,
            Stage::Preprocess => timing.preprocess_ms,
            Stage::Queue => timing.queue_ms,
            Stage::Inference => timing.inference_ms,
            Stage::Postprocess => timing.postprocess_ms,
        };
        times.set(stage, duration(ms));
    }
    times
}

/// Milliseconds as measured; none for what is no time.
pub(super) fn duration(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default()
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
        let long = "x".repeat(LONGEST_STATE);
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

    #[test]
    fn methods_that_nobody_defined_have_one_name() {
        assert_eq!(method(&Method::GET), "GET");
        assert_eq!(method(&Method::from_bytes(b"BREW").expect("a token")), "_OTHER");
    }
}
