//! Entrances for fuzzers (`crate::fuzzing`) to what is private here.

use std::{convert::Infallible, sync::Arc, time::Instant};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, Request, request::Parts},
};
use bytes::BytesMut;
use http_body::Frame;
use http_body_util::StreamBody;
use prost::Message;

use super::{
    frames,
    infer::Call,
    messages::{HealthCheckRequest, NamedModelRequest, RepositoryModelRequest},
    stream_messages::Messages,
    timeout,
};
use crate::{
    api::{
        compressed::{MOST_UNPACKED, Packing},
        middleware::request_info::RequestInfo,
        problem::Problem,
        rest::fuzzing,
    },
    inference::Inference,
};

/// Reads a body as the messages of a stream, and as the one message of a call.
pub async fn frames(inference: &Arc<Inference>, headers: HeaderMap, body: &[u8]) {
    let mut head = Request::new(()).into_parts().0;
    head.headers = headers;
    if let Err(problem) = timeout::of(&head.headers) {
        return fuzzing::is_the_clients(&problem);
    }
    let whole = stream(inference, &head, body, body.len().max(1)).await;
    for piece in [1, 7] {
        let torn = stream(inference, &head, body, piece).await;
        assert_eq!(torn, whole, "the messages are the same, whether they come in pieces of {piece} bytes or at once");
    }
    match only(&head.headers, body) {
        Ok(message) => {
            assert_eq!(whole.0, std::slice::from_ref(&message), "a stream of one message has the same message");
            small::<NamedModelRequest>(&message);
            small::<RepositoryModelRequest>(&message);
            small::<HealthCheckRequest>(&message);
        }
        Err(problem) => fuzzing::is_the_clients(&problem),
    }
}

/// The most bytes of a message; few, so that mutations pass them.
const LIMIT: usize = 64 << 10;

fn only(headers: &HeaderMap, body: &[u8]) -> Result<Option<Bytes>, Problem> {
    let packed = frames::only(Bytes::copy_from_slice(body), frames::packing(headers)?, LIMIT)?;
    let most = packed.largest(LIMIT);
    Ok(packed.unpack(LIMIT).ok().inspect(|message| {
        assert!(message.len() <= most && most <= body.len() * MOST_UNPACKED, "{} bytes", message.len());
    }))
}

/// The messages of a stream, each unpacked where that is possible, and the sentence that ends it.
async fn stream(
    inference: &Arc<Inference>,
    head: &Parts,
    body: &[u8],
    piece: usize,
) -> (Vec<Option<Bytes>>, Option<String>) {
    let pieces: Vec<_> = body.chunks(piece).map(Bytes::copy_from_slice).collect();
    let pieces = pieces.into_iter().map(|piece| Ok::<_, Infallible>(Frame::data(piece)));
    let body = Body::new(StreamBody::new(futures_util::stream::iter(pieces)));
    let packing = match frames::packing(&head.headers) {
        Ok(packing) => packing,
        Err(problem) => return (Vec::new(), Some(problem.detail)),
    };
    let info = RequestInfo::new(&head.headers);
    let call = Call::new(Arc::clone(inference), info, head, Instant::now()).expect("its timeout was read before");
    let mut messages = Messages::new(body, packing, call);
    let mut whole = Vec::new();
    loop {
        match messages.next().await {
            // What it holds is given back before the next one comes.
            Ok(Some(Ok((packed, _permit)))) => whole.push(packed.unpack(LIMIT).ok()),
            Ok(Some(Err(problem))) => unreachable!("there is room: {problem:?}"),
            Ok(None) => return (whole, None),
            Err(problem) => {
                fuzzing::is_the_clients(&problem);
                return (whole, Some(problem.detail));
            }
        }
    }
}

/// A message that asks no model becomes as many bytes again at most when it is written anew.
fn small<M: Message + Default + PartialEq + std::fmt::Debug>(message: &Option<Bytes>) {
    let Some(Ok(read)) = message.clone().map(M::decode) else { return };
    let mut framed = BytesMut::from(&frames::frame(&read)[..]);
    let again = frames::take(&mut framed, Packing::Plain, usize::MAX);
    let again = again.expect("our own frame").expect("whole").unpack(usize::MAX).expect("plain");
    let again = M::decode(again).expect("our own message");
    assert_eq!(again, read, "what is written is read again");
}
