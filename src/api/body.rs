//! Bodies, read with a limit, a time and a least rate. Memory is taken as they come, never for what a header only announces.

use std::{convert::Infallible, pin::pin, time::Duration};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use bytes::BytesMut;
use futures_util::stream;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use tokio::time::Instant;

use super::problem::{Problem, kinds};
use crate::{
    config::{BodiesConfig, Config},
    error::Error,
    inference::DrawnImage,
};

/// The room for what stands around images in a form or in JSON.
const FRAMING: usize = 64 << 10;
/// The bytes of a refused body that are still read, so that the client gets to see why it was refused.
const DRAINED: usize = 32 << 20;
/// The longest time for which a refused body is still read.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// The first piece of memory that is taken for a body of many pieces.
const PIECE: usize = 64 << 10;

/// Takes memory for so many bytes of a body in all, or says why there is none.
pub(super) type Hold<'a> = &'a (dyn Fn(usize) -> Result<(), Error> + Sync);

/// Refuses a body by what has come of it.
pub(super) type Check<'a> = &'a (dyn Fn(&[u8]) -> Result<(), Problem> + Sync);

/// How large a body may be, and how long it may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimits {
    /// The largest image, in bytes.
    pub image: usize,
    /// How fast the client has to send.
    pub pace: Pace,
}

/// How long a body may take, and the least rate at which its bytes have to come.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// How long the client may take to send everything.
    pub time: Duration,
    /// How long it may be slower than `bytes_per_second`.
    pub grace: Duration,
    /// The least rate; 0 for none.
    pub bytes_per_second: u32,
}

impl Pace {
    /// The time by which more has to be there than so many bytes.
    pub(super) fn next(&self, started: Instant, bytes: usize) -> Instant {
        let slowest = match self.bytes_per_second {
            0 => self.time,
            rate => self.grace + Duration::from_secs_f64(bytes as f64 / f64::from(rate)),
        };
        started + slowest.min(self.time)
    }

    /// The refusal of a body that comes too slowly.
    pub(super) fn refusal(&self, started: Instant, bytes: usize) -> Problem {
        let detail = if started.elapsed() >= self.time {
            let ms = self.time.as_millis();
            format!("the body did not come within {ms} ms; OUNCE_REQUESTS__BODY_TIMEOUT_MS sets it")
        } else {
            format!(
                "{bytes} bytes of the body have come within {} ms, which is slower than {} bytes a second; \
                 OUNCE_BODIES__MIN_BYTES_PER_SECOND and OUNCE_BODIES__GRACE_MS set that",
                started.elapsed().as_millis(),
                self.bytes_per_second
            )
        };
        Problem::new(&kinds::SLOW_BODY, detail)
    }
}

impl BodyLimits {
    /// The limits that the operator has set.
    pub(super) fn of(config: &Config) -> Self {
        let BodiesConfig { min_bytes_per_second, grace, .. } = config.bodies;
        let pace = Pace { time: config.requests.body_timeout, grace, bytes_per_second: min_bytes_per_second };
        Self { image: config.images.max_bytes, pace }
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
    /// The number of its bytes that were received.
    came: usize,
    /// Whether it was read to its end.
    given: bool,
}

impl Upload {
    /// A body, with what the headers say about it.
    pub(super) fn new(headers: &HeaderMap, body: Body) -> Self {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        Self {
            body,
            declared: text(header::CONTENT_LENGTH).and_then(|value| value.parse().ok()),
            waits: text(header::EXPECT).is_some(),
            came: 0,
            given: false,
        }
    }

    /// Reads the whole body, up to `limit` bytes, and takes memory for it as it comes.
    pub(super) async fn read(&mut self, limit: usize, pace: Pace, hold: Hold<'_>) -> Result<Bytes, Problem> {
        self.read_checked(limit, pace, hold, &|_| Ok(())).await
    }

