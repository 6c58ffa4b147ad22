//! Messages in bodies: each has five bytes before it, of which the first tells whether it is compressed and the others how long it is.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::{Buf, BytesMut};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use prost::Message;
use tonic::{Code, Status};

use crate::api::{
    body::{BodyLimits, Hold, Pace, Upload},
    compressed::{self, MOST_UNPACKED, Packing},
    problem::{Problem, kinds},
};

/// The bytes before a message.
pub(super) const PREFIX: usize = 5;

/// The largest message that asks no model, which says next to nothing.
const MAX_SMALL_BYTES: usize = 64 << 10;

pub(in crate::api) const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// Whether a request is a call of gRPC, by its content type.
pub(in crate::api) fn is_grpc(headers: &HeaderMap) -> bool {
    let of = |value: &HeaderValue| {
        let rest = value.as_bytes().strip_prefix(b"application/grpc");
        // Not `application/grpc-web`, which has other frames.
        rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
    };
    headers.get(header::CONTENT_TYPE).is_some_and(of)
}

/// How the messages of a call are compressed where their first byte says that they are.
pub(super) fn packing(headers: &HeaderMap) -> Result<Packing, Problem> {
    if !is_grpc(headers) {
        let detail = "this path is a method of gRPC: send its messages with content-type application/grpc";
        return Err(Problem::new(&kinds::UNSUPPORTED_TYPE, detail));
    }
    match headers.get("grpc-encoding") {
        None => Ok(Packing::Plain),
        Some(encoding) if encoding == "identity" => Ok(Packing::Plain),
        Some(encoding) if encoding == "gzip" => Ok(Packing::Gzip),
        Some(encoding) if encoding == "deflate" => Ok(Packing::Deflate),
        Some(encoding) => {
            let detail = format!("grpc-encoding {encoding:?} is not taken; send gzip, deflate or identity");
            Err(Problem::new(&kinds::UNSUPPORTED_TYPE, detail))
        }
    }
}

/// A message as it came.
#[derive(Debug)]
pub(super) struct Packed {
    bytes: Bytes,
    packing: Packing,
}

impl Packed {
    /// The message's bytes, unpacked up to a limit.
    pub(super) fn unpack(self, limit: usize) -> Result<Bytes, Problem> {
        compressed::unpack(self.bytes, self.packing, limit)
    }

    /// The most memory that it takes once it is unpacked.
    pub(super) fn largest(&self, limit: usize) -> usize {
        match self.packing {
            Packing::Plain => self.bytes.len(),
            Packing::Gzip | Packing::Deflate => self.bytes.len().saturating_mul(MOST_UNPACKED).min(limit),
        }
    }
}

/// How many bytes the message at the front takes, those before it included; none when they have not come yet.
pub(super) fn whole_length(received: &[u8], limit: usize) -> Result<Option<usize>, Problem> {
    match prefix(received) {
        Some((_, length)) if length > limit => {
            Err(Problem::too_large(&format!("the message has {length} bytes"), limit))
        }
        known => Ok(known.map(|(_, length)| PREFIX + length)),
    }
}

/// Takes a whole message off the front of what has come; none when it is not whole yet.
pub(super) fn take(received: &mut BytesMut, packing: Packing, limit: usize) -> Result<Option<Packed>, Problem> {
    let Some(whole) = whole_length(received, limit)? else { return Ok(None) };
    let flag = received.first().copied().unwrap_or_default();
    let packing = match (flag, packing) {
        (0, _) => Packing::Plain,
        (1, Packing::Gzip | Packing::Deflate) => packing,
        (1, Packing::Plain) => return Err(Problem::bad_body("a message is compressed, but there is no grpc-encoding")),
        _ => return Err(Problem::bad_body(format!("a message begins with {flag}, which is neither 0 nor 1"))),
    };
    if received.len() < whole {
        return Ok(None);
    }
    received.advance(PREFIX);
    Ok(Some(Packed { bytes: received.split_to(whole - PREFIX).freeze(), packing }))
}

fn prefix(received: &[u8]) -> Option<(u8, usize)> {
    let [flag, length @ ..] = received.first_chunk::<PREFIX>()?;
    Some((*flag, usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX)))
}

/// Reads the body of a call that has one message. It is refused as soon as it cannot be one: nothing is kept for a message that is
/// too large, or behind one that is whole.
pub(super) async fn read_only(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    pace: Pace,
    hold: Hold<'_>,
) -> Result<Packed, Problem> {
    let packing = packing(headers)?;
    let check = |received: &[u8]| match whole_length(received, limit)? {
        Some(whole) if received.len() > whole => Err(left_behind(received.len() - whole)),
        Some(_) | None => Ok(()),
    };
    let body = Upload::new(headers, body).read_checked(limit + PREFIX, pace, hold, &check).await?;
    only(body, packing, limit)
}

fn left_behind(bytes: usize) -> Problem {
    Problem::bad_body(format!("{bytes} bytes are left behind the message"))
}

