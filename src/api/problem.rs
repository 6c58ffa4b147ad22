//! Every refusal on the wire: `application/problem+json` (RFC 9457), and the one place where an error gets its status.
//!
//! A [`Problem`] becomes a response in two steps: as `IntoResponse` it only puts itself into the response's extensions. There
//! [`outcomes`](super::middleware::outcomes) finds it and counts it, and [`request_info`](super::middleware::request_info), which
//! knows the request's id, writes the body.

pub(super) mod kinds;

use std::time::Duration;

use axum::{
    http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use self::kinds::ProblemKind;
use crate::{
    auth::{Denied, TokenError},
    error::{Error, over_image_limit, seconds},
    oip::OipError,
};

/// What went wrong with a request, in the words that the client reads.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    /// Which kind of problem.
    pub kind: &'static ProblemKind,
    /// One sentence: what was wrong, and what would be right.
    pub detail: String,
    /// Why the request was refused, in one word for the metrics.
    reason: &'static str,
    retry_after: Option<Duration>,
    /// What was wrong with what the client showed, as RFC 6750 has it; where there is none, the kind says it.
    challenge: Option<String>,
}

/// A problem as it is sent.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody {
    /// Where this kind of problem is explained, relative to this server.
    #[serde(rename = "type")]
    #[schema(example = "/errors#bad-parameter")]
    kind: String,
    /// The kind in a few words; the same for every problem of the kind.
    #[schema(example = "A parameter cannot be used")]
    title: &'static str,
    /// The HTTP status.
    #[schema(example = 400)]
    status: u16,
    /// What was wrong here, and what would be right.
    #[schema(example = "`min_score`: 7 is not a number from 0 to 1")]
    detail: String,
    /// The same as `detail`, for clients of the Open Inference Protocol.
    error: String,
    /// The request's id, as in `x-request-id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
}

/// The problems that any inference may end with, for `/openapi.json`.
#[derive(Debug, utoipa::IntoResponses)]
#[expect(dead_code, reason = "only described")]
pub(super) enum Refusals {
    /// A parameter that cannot be used, or a body that cannot be read.
    #[response(status = 400, content_type = "application/problem+json")]
    Bad(ProblemBody),
    /// No key, or one that is not known or has expired.
    #[response(status = 401, content_type = "application/problem+json")]
    NoKey(ProblemBody),
    /// The key does not open this call.
    #[response(status = 403, content_type = "application/problem+json")]
    LackingScope(ProblemBody),
    /// No such model.
    #[response(status = 404, content_type = "application/problem+json")]
    Unknown(ProblemBody),
    /// The body did not come in time.
    #[response(status = 408, content_type = "application/problem+json")]
    Slow(ProblemBody),
    /// Too many bytes.
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(ProblemBody),
    /// Not a content type or picture format that is read.
    #[response(status = 415, content_type = "application/problem+json")]
    Unsupported(ProblemBody),
    /// A picture that cannot be decoded, or has too many pixels.
    #[response(status = 422, content_type = "application/problem+json")]
    BadImage(ProblemBody),
    /// Too many requests wait; `Retry-After` says for how many seconds to stay away.
    #[response(status = 429, content_type = "application/problem+json")]
    Busy(ProblemBody),
    /// The model failed.
    #[response(status = 500, content_type = "application/problem+json")]
    Failed(ProblemBody),
    /// Not ready, or shutting down; `Retry-After` says when to come again.
    #[response(status = 503, content_type = "application/problem+json")]
    NotReady(ProblemBody),
    /// The deadline passed.
    #[response(status = 504, content_type = "application/problem+json")]
    Late(ProblemBody),
}

impl Problem {
    /// A problem of a kind.
    pub(super) fn new(kind: &'static ProblemKind, detail: impl Into<String>) -> Self {
        let mut detail: String = detail.into();
        // What clients sent is told back to them, but not at any length.
        if let Some((end, _)) = detail.char_indices().nth(MAX_DETAIL_CHARS) {
            detail.truncate(end);
            detail.push('…');
        }
        Self { kind, detail, reason: kind.reason, retry_after: None, challenge: None }
    }

