//! Sends one request and reads its answer.

use std::{
    borrow::Cow,
    error::Error,
    time::{Duration, Instant},
};

use http::StatusCode;
use http_body_util::BodyExt;
use serde::Deserialize;

use super::BenchTarget;

/// Time after which a request without an answer has failed.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The answer to a request, or why there is none.
#[derive(Debug)]
pub(super) struct SendOutcome {
    pub kind: ResponseKind,
    /// When the last byte of the answer had arrived.
    pub done: Instant,
    /// The variant that the answer names.
    pub variant: Option<String>,
    /// The cost in dollars that the answer names.
    pub usd: Option<f64>,
    /// The reason in words, where the status is not 2xx.
    pub why: Option<String>,
}

/// Result of a request by its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ResponseKind {
    /// The status is 2xx.
    Answered,
    /// The status is 429 or 503.
    Refused,
    /// The status is 504.
    Late,
    /// The answer has another status.
    Status(u16),
    /// There is no answer, for this reason.
    Failed(String),
}

/// The fields that are read of an answer's JSON.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AnswerFields<'a> {
    #[serde(borrow)]
    variant: Option<Cow<'a, str>>,
    cost: Option<AnswerCost>,
    #[serde(borrow)]
    detail: Option<Cow<'a, str>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct AnswerCost {
    usd: Option<f64>,
}

impl BenchTarget {
    /// Sends one request before the load, so that a wrong address or image is reported at once.
    ///
    /// # Errors
    /// The server cannot be reached, or answers with an error. A refusal because of load is not an error.
    pub async fn probe(&self) -> Result<(), String> {
        let outcome = self.send().await;
        match outcome.kind {
            ResponseKind::Answered | ResponseKind::Refused | ResponseKind::Late => Ok(()),
            ResponseKind::Status(_) | ResponseKind::Failed(_) => Err(outcome.why.unwrap_or_default()),
        }
    }

    pub(super) async fn send(&self) -> SendOutcome {
        let received = tokio::time::timeout(TIMEOUT, async {
            let response = self.client.request(self.request()).await.map_err(|error| root_cause(&error))?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(|error| root_cause(&error))?;
            Ok((status, body.to_bytes()))
        });
        let received = received.await.unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs())));
        let done = Instant::now();
        match received {
            Ok((status, body)) => SendOutcome::answered(status, &body, done),
            Err(why) => {
                let sentence = format!("{}: {why}", self.host());
                SendOutcome { kind: ResponseKind::Failed(why), done, variant: None, usd: None, why: Some(sentence) }
            }
        }
    }
}

impl SendOutcome {
    fn answered(status: StatusCode, body: &[u8], done: Instant) -> Self {
        let kind = match status.as_u16() {
            200..300 => ResponseKind::Answered,
            429 | 503 => ResponseKind::Refused,
            504 => ResponseKind::Late,
            other => ResponseKind::Status(other),
        };
        // An answer that is not JSON has none of these fields.
        let fields: AnswerFields<'_> = serde_json::from_slice(body).unwrap_or_default();
        let why = (kind != ResponseKind::Answered).then(|| {
            let detail = fields.detail.clone().unwrap_or_else(|| String::from_utf8_lossy(body));
            let detail: String = detail.trim().chars().take(300).collect();
            if detail.is_empty() { status.to_string() } else { format!("{status}: {detail}") }
        });
        let variant = fields.variant.map(Cow::into_owned);
        Self { kind, done, variant, usd: fields.cost.and_then(|cost| cost.usd), why }
    }
}

/// The innermost cause of an error, without the system's number of it.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let text = cause.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, body: &str) -> SendOutcome {
        SendOutcome::answered(StatusCode::from_u16(status).expect("a status"), body.as_bytes(), Instant::now())
    }

    #[test]
    fn answers_are_sorted_by_status_and_read_where_they_can_be() {
        let answer = read(200, r#"{"variant":"int\u0038","cost":{"usd":2e-7,"more":1},"detections":[{"label":"a"}]}"#);
        assert_eq!(
            (answer.kind, answer.variant.as_deref(), answer.usd),
            (ResponseKind::Answered, Some("int8"), Some(2e-7))
        );
        let plain = read(201, "fine");
        assert_eq!((plain.kind, plain.variant, plain.usd, plain.why), (ResponseKind::Answered, None, None, None));
        assert_eq!(read(200, r#"{"variant":7}"#).kind, ResponseKind::Answered);
        assert_eq!(
            (read(429, "").kind, read(503, "").kind, read(504, "").kind),
            (ResponseKind::Refused, ResponseKind::Refused, ResponseKind::Late)
        );
        let bad = read(422, r#"{"detail":"no picture"}"#);
        assert_eq!(
            (bad.kind, bad.why.as_deref()),
            (ResponseKind::Status(422), Some("422 Unprocessable Entity: no picture"))
        );
    }
}