    /// As [`Upload::read`], and ends with the refusal of `check`, which sees what has come each time that more has.
    pub(super) async fn read_checked(
        &mut self,
        limit: usize,
        pace: Pace,
        hold: Hold<'_>,
        check: Check<'_>,
    ) -> Result<Bytes, Problem> {
        let announced = self.declared.unwrap_or(limit).min(limit);
        if let Some(declared) = self.declared.filter(|declared| *declared > limit) {
            return Err(Problem::too_large(&format!("the body has {declared} bytes"), limit));
        }
        self.waits = false;
        // It ends with an error after `limit` bytes.
        let mut body = Limited::new(&mut self.body, limit);
        let started = Instant::now();
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        // One timer for the whole body: it is set anew only when it goes off.
        let mut alarm = pin!(tokio::time::sleep_until(pace.next(started, 0)));
        loop {
            let received = first.len() + all.len();
            let frame = tokio::select! {
                biased;
                frame = body.frame() => frame,
                () = &mut alarm => {
                    let next = pace.next(started, received);
                    if next <= Instant::now() {
                        return Err(pace.refusal(started, received));
                    }
                    alarm.as_mut().reset(next);
                    continue;
                }
            };
            let Some(frame) = frame else { break };
            let Ok(data) = frame.map_err(|error| torn(&*error, limit))?.into_data() else { continue };
            self.came = received + data.len();
            if received == 0 {
                // A small body comes in one piece, and is not copied at all.
                check(&data)?;
                hold(data.len())?;
                first = data;
                continue;
            }
            let needed = received + data.len();
            if needed > all.capacity() {
                let room = announced.min(needed.saturating_mul(2).max(PIECE)).max(needed);
                hold(room)?;
                all.reserve(room - all.len());
            }
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
            check(&all)?;
        }
        self.given = true;
        Ok(if first.is_empty() { all.freeze() } else { first })
    }

    /// Reads on after a refusal, without keeping anything: a connection that is closed over unread bytes is reset, and
    /// the client never learns why. This costs a bounded amount, and nothing where the client waits to be asked or is slow.
    ///
    /// Returns whether the body came to its end although the request was refused before: its client did want an answer.
    pub(super) async fn drain(&mut self, refusal: &Problem) -> bool {
        if self.waits || *refusal.kind == kinds::SLOW_BODY {
            return false;
        }
        let mut read = 0;
        let rest = async {
            loop {
                match self.body.frame().await {
                    None => return true,
                    Some(Err(_)) => return false,
                    Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
                }
                if read > DRAINED {
                    return false;
                }
            }
        };
        let ended = tokio::time::timeout(DRAIN_TIME, rest).await.unwrap_or(false);
        ended && !self.given && self.came + read > 0
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

/// Sends a drawn answer that keeps `held` until the client has taken it: in pieces, since what is given to the connection at once
/// is buffered there for as long as the client likes. The memory of a piece is free again once it is sent.
pub(super) fn stream_holding<T: Send + 'static>(drawn: DrawnImage, held: T) -> Response {
    let length = drawn.len();
    let pieces = stream::unfold((drawn, held), |(mut rest, held)| async move {
        rest.next_piece().map(|piece| (Ok::<_, Infallible>(piece), (rest, held)))
    });
    ([(header::CONTENT_LENGTH, length)], Body::from_stream(pieces)).into_response()
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};

    use super::*;

    fn chunked(chunks: &'static [&'static str]) -> Body {
        Body::from_stream(stream::iter(chunks.iter().map(|chunk| Ok::<_, std::io::Error>(*chunk))))
    }

    const PACE: Pace =
        Pace { time: Duration::from_millis(20), grace: Duration::from_millis(20), bytes_per_second: 1000 };

    async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
        Upload::new(headers, body).read(10, PACE, &|_| Ok(())).await
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

    #[tokio::test]
    async fn a_body_that_comes_too_slowly_is_given_up_long_before_its_time() {
        let slow = Pace { time: Duration::from_secs(3600), grace: Duration::from_millis(10), bytes_per_second: 1000 };
        let beginning = stream::iter([Ok::<_, std::io::Error>("0123456789")]);
        let body = Body::from_stream(beginning.chain(stream::pending()));
        let refused = Upload::new(&HeaderMap::new(), body).read(100, slow, &|_| Ok(())).await.expect_err("refused");
        assert_eq!(refused.status().as_u16(), 408);
        assert!(refused.detail.starts_with("10 bytes of the body have come within"), "{}", refused.detail);
        assert!(refused.detail.contains("slower than 1000 bytes a second"), "{}", refused.detail);
    }

    #[tokio::test]
    async fn memory_is_taken_for_what_comes_and_not_for_what_is_announced() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_LENGTH, 1_000_000.into());
        let held = std::sync::Mutex::new(Vec::new());
        let hold = |bytes| {
            held.lock().expect("no panic").push(bytes);
            Ok(())
        };
        let pieces = (0..250).map(|_| Ok::<_, std::io::Error>(vec![7; 4000]));
        let body = Body::from_stream(stream::iter(pieces.collect::<Vec<_>>()));
        let read = Upload::new(&headers, body).read(2_000_000, PACE, &hold).await.expect("read");
        assert_eq!(read.len(), 1_000_000);
        let held = held.into_inner().expect("no panic");
        assert_eq!((held[0], held[1], held.last().copied()), (4000, PIECE, Some(1_000_000)));
        assert!(held.windows(2).all(|pair| pair[1] <= pair[0] * 18), "{held:?}");
    }
}
