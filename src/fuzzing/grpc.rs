//! What comes over gRPC: bodies of framed messages.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{first_line, http::idle};
use crate::api::grpc_fuzzing;

/// A body of framed messages. The first line has the headers `grpc-encoding` and `grpc-timeout`, with a space between them.
pub(super) fn frames(bytes: &[u8]) {
    let (line, body) = first_line(bytes);
    let mut headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"))]);
    for (name, value) in ["grpc-encoding", "grpc-timeout"].into_iter().zip(line.split(|byte| *byte == b' ')) {
        if let Some(value) = HeaderValue::from_bytes(value).ok().filter(|value| !value.is_empty()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    let idle = idle();
    idle.runtime.block_on(grpc_fuzzing::frames(&idle.inference, headers, body));
}
