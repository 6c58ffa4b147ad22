//! What is known of a request when it is over, and the spans that a collector gets for it.

use std::{
    borrow::Cow,
    time::{Duration, SystemTime},
};

use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::{
    context::{TraceContext, new_span_id},
    stage::StageTimes,
};

/// A request, in the words of OpenTelemetry's conventions for HTTP servers.
#[derive(Debug)]
pub struct RequestSpan {
    /// Its place in a trace.
    pub context: TraceContext,
    /// When the head of the request was read.
    pub began: SystemTime,
    /// The time from then until the head of the answer was there, or until the client went away.
    pub took: Duration,
    /// The method, such as `GET`; `_OTHER` for one that HTTP does not define.
    pub method: &'static str,
    /// The route's pattern, when there was one.
    pub route: Option<String>,
    /// The path without its query.
    pub path: String,
    /// The version of HTTP: `1.1` or `2`.
    pub protocol: &'static str,
    /// The answer's status code; none when the client went away first.
    pub status: Option<u16>,
    /// The request's id, as in the log.
    pub request_id: String,
    /// What handlers said about the request.
    pub told: SpanDetails,
}

/// What handlers say about a request while they work on it.
#[derive(Debug, Default)]
pub struct SpanDetails {
    /// The name of the model that was asked.
    pub model: Option<String>,
    /// The answers: one, or one for each image of the request.
    pub answers: Vec<Answered>,
}

/// One answer and where its time went.
#[derive(Debug)]
pub struct Answered {
    /// The variant of the model that answered.
    pub variant: String,
    /// When the answer was complete.
    pub ended: SystemTime,
    /// The time from the last byte of the image until then.
    pub total: Duration,
    /// How long each of its stages took.
    pub stages: StageTimes,
}

impl RequestSpan {
    /// The request's span, and one for each stage of its answers.
    ///
    /// How long each stage took was measured, but not when it began: stages are laid end to end from the answer's begin.
    pub(super) fn spans(self, scope: &InstrumentationScope) -> Vec<SpanData> {
        let (trace_id, span_id) = (TraceId::from(self.context.trace_id), SpanId::from(self.context.span_id));
        let parent_id = self.context.parent_id.map_or(SpanId::INVALID, SpanId::from);
        let span = |span_id, parent: SpanId, name, began, ended| SpanData {
            span_context: SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, false, TraceState::NONE),
            parent_span_id: parent,
            parent_span_is_remote: false,
            span_kind: SpanKind::Internal,
            name,
            start_time: began,
            end_time: ended,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: scope.clone(),
        };
        let root = span(span_id, parent_id, self.name(), self.began, self.began + self.took);
        let failed = self.status.is_some_and(|status| status >= 500);
        let mut spans = vec![SpanData {
            parent_span_is_remote: self.context.parent_id.is_some(),
            span_kind: SpanKind::Server,
            status: if failed { Status::error("") } else { Status::Unset },
            ..root
        }];
        for answer in &self.told.answers {
            let mut at = answer.ended.checked_sub(answer.total).unwrap_or(self.began);
            // A stage that took no time is one that the request did not have.
            for (stage, took) in answer.stages.iter().filter(|(_, took)| !took.is_zero()) {
                spans.push(span(SpanId::from(new_span_id()), span_id, Cow::Borrowed(stage.name()), at, at + took));
                at += took;
            }
        }
        spans[0].attributes = self.attributes(failed);
        spans
    }

    /// The method and the route. The path is no part of it, since there are too many of them.
    fn name(&self) -> Cow<'static, str> {
        let method = if self.method == "_OTHER" { "HTTP" } else { self.method };
        match &self.route {
            Some(route) => Cow::Owned(format!("{method} {route}")),
            None => Cow::Borrowed(method),
        }
    }

    fn attributes(self, failed: bool) -> Vec<KeyValue> {
        let mut all = vec![
            KeyValue::new("http.request.method", self.method),
            KeyValue::new("url.scheme", "http"),
            KeyValue::new("url.path", self.path),
            KeyValue::new("network.protocol.version", self.protocol),
            KeyValue::new("ounce.request_id", self.request_id),
        ];
        match self.status {
            Some(status) => all.push(KeyValue::new("http.response.status_code", i64::from(status))),
            None => all.push(KeyValue::new("ounce.cancelled", true)),
        }
        if let Some(status) = self.status.filter(|_| failed) {
            all.push(KeyValue::new("error.type", status.to_string()));
        }
        let variant = self.told.answers.into_iter().next().map(|answer| answer.variant);
        let known = [("http.route", self.route), ("ounce.model", self.told.model), ("ounce.variant", variant)];
        all.extend(known.into_iter().filter_map(|(key, value)| Some(KeyValue::new(key, value?))));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::{super::stage::Stage, *};

    fn request(status: Option<u16>) -> RequestSpan {
        let (began, ms) = (SystemTime::UNIX_EPOCH + Duration::from_secs(1), Duration::from_millis);
        let mut stages = StageTimes::default();
        for (stage, took) in Stage::ALL.into_iter().zip([3, 1, 0, 2, 1].map(ms)) {
            stages.set(stage, took);
        }
        let answer = Answered { variant: "int8".to_owned(), ended: began + ms(10), total: ms(8), stages };
        RequestSpan {
            context: TraceContext { trace_id: 7, span_id: 8, parent_id: Some(9), sampled: true },
            began,
            took: ms(11),
            method: "POST",
            route: Some("/v1/detect".to_owned()),
            path: "/v1/detect".to_owned(),
            protocol: "1.1",
            status,
            request_id: "r1".to_owned(),
            told: SpanDetails { model: Some("pedestrian".to_owned()), answers: vec![answer] },
        }
    }

    #[test]
    fn a_request_has_a_span_and_a_child_a_stage() {
        let scope = InstrumentationScope::builder("test").build();
        let spans = request(Some(200)).spans(&scope);
        let told: Vec<_> = spans
            .iter()
            .map(|span| {
                let at = |time: SystemTime| time.duration_since(request(Some(200)).began).expect("later").as_millis();
                (span.name.as_ref(), at(span.start_time), at(span.end_time), span.parent_span_id)
            })
            .collect();
        let (client, ours) = (SpanId::from(9), SpanId::from(8));
        assert_eq!(
            told,
            [
                ("POST /v1/detect", 0, 11, client),
                ("decode", 2, 5, ours),
                ("preprocess", 5, 6, ours),
                ("inference", 6, 8, ours),
                ("postprocess", 8, 9, ours),
            ]
        );
        assert!(spans.iter().all(|span| span.span_context.trace_id() == TraceId::from(7)));
        assert!(spans[0].attributes.contains(&KeyValue::new("ounce.variant", "int8")), "{:?}", spans[0].attributes);
        assert_eq!((&spans[0].status, &spans[0].span_kind), (&Status::Unset, &SpanKind::Server));
    }

    #[test]
    fn only_what_is_ours_to_mend_is_an_error() {
        let scope = InstrumentationScope::builder("test").build();
        assert_eq!(request(Some(404)).spans(&scope)[0].status, Status::Unset);
        let gone = request(None).spans(&scope);
        assert_eq!(gone[0].status, Status::Unset);
        assert!(gone[0].attributes.contains(&KeyValue::new("ounce.cancelled", true)), "{:?}", gone[0].attributes);
        let failed = request(Some(500)).spans(&scope);
        assert_eq!(failed[0].status, Status::error(""));
        assert!(failed[0].attributes.contains(&KeyValue::new("error.type", "500")));
    }
}