    /// A parameter, header or body that cannot be used.
    pub(super) fn bad_parameter(name: &str, why: impl std::fmt::Display) -> Self {
        Self::new(&kinds::BAD_PARAMETER, format!("`{name}`: {why}"))
    }

    /// A body that cannot be read as what it says it is.
    pub(super) fn bad_body(detail: impl Into<String>) -> Self {
        Self::new(&kinds::BAD_BODY, detail)
    }

    /// A body, or an image in it, that has more bytes than the operator's limit.
    pub(super) fn too_large(what: &str, limit: usize) -> Self {
        Self::new(&kinds::TOO_LARGE, over_image_limit(what, limit))
    }

    /// A handler, or work that it waits for, has panicked.
    pub(super) fn our_mistake() -> Self {
        Self::new(&kinds::PANICKED, "the server made a mistake; its log has the cause")
    }

    /// The reason by which the metrics count this refusal. A model's failure is none: it is counted as a request that ended with an
    /// error.
    pub(super) fn refusal(&self) -> Option<&'static str> {
        (*self.kind != kinds::MODEL_FAILED).then_some(self.reason)
    }

    /// The status it is sent with.
    pub(super) fn status(&self) -> StatusCode {
        self.kind.status
    }

    /// How long to stay away, where that is known.
    pub(super) fn wait(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The headers it is sent with.
    pub(super) fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds(wait)));
        }
        // As RFC 6750 has it: what was wrong with the key, where there was one.
        let challenge = match (&self.challenge, self.kind.slug) {
            (Some(challenge), _) => HeaderValue::try_from(challenge.as_str()).ok(),
            _ if self.kind.status != StatusCode::UNAUTHORIZED => None,
            (None, slug) if slug == kinds::NO_KEY.slug => Some(HeaderValue::from_static("Bearer")),
            (None, _) => Some(HeaderValue::from_static("Bearer error=\"invalid_token\"")),
        };
        headers.extend(challenge.map(|challenge| (header::WWW_AUTHENTICATE, challenge)));
        headers
    }

    /// The JSON of it.
    pub(super) fn body(&self, request_id: Option<&str>) -> ProblemBody {
        ProblemBody {
            kind: format!("/errors#{}", self.kind.slug),
            title: self.kind.title,
            status: self.kind.status.as_u16(),
            detail: self.detail.clone(),
            error: self.detail.clone(),
            instance: request_id.map(ToOwned::to_owned),
        }
    }

    /// The whole response.
    pub(super) fn render(&self, request_id: Option<&str>) -> Response {
        let body = serde_json::to_vec(&self.body(request_id)).unwrap_or_default();
        let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        (self.status(), self.headers(), [kind], body).into_response()
    }

    pub(super) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

