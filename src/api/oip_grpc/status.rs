//! A problem's code in gRPC, and the answer that carries it.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use tonic::{Code, Status};

use super::frames;
use crate::api::problem::Problem;

/// How long a client that tries again should wait, as gRPC's design of retries names it.
const PUSHBACK: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

/// How a call ended, for the log and the metrics; absent in the answer of a stream, which has not ended when it begins.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct GrpcCode(pub &'static str);

/// The answer is a stream, whose messages are counted one by one.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct Streams;

/// The code of a problem. Its status over HTTP says most of it.
///
/// What other replicas would have answered is `UNAVAILABLE`, on which clients try again by themselves: that is what Triton says of a
/// full queue. What the client itself has too much of is `RESOURCE_EXHAUSTED`.
pub(super) fn code(problem: &Problem) -> Code {
    match (problem.kind.slug, problem.kind.status.as_u16()) {
        ("no-such-route" | "wrong-method" | "unsupported-content-type", _) => Code::Unimplemented,
        ("queue-full" | "too-slow", _) => Code::Unavailable,
        ("load-failed", _) => Code::FailedPrecondition,
        (_, 400 | 413 | 415 | 422) => Code::InvalidArgument,
        (_, 401) => Code::Unauthenticated,
        (_, 403) => Code::PermissionDenied,
        (_, 404) => Code::NotFound,
        (_, 408 | 504) => Code::DeadlineExceeded,
        (_, 429) => Code::ResourceExhausted,
        (_, 501) => Code::Unimplemented,
        (_, 503) => Code::Unavailable,
        _ => Code::Internal,
    }
}

/// The status that tells of a problem.
pub(super) fn of(problem: &Problem) -> Status {
    Status::new(code(problem), problem.detail.clone())
}

/// Turns a problem into the answer that clients of gRPC read, and says how the call ended. The problem stays in the extensions.
pub(in crate::api) fn translate(response: &mut Response) {
    let Some(problem) = response.extensions().get::<Problem>() else {
        if response.extensions().get::<Streams>().is_none() {
            let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code());
            response.extensions_mut().insert(GrpcCode(name(code)));
        }
        return;
    };
    let status = of(problem);
    let mut headers = frames::trailers(&status);
    headers.insert(header::CONTENT_TYPE, frames::CONTENT_TYPE);
    if let Some(wait) = problem.wait() {
        headers.insert(PUSHBACK, HeaderValue::from(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)));
    }
    if status.code() == Code::Unimplemented {
        headers.insert("grpc-accept-encoding", HeaderValue::from_static("identity,gzip,deflate"));
    }
    response.headers_mut().extend(headers);
    response.headers_mut().remove(header::CONTENT_LENGTH);
    *response.status_mut() = StatusCode::OK;
    *response.body_mut() = Body::empty();
    response.extensions_mut().insert(GrpcCode(name(status.code())));
}

/// The code as gRPC writes it.
pub(super) fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;

    use super::*;
    use crate::api::problem::kinds;

    #[test]
    fn each_kind_has_its_code() {
        for (kind, wanted) in [
            (&kinds::BAD_PARAMETER, "INVALID_ARGUMENT"),
            (&kinds::TOO_LARGE, "INVALID_ARGUMENT"),
            (&kinds::BAD_PICTURE, "INVALID_ARGUMENT"),
            (&kinds::LOAD_FAILED, "FAILED_PRECONDITION"),
            (&kinds::NO_SUCH_ROUTE, "UNIMPLEMENTED"),
            (&kinds::NOT_OFFERED, "UNIMPLEMENTED"),
            (&kinds::UNKNOWN_VERSION, "NOT_FOUND"),
            (&kinds::QUEUE_FULL, "UNAVAILABLE"),
            (&kinds::TOO_SLOW, "UNAVAILABLE"),
            (&kinds::OVER_BUDGET, "RESOURCE_EXHAUSTED"),
            (&kinds::BUSY, "RESOURCE_EXHAUSTED"),
            (&kinds::DRAINING, "UNAVAILABLE"),
            (&kinds::DEADLINE_PASSED, "DEADLINE_EXCEEDED"),
            (&kinds::MODEL_FAILED, "INTERNAL"),
        ] {
            assert_eq!(name(code(&Problem::new(kind, "why"))), wanted, "{}", kind.slug);
        }
    }

    #[test]
    fn a_problem_is_told_in_headers() {
        let mut response = Problem::new(&kinds::BUSY, "50 % are täken").into_response();
        translate(&mut response);
        let header = |name: &str| response.headers()[name].to_str().expect("text");
        assert_eq!((response.status().as_u16(), header("content-type")), (200, "application/grpc"));
        assert_eq!((header("grpc-status"), header("grpc-message")), ("8", "50%20%25%20are%20t%C3%A4ken"));
        assert_eq!(response.extensions().get::<GrpcCode>().map(|code| code.0), Some("RESOURCE_EXHAUSTED"));
        assert!(response.extensions().get::<Problem>().is_some(), "it is still to be counted");

        let mut fine = Response::new(Body::empty());
        translate(&mut fine);
        assert_eq!(fine.extensions().get::<GrpcCode>().map(|code| code.0), Some("OK"));
    }
}
