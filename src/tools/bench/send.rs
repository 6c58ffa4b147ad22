//! One request and what became of it.

use std::{
    borrow::Cow,
    error::Error,
    time::{Duration, Instant},
};

use http::StatusCode;
use http_body_util::BodyExt;
use serde::Deserialize;

use super::BenchTarget;

/// Who has waited so long waits no longer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What became of a request, and when.
#[derive(Debug)]
pub(super) struct SendOutcome {
    pub fate: ResponseKind,
    /// When the last byte was there.
    pub done: Instant,
    /// What the answer told of itself.
    pub variant: Option<String>,
    /// Dollars, if the answer told.
    pub usd: Option<f64>,
    /// In words, where it is no answer.
    pub why: Option<String>,
}

/// What may become of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ResponseKind {
    /// 2xx.
    Answered,
    /// 429 or 503.
    Refused,
    /// 504.
    Late,
    /// Another status.
    Status(u16),
    /// No status at all: why, in a few words.
    Failed(String),
}

/// What is read of an answer.
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
    /// One request before the load, so that what cannot be answered is told at once.
    ///
    /// # Errors
    /// When the server cannot be reached or does not answer, in a sentence. To be refused because of load is no error.
    pub async fn probe(&self) -> Result<(), String> {
        let outcome = self.send().await;
        match outcome.fate {
            ResponseKind::Answered | ResponseKind::Refused | ResponseKind::Late => Ok(()),
            ResponseKind::Status(_) | ResponseKind::Failed(_) => Err(outcome.why.unwrap_or_default()),
        }
    }

    pub(super) async fn send(&self) -> SendOutcome {
        let received = tokio::time::timeout(TIMEOUT, async {
            let response = self.client.request(self.request()).await.map_err(|error| root(&error))?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(|error| root(&error))?;
            Ok((status, body.to_bytes()))
        });
        let received = received.await.unwrap_or_else(|_| Err(format!("no answer within {} s", TIMEOUT.as_secs())));
        let done = Instant::now();
        match received {
            Ok((status, body)) => SendOutcome::answered(status, &body, done),
            Err(why) => {
                let sentence = format!("{}: {why}", self.host());
                SendOutcome { fate: ResponseKind::Failed(why), done, variant: None, usd: None, why: Some(sentence) }
            }
        }
    }
}

impl SendOutcome {
    fn answered(status: StatusCode, body: &[u8], done: Instant) -> Self {
        let fate = match status.as_u16() {
            200..300 => ResponseKind::Answered,
            429 | 503 => ResponseKind::Refused,
            504 => ResponseKind::Late,
            other => ResponseKind::Status(other),
        };
        // An answer that is no JSON tells nothing.
        let told: AnswerFields<'_> = serde_json::from_slice(body).unwrap_or_default();
        let why = (fate != ResponseKind::Answered).then(|| {
            let detail = told.detail.clone().unwrap_or_else(|| String::from_utf8_lossy(body));
            let detail: String = detail.trim().chars().take(300).collect();
            if detail.is_empty() { status.to_string() } else { format!("{status}: {detail}") }
        });
        let variant = told.variant.map(Cow::into_owned);
        Self { fate, done, variant, usd: told.cost.and_then(|cost| cost.usd), why }
    }
}

/// The innermost cause of an error, without the system's number for it.
fn root(error: &(dyn Error + 'static)) -> String {
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
            (answer.fate, answer.variant.as_deref(), answer.usd),
            (ResponseKind::Answered, Some("int8"), Some(2e-7))
        );
        let plain = read(201, "fine");
        assert_eq!((plain.fate, plain.variant, plain.usd, plain.why), (ResponseKind::Answered, None, None, None));
        assert_eq!(read(200, r#"{"variant":7}"#).fate, ResponseKind::Answered);
        assert_eq!(
            (read(429, "").fate, read(503, "").fate, read(504, "").fate),
            (ResponseKind::Refused, ResponseKind::Refused, ResponseKind::Late)
        );
        let bad = read(422, r#"{"detail":"no image"}"#);
        assert_eq!(
            (bad.fate, bad.why.as_deref()),
            (ResponseKind::Status(422), Some("422 Unprocessable Entity: no picture"))
        );
    }
}