/// The one message of a body that has come whole.
pub(super) fn only(body: Bytes, packing: Packing, limit: usize) -> Result<Packed, Problem> {
    let mut received = BytesMut::from(body);
    match take(&mut received, packing, limit)? {
        Some(message) if received.is_empty() => Ok(message),
        Some(_) => Err(left_behind(received.len())),
        None => Err(Problem::bad_body("the body ended before its message was whole")),
    }
}

/// Reads the message of a call that asks no model.
pub(super) async fn read<M: Message + Default>(
    headers: &HeaderMap,
    body: Body,
    limits: BodyLimits,
) -> Result<M, Problem> {
    let message = read_only(headers, body, MAX_SMALL_BYTES, limits.pace, &|_| Ok(())).await?;
    let bytes = message.unpack(MAX_SMALL_BYTES)?;
    M::decode(bytes).map_err(|error| Problem::bad_body(format!("the message cannot be read: {error}")))
}

/// A message with its prefix, as it is sent.
pub(super) fn frame(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = Vec::with_capacity(PREFIX + length);
    bytes.push(0);
    bytes.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    // A vector grows, so there is always room.
    message.encode_raw(&mut bytes);
    bytes.into()
}

/// The end of an answer: its status.
pub(super) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        trailers.insert(Status::GRPC_STATUS, HeaderValue::from(Code::Internal as i32));
    }
    trailers
}

/// An answer of one message.
pub(super) fn reply(message: &impl Message) -> Response {
    let status = trailers(&Status::ok(""));
    let frames = [Ok::<_, std::convert::Infallible>(Frame::data(frame(message))), Ok(Frame::trailers(status))];
    let body = StreamBody::new(futures_util::stream::iter(frames));
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], Body::new(body.boxed_unsync())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(flag: u8, length: u32, bytes: &[u8]) -> Bytes {
        [&[flag][..], &length.to_be_bytes(), bytes].concat().into()
    }

    fn refusal(body: Bytes, packing: Packing) -> String {
        only(body, packing, 10).and_then(|message| message.unpack(10)).expect_err("refused").detail
    }

    #[test]
    fn a_message_comes_whole_or_not_at_all() {
        let whole = only(framed(0, 3, b"abc"), Packing::Plain, 10).expect("whole");
        assert_eq!(whole.unpack(10).expect("plain"), "abc");
        let mut received = BytesMut::from(&b"\0\0\0\0\x02ab\0\0\0\0\x00\0\0\0"[..]);
        let mut next = || take(&mut received, Packing::Plain, 10).expect("fine").map(|message| message.bytes);
        assert_eq!([next(), next(), next()], [Some("ab".into()), Some("".into()), None]);
    }

    #[test]
    fn frames_that_lie_are_refused() {
        insta::assert_snapshot!(refusal(framed(0, 3, b"ab"), Packing::Plain), @"the body ended before its message was whole");
        insta::assert_snapshot!(refusal(framed(0, 1, b"ab"), Packing::Plain), @"1 bytes are left behind the message");
        insta::assert_snapshot!(refusal(framed(0, u32::MAX, b"ab"), Packing::Plain), @"the message has 4294967295 bytes, more than the limit of 10; OUNCE_PICTURES__MAX_BYTES sets it");
        insta::assert_snapshot!(refusal(framed(2, 2, b"ab"), Packing::Plain), @"a message begins with 2, which is neither 0 nor 1");
        insta::assert_snapshot!(refusal(framed(1, 2, b"ab"), Packing::Plain), @"a message is compressed, but there is no grpc-encoding");
        insta::assert_snapshot!(refusal(Bytes::new(), Packing::Plain), @"the body ended before its message was whole");
    }

    #[tokio::test]
    async fn what_cannot_be_one_message_is_refused_before_it_has_all_come() {
        use futures_util::{StreamExt, stream};
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, CONTENT_TYPE)]);
        let second = std::time::Duration::from_secs(1);
        let pace = Pace { time: 3600 * second, grace: 3600 * second, bytes_per_second: 0 };
        let refused = async |begin: &'static [u8]| {
            // More would come for ever.
            let begin = stream::iter([Ok::<_, std::io::Error>(&begin[..2]), Ok(&begin[2..])]);
            let body = Body::from_stream(begin.chain(stream::pending()));
            read_only(&headers, body, 10, pace, &|_| Ok(())).await.expect_err("refused").detail
        };
        insta::assert_snapshot!(refused(b"\0\xff\xff\xff\xff").await, @"the message has 4294967295 bytes, more than the limit of 10; OUNCE_PICTURES__MAX_BYTES sets it");
        insta::assert_snapshot!(refused(b"\0\0\0\0\x01abc").await, @"2 bytes are left behind the message");
    }

    #[test]
    fn only_grpc_is_grpc() {
        let of = |content_type| {
            let value = HeaderValue::from_static(content_type);
            is_grpc(&HeaderMap::from_iter([(header::CONTENT_TYPE, value)]))
        };
        assert!(of("application/grpc") && of("application/grpc+proto") && of("application/grpc;x"));
        assert!(!of("application/grpc-web") && !of("application/json") && !of(""));
    }
}
