//! A client's messages as they come in a stream. Each takes memory for itself, as the body of a request does.

use axum::body::{Body, Bytes};
use bytes::{Buf, BytesMut};
use http_body_util::BodyExt;
use tokio::time::Instant;

use super::{
    frames::{self, Packed},
    infer::Call,
};
use crate::{
    api::{compressed::Packing, problem::Problem},
    inference::Permit,
};

/// A message that has come, with what it holds, or why there was no room for it.
type ArrivedMessage = Result<(Packed, Permit), Problem>;

/// The messages of a stream.
pub(super) struct Messages {
    body: Body,
    packing: Packing,
    call: Call,
    received: BytesMut,
    /// The message that is coming.
    coming: Option<Coming>,
}

/// A message that is coming.
enum Coming {
    /// It is kept, and has to come as fast as a body.
    Kept { permit: Permit, began: Instant },
    /// There is no room for it: so many bytes of it are still to be thrown away.
    Refused { problem: Problem, left: usize },
}

impl Messages {
    pub(super) fn new(body: Body, packing: Packing, call: Call) -> Self {
        Self { body, packing, call, received: BytesMut::new(), coming: None }
    }

    /// The next message, or why there is no room for it; none when the client has no more. An error is one of the stream. Nothing is
    /// lost when the future is dropped.
    pub(super) async fn next(&mut self) -> Result<Option<ArrivedMessage>, Problem> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            let frame = match &self.coming {
                Some(Coming::Kept { began, .. }) => {
                    let (pace, began, received) = (self.call.limits.pace, *began, self.received.len());
                    let frame = tokio::time::timeout_at(pace.next(began, received), self.body.frame()).await;
                    frame.map_err(|_| pace.refusal(began, received))?
                }
                Some(Coming::Refused { .. }) | None => self.body.frame().await,
            };
            match frame {
                Some(Ok(frame)) => self.received.extend_from_slice(frame.data_ref().map_or(&[][..], Bytes::as_ref)),
                Some(Err(error)) => return Err(Problem::bad_body(format!("the stream broke off: {error}"))),
                None if self.received.is_empty() && self.coming.is_none() => return Ok(None),
                None => return Err(Problem::bad_body("the stream ended before its last message was whole")),
            }
        }
    }

    /// The message at the front of what has come, when it is whole.
    fn take(&mut self) -> Result<Option<ArrivedMessage>, Problem> {
        if let Some(Coming::Refused { left, .. }) = &mut self.coming {
            let thrown = self.received.len().min(*left);
            self.received.advance(thrown);
            *left -= thrown;
        } else if let Some(whole) = frames::whole_length(&self.received, self.call.limits.tensors())? {
            if let Err(problem) = self.hold(whole) {
                self.coming = Some(Coming::Refused { problem, left: whole });
                return self.take();
            }
            let message = frames::take(&mut self.received, self.packing, self.call.limits.tensors())?;
            return Ok(message.and_then(|message| match self.coming.take() {
                Some(Coming::Kept { permit, .. }) => Some(Ok((message, permit))),
                _ => None,
            }));
        }
        Ok(match self.coming.take() {
            Some(Coming::Refused { problem, left: 0 }) => Some(Err(problem)),
            coming => {
                self.coming = coming;
                None
            }
        })
    }

    /// Takes memory for what has come of a message of that length.
    fn hold(&mut self, whole: usize) -> Result<(), Problem> {
        let permit = match &self.coming {
            Some(Coming::Kept { permit, .. }) => permit,
            _ => {
                let (permit, began) = (self.call.receive()?, Instant::now());
                self.coming = Some(Coming::Kept { permit, began });
                return self.hold(whole);
            }
        };
        Ok(permit.hold(self.received.len().min(whole))?)
    }
}