/// The longest `detail`.
const MAX_DETAIL_CHARS: usize = 1000;

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let (detail, reason) = (error.to_string(), error.reason());
        let problem = match error {
            Error::BadParameter { .. } => Self::new(&kinds::BAD_PARAMETER, detail),
            Error::UnknownModel { .. } => Self::new(&kinds::UNKNOWN_MODEL, detail),
            Error::UnknownVersion { .. } => Self::new(&kinds::UNKNOWN_VERSION, detail),
            Error::NoModelForTask { .. } => Self::new(&kinds::NO_MODEL_FOR_TASK, detail),
            Error::TooLarge(_) => Self::new(&kinds::TOO_LARGE, detail),
            Error::UnsupportedFormat(_) => Self::new(&kinds::UNSUPPORTED_FORMAT, detail),
            Error::BadImage(_) => Self::new(&kinds::BAD_PICTURE, detail),
            Error::QueueFull { retry_after, .. } => Self::new(&kinds::QUEUE_FULL, detail).retry_after(retry_after),
            Error::TooSlow { retry_after, .. } => Self::new(&kinds::TOO_SLOW, detail).retry_after(retry_after),
            Error::NoVariant { .. } => Self::new(&kinds::NO_VARIANT, detail),
            Error::OverBudget { retry_after, .. } => {
                // Where the budget is zero, an hour is as good as any other time.
                Self::new(&kinds::OVER_BUDGET, detail).retry_after(retry_after.unwrap_or(Duration::from_secs(3600)))
            }
            Error::RateLimited { retry_after, .. } => Self::new(&kinds::RATE_LIMITED, detail).retry_after(retry_after),
            Error::LoadFailed { .. } => Self::new(&kinds::LOAD_FAILED, detail),
            Error::NoFolder(_) => Self::new(&kinds::NO_FOLDER, detail),
            Error::Closed => Self::new(&kinds::DRAINING, detail).retry_after(Duration::from_secs(1)),
            Error::Busy { retry_after, .. }
            | Error::TenantBusy { retry_after, .. }
            | Error::NoRoom { retry_after, .. } => Self::new(&kinds::BUSY, detail).retry_after(retry_after),
            Error::TooManyBodies => Self::new(&kinds::TOO_MANY_BODIES, detail).retry_after(Duration::from_secs(1)),
            Error::NoMemory { retry_after, .. } => Self::new(&kinds::NO_MEMORY, detail).retry_after(retry_after),
            Error::Starting => Self::new(&kinds::NOT_READY, detail).retry_after(Duration::from_secs(1)),
            Error::DeadlinePassed { .. } => Self::new(&kinds::DEADLINE_PASSED, detail),
            // The inference room has logged the cause, which is nothing for a client.
            Error::ModelFailed { .. } => Self::new(&kinds::MODEL_FAILED, detail),
        };
        Self { reason, ..problem }
    }
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let kind = match denied {
            Denied::NoKey | Denied::NoKeyOrToken | Denied::TwoKeys => &kinds::NO_KEY,
            Denied::WrongKey => &kinds::WRONG_KEY,
            Denied::ExpiredKey { .. } => &kinds::EXPIRED_KEY,
            Denied::BadToken(TokenError::Expired) => &kinds::EXPIRED_TOKEN,
            Denied::BadToken(_) => &kinds::WRONG_TOKEN,
            Denied::NoTokenKeys => &kinds::NO_TOKEN_KEYS,
            Denied::LackingScope { .. } | Denied::TokenLacksScope { .. } => &kinds::LACKING_SCOPE,
            Denied::FromAfar(_) | Denied::Proxied(_) | Denied::ForeignPage(_) | Denied::ForeignHost(_) => {
                &kinds::NOT_LOCAL
            }
        };
        let problem = Self::new(kind, denied.to_string());
        match &denied {
            Denied::BadToken(_) => {
                let challenge =
                    format!("Bearer error=\"invalid_token\", error_description=\"{}\"", quotable(&problem.detail));
                Self { challenge: Some(challenge), ..problem }
            }
            Denied::TokenLacksScope { wanted, .. } => {
                let scope = quotable(wanted);
                Self { challenge: Some(format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"")), ..problem }
            }
            Denied::NoTokenKeys => problem.retry_after(TOKEN_KEYS_RETRY),
            _ => problem,
        }
    }
}

/// When a client may come again whose token cannot be checked yet.
const TOKEN_KEYS_RETRY: Duration = Duration::from_secs(5);

/// A text that may stand between quotation marks in a header (RFC 6750, section 3).
fn quotable(text: &str) -> String {
    let fits = |c: char| matches!(c, ' ' | '!' | '#'..='[' | ']'..='~');
    text.chars().map(|c| if fits(c) { c } else { '\'' }).collect()
}

impl From<OipError> for Problem {
    fn from(error: OipError) -> Self {
        let kind = match error {
            OipError::BadParameter { .. } => &kinds::BAD_PARAMETER,
            OipError::BadBody(_) => &kinds::BAD_BODY,
            OipError::TooLarge { .. } => &kinds::TOO_LARGE,
        };
        Self::new(kind, error.to_string())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The server is not ready yet, or no longer.
pub(super) fn not_ready(why: impl Into<String>) -> Problem {
    Problem::new(&kinds::NOT_READY, why).retry_after(Duration::from_secs(1))
}

/// Answers a path that leads nowhere.
pub(super) async fn no_such_route(uri: Uri) -> Problem {
    let path = uri.path();
    let detail = if path == "/metrics" || path.starts_with("/v2/repository/") {
        format!(
            "{path} is not on this port; it may be on the admin port, 127.0.0.1:8081 unless the setting admin_listen names another"
        )
    } else {
        format!("there is nothing at {path}; /docs lists what there is")
    };
    Problem::new(&kinds::NO_SUCH_ROUTE, detail)
}

/// Answers a method that the path does not take.
pub(super) async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{method} is not answered at {}; the Allow header names what is", uri.path());
    Problem::new(&kinds::WRONG_METHOD, detail)
}

/// The response when a handler has panicked. The panic hook has logged where.
pub(super) fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    Problem::our_mistake().into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(error: Error) -> (u16, String, Option<String>) {
        let problem = Problem::from(error);
        let wait = problem.headers().get(header::RETRY_AFTER).and_then(|v| v.to_str().ok()).map(ToOwned::to_owned);
        (problem.status().as_u16(), serde_json::to_string_pretty(&problem.body(Some("01J"))).expect("json"), wait)
    }

