//! Bodies, read with a limit and a time.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use futures_util::stream;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use super::problem::{Problem, kinds};
use crate::{config::Config, inference::Permit};

/// The room for what stands around images in a form or in JSON.
const FRAMING: usize = 64 << 10;
/// The bytes of a refused body that are still read, so that the client gets to see why it was refused.
const DRAINED: usize = 32 << 20;
/// The longest time for which a refused body is still read.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// How large a body may be, and how long it may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    /// The largest image, in bytes.
    pub image: usize,
    /// How long the client may take to send everything.
    pub time: Duration,
}

impl BodyLimits {
    /// The limits that the operator has set.
    pub(super) fn of(config: &Config) -> Self {
        Self { image: config.images.max_bytes, time: config.requests.body_timeout }
    }

    /// The limit of a body made of several images: eight of the largest, and room for the headers of the parts.
    pub(super) fn multipart(&self) -> usize {
        self.image.saturating_mul(8).saturating_add(FRAMING)
    }

    /// The limit of a body of JSON: the largest image in base64, and room for the rest.
    pub(super) fn json(&self) -> usize {
        self.image.saturating_mul(4).div_ceil(3).saturating_add(FRAMING)
    }

    /// The limit of a body of tensors, which measure more than the images they were made of.
    pub(super) fn tensors(&self) -> usize {
        self.image.saturating_mul(4)
    }
}

/// A request's body, before it is read.
#[derive(Debug)]
pub(super) struct Upload {
    body: Body,
    declared: Option<usize>,
    /// Whether the client waits for a `100 Continue`, which goes out when the body is first asked for.
    waits: bool,
}

impl Upload {
    /// A body, with what the headers say about it.
    pub(super) fn new(headers: &HeaderMap, body: Body) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            body,
            declared: text(header::CONTENT_LENGTH).and_then(|value| value.parse().ok()),
            waits: text(header::EXPECT).is_some(),
        }
    }

    /// The number of bytes that the body may turn out to have: what the headers announce, else all that is allowed.
    pub(super) fn expected(&self, limit: usize) -> usize {
        self.declared.unwrap_or(limit).min(limit)
    }

    /// Reads the whole body, up to `limit` bytes.
    pub(super) async fn read(&mut self, limit: usize, time: Duration) -> Result<Bytes, Problem> {
        let declared = self.declared;
        let mut body = self.limited(limit)?;
        let read = async {
            let mut first: Option<Bytes> = None;
            let mut all = BytesMut::new();
            while let Some(frame) = body.frame().await {
                let Ok(data) = frame.map_err(|error| torn(&*error, limit))?.into_data() else { continue };
                match first.take() {
                    // A small body comes in one piece, and is not copied at all.
                    None if all.is_empty() => first = Some(data),
                    None => all.extend_from_slice(&data),
                    Some(before) => {
                        all.reserve(declared.unwrap_or(0).max(before.len() + data.len()));
                        all.extend_from_slice(&before);
                        all.extend_from_slice(&data);
                    }
                }
            }
            Ok(first.unwrap_or_else(|| all.freeze()))
        };
        tokio::time::timeout(time, read).await.map_err(|_| slow(time))?
    }

    /// The body as it comes in, ending with an error after `limit` bytes; none of it when more is announced.
    fn limited(&mut self, limit: usize) -> Result<Limited<&mut Body>, Problem> {
        if let Some(declared) = self.declared.filter(|declared| *declared > limit) {
            return Err(Problem::too_large(&format!("the body has {declared} bytes"), limit));
        }
        self.waits = false;
        Ok(Limited::new(&mut self.body, limit))
    }

    /// Reads on after a refusal, without keeping anything: a connection that is closed over unread bytes is reset, and
    /// the client never learns why. This costs a bounded amount, and nothing where the client waits to be asked or is slow.
    pub(super) async fn drain(&mut self, refusal: &Problem) {
        if self.waits || *refusal.kind == kinds::SLOW_BODY {
            return;
        }
        let rest = async {
            let mut read = 0;
            while let Some(Ok(frame)) = self.body.frame().await {
                read += frame.data_ref().map_or(0, Bytes::len);
                if read > DRAINED {
                    break;
                }
            }
        };
        // Whether it ended or the time was up makes no difference.
        drop(tokio::time::timeout(DRAIN_TIME, rest).await);
    }
}

/// Refuses bodies that would have to be unpacked first.
pub(super) fn refuse_compressed(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => {
            let detail = format!("content-encoding {encoding:?} is not taken; send the body as it is");
            Err(Problem::new(&kinds::UNSUPPORTED_TYPE, detail))
        }
        _ => Ok(()),
    }
}

/// The refusal of a body that has taken too much time.
pub(super) fn slow(time: Duration) -> Problem {
    let detail =
        format!("the body did not come within {} ms; OUNCE_REQUESTS__BODY_TIMEOUT_MS sets it", time.as_millis());
    Problem::new(&kinds::SLOW_BODY, detail)
}

/// The refusal of a body that could not be read: it is over the limit, or the client has gone.
fn torn(error: &(dyn std::error::Error + 'static), limit: usize) -> Problem {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if error.is::<LengthLimitError>() {
            return Problem::too_large("the body has more bytes", limit);
        }
        cause = error.source();
    }
    Problem::bad_body(format!("the body ended before it was whole: {error}"))
}

/// Sends a large answer that keeps its request's place until the client has taken it: in pieces, since what is given to the
/// connection at once is buffered there for as long as the client likes.
pub(super) fn stream_holding_permit(bytes: Vec<u8>, permit: Arc<Permit>) -> Response {
    const PIECE: usize = 64 << 10;
    let length = bytes.len();
    let pieces = stream::unfold((Bytes::from(bytes), permit), |(mut rest, permit)| async move {
        let piece = rest.split_to(rest.len().min(PIECE));
        (!piece.is_empty()).then_some((Ok::<_, Infallible>(piece), (rest, permit)))
    });
    ([(header::CONTENT_LENGTH, length)], Body::from_stream(pieces)).into_response()
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    fn chunked(chunks: &'static [&'static str]) -> Body {
        Body::from_stream(stream::iter(chunks.iter().map(|chunk| Ok::<_, std::io::Error>(*chunk))))
    }

    async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
        Upload::new(headers, body).read(10, Duration::from_millis(20)).await
    }

    #[tokio::test]
    async fn pieces_become_one() {
        let none = HeaderMap::new();
        assert_eq!(read(&none, Body::empty()).await.expect("read"), "");
        assert_eq!(read(&none, Body::from("0123456789")).await.expect("read"), "0123456789");
        assert_eq!(read(&none, chunked(&["01", "234", "5"])).await.expect("read"), "012345");
    }

    #[tokio::test]
    async fn one_byte_too_many_is_refused_however_it_comes() {
        let mut headers = HeaderMap::new();
        let text = "the body has more bytes, more than the limit of 10; OUNCE_PICTURES__MAX_BYTES sets it";
        assert_eq!(read(&headers, Body::from("0123456789a")).await.expect_err("refused").detail, text);
        assert_eq!(read(&headers, chunked(&["01234", "56789", "a"])).await.expect_err("refused").detail, text);
        headers.insert(header::CONTENT_LENGTH, 11.into());
        let problem = read(&headers, Body::empty()).await.expect_err("refused");
        assert_eq!((problem.status().as_u16(), problem.detail.starts_with("the body has 11 bytes")), (413, true));
    }

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        assert_eq!(read(&HeaderMap::new(), body).await.expect_err("refused").status().as_u16(), 408);
    }
}
