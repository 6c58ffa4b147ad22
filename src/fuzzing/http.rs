//! What comes over HTTP: bodies with images, queries, headers.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::first_line;
use crate::{api::fuzzing as api, auth::Authenticator, config::Layers, inference::Inference, telemetry::TraceContext};

/// A server without models, with small limits, two tenants and the default settings otherwise.
pub(super) struct Idle {
    pub(super) inference: Arc<Inference>,
    authenticator: Authenticator,
    pub(super) runtime: tokio::runtime::Runtime,
}

pub(super) fn idle() -> &'static Idle {
    static IDLE: OnceLock<Idle> = OnceLock::new();
    IDLE.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let _inside = runtime.enter();
        let settings = [("OUNCE_PICTURES__MAX_BYTES", "4096"), ("OUNCE_TENANTS__A__API_KEYS", "key-a,key-b")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = Layers::defaults().and_then(|layers| layers.env(settings)).and_then(|layers| layers.build());
        let mut config = config.expect("valid settings");
        let authenticator = Authenticator::new(&mut config).expect("no file of keys is read");
        let inference = Inference::new(config).expect("an idle server");
        Idle { inference, authenticator, runtime }
    })
}

/// A body with images. The first line is its content type.
pub(super) fn body(bytes: &[u8]) {
    let (content_type, body) = first_line(bytes);
    let mut headers = HeaderMap::new();
    if !content_type.is_empty() {
        let Ok(value) = HeaderValue::from_bytes(content_type) else { return };
        headers.insert(header::CONTENT_TYPE, value);
    }
    let Idle { inference, runtime, .. } = idle();
    runtime.block_on(api::body(inference, &headers, Bytes::copy_from_slice(body)));
}

/// What stands behind the `?`.
pub(super) fn query(bytes: &[u8]) {
    api::query(&String::from_utf8_lossy(bytes));
}

/// The value of an `Accept` header, or several, one a line.
pub(super) fn accept(bytes: &[u8]) {
    let values = bytes.split(|byte| *byte == b'\n').filter_map(|value| HeaderValue::from_bytes(value).ok());
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(header::ACCEPT, value);
    }
    api::accept(&headers);
}

/// Headers, one a line, that say who asks and in which trace.
pub(super) fn keys(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let parent = headers.get("traceparent").cloned();
    api::keys(&idle().authenticator, headers);
    if let Some(context) = parent.and_then(|value| TraceContext::continued(value.as_bytes())) {
        assert!(context.to_string().is_ascii());
    }
}