    #[test]
    fn a_problem_says_what_was_wrong_twice() {
        let error = Error::UnknownModel { name: "yolo".into(), known: vec!["pedestrian".into()] };
        insta::assert_snapshot!(sent(error).1, @r#"
        {
          "type": "/errors#unknown-model",
          "title": "There is no model of that name",
          "status": 404,
          "detail": "there is no model `yolo`; there is `pedestrian`",
          "error": "there is no model `yolo`; there is `pedestrian`",
          "instance": "01J"
        }
        "#);
    }

    #[test]
    fn each_error_has_its_status() {
        let wait = Duration::from_millis(1200);
        let model = || "m".to_owned();
        let table = [
            (Error::BadParameter { name: "iou".into(), why: "no".into() }, 400, None),
            (Error::UnknownModel { name: model(), known: vec![] }, 404, None),
            (Error::UnknownVersion { model: model(), version: "2".into(), serving: "1".into() }, 404, None),
            (Error::NoModelForTask { task: crate::manifest::Task::Detect, known: vec![] }, 404, None),
            (Error::TooLarge("big".into()), 413, None),
            (Error::UnsupportedFormat("avif".into()), 415, None),
            (Error::BadImage("torn".into()), 422, None),
            (Error::QueueFull { model: model(), waiting: 9, retry_after: wait }, 429, Some("2")),
            (
                Error::TooSlow {
                    model: model(),
                    expected_ms: 9.0,
                    deadline_ms: 5.0,
                    hopeless: false,
                    retry_after: wait,
                },
                429,
                Some("2"),
            ),
            (Error::RateLimited { who: model(), most: model(), setting: model(), retry_after: wait }, 429, Some("2")),
            (Error::Closed, 503, Some("1")),
            (Error::LoadFailed { model: model(), reason: "torn".into(), still_serving: None }, 400, None),
            (Error::NoFolder("gone".into()), 500, None),
            (Error::Busy { in_flight: 9, retry_after: Duration::ZERO }, 429, Some("1")),
            (Error::TenantBusy { in_flight: 9, retry_after: Duration::ZERO }, 429, Some("1")),
            (Error::TooManyBodies, 429, Some("1")),
            (Error::NoMemory { bytes: 9, retry_after: wait }, 503, Some("2")),
            (Error::Starting, 503, Some("1")),
            (Error::DeadlinePassed { deadline_ms: 5.0, hopeless: false }, 504, None),
            (Error::ModelFailed { model: model(), cause: "secret".into() }, 500, None),
        ];
        for (error, status, retry_after) in table {
            let (got, body, wait) = sent(error.clone());
            assert_eq!((got, wait.as_deref()), (status, retry_after), "{error:?}");
            assert!(!body.contains("secret"));
            let problem = Problem::from(error.clone());
            assert_eq!(problem.kind.reason, error.reason(), "found here or below, the reason is the same");
        }
    }

    #[test]
    fn a_deadline_that_no_server_meets_and_a_model_that_fails_are_counted_apart() {
        let refusal = |error| Problem::from(error).refusal();
        assert_eq!(refusal(Error::DeadlinePassed { deadline_ms: 1.0, hopeless: false }), Some("deadline"));
        assert_eq!(refusal(Error::DeadlinePassed { deadline_ms: 1.0, hopeless: true }), Some("too_short"));
        assert_eq!(refusal(Error::ModelFailed { model: "m".into(), cause: "it is torn".into() }), None);
        assert_eq!(Problem::our_mistake().refusal(), Some("internal"));
    }
}
