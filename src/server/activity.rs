//! What goes on on one connection, counted without a lock: requests that are worked on, answers on their way, bytes of answers that
//! have left. Requests and bodies count up; the one who watches over the connection compares the counts from time to time.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::{Buf, Bytes};
use hyper::body::{Body as HttpBody, Frame, SizeHint};

/// The counts of one connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    computing: AtomicUsize,
    sending: AtomicUsize,
    requests: AtomicU64,
    sent: AtomicU64,
    is_http2: AtomicBool,
    leaving: AtomicBool,
    quiet_looks: AtomicU32,
}

/// The counts at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Requests that are worked on.
    pub computing: usize,
    /// Parts of answers that wait for the client to read them.
    pub sending: usize,
    /// Requests so far.
    pub requests: u64,
    /// Bytes of answers that have left so far.
    pub sent: u64,
}

impl Counts {
    /// Whether nothing is worked on and nothing is on its way.
    pub(super) fn is_idle(self) -> bool {
        self.computing == 0 && self.sending == 0
    }
}

impl Activity {
    /// The counts now.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            computing: self.computing.load(Relaxed),
            sending: self.sending.load(Relaxed),
            requests: self.requests.load(Relaxed),
            sent: self.sent.load(Relaxed),
        }
    }

    /// Counts a request that begins.
    pub(super) fn begin(self: &Arc<Self>, is_http2: bool) -> Computing {
        if is_http2 && !self.is_http2.load(Relaxed) {
            self.is_http2.store(true, Relaxed);
        }
        self.requests.fetch_add(1, Relaxed);
        Computing::new(self)
    }

    /// Whether a request has come over HTTP/2.
    pub(super) fn is_http2(&self) -> bool {
        self.is_http2.load(Relaxed)
    }

    /// Says that the next answer over HTTP/1 shall end the connection.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Relaxed);
    }

    /// Whether the next answer over HTTP/1 shall end the connection.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Relaxed)
    }

    /// Notes for how many looks in a row nothing has happened.
    pub(super) fn set_quiet_looks(&self, looks: u32) {
        self.quiet_looks.store(looks, Relaxed);
    }

    /// For how many looks in a row nothing has happened.
    pub(super) fn quiet_looks(&self) -> u32 {
        self.quiet_looks.load(Relaxed)
    }
}

/// A request that is worked on, as long as this lives.
#[derive(Debug)]
pub(super) struct Computing(Arc<Activity>);

impl Computing {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.computing.fetch_add(1, Relaxed);
        Self(Arc::clone(activity))
    }

    /// The answer is there: its body is on its way from now on.
    pub(super) fn answer(self, body: Body) -> CountedBody {
        CountedBody { body, stage: BodyStage::Sending(Sending::new(&self.0)) }
    }
}

impl Drop for Computing {
    fn drop(&mut self) {
        self.0.computing.fetch_sub(1, Relaxed);
    }
}

/// A part of an answer that waits for the client to read, as long as this lives.
#[derive(Debug)]
struct Sending(Arc<Activity>);

impl Sending {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.sending.fetch_add(1, Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.sending.fetch_sub(1, Relaxed);
    }
}

/// The body of an answer, which is counted: while its next part is not there yet, as work; else as on its way.
#[derive(Debug)]
pub(super) struct CountedBody {
    body: Body,
    stage: BodyStage,
}

#[derive(Debug)]
enum BodyStage {
    Computing(Computing),
    Sending(Sending),
}

impl BodyStage {
    fn activity(&self) -> &Arc<Activity> {
        match self {
            Self::Computing(Computing(activity)) | Self::Sending(Sending(activity)) => activity,
        }
    }
}

impl HttpBody for CountedBody {
    type Data = CountedBytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<CountedBytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let activity = self.stage.activity();
        match (&self.stage, polled.is_pending()) {
            (BodyStage::Sending(_), true) => self.stage = BodyStage::Computing(Computing::new(activity)),
            (BodyStage::Computing(_), false) => self.stage = BodyStage::Sending(Sending::new(activity)),
            (BodyStage::Sending(_), false) | (BodyStage::Computing(_), true) => {}
        }
        let activity = self.stage.activity();
        polled.map_ok(|frame| frame.map_data(|bytes| CountedBytes { bytes, sending: Sending::new(activity) }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes of an answer, which are counted when they leave.
#[derive(Debug)]
pub(super) struct CountedBytes {
    bytes: Bytes,
    sending: Sending,
}

impl Buf for CountedBytes {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.sending.0.sent.fetch_add(count as u64, Relaxed);
        self.bytes.advance(count);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn an_answer_is_on_its_way_until_its_last_byte_has_left() {
        let activity = Arc::new(Activity::default());
        let counts = |computing, sending, sent| Counts { computing, sending, requests: 1, sent };
        let request = activity.begin(false);
        assert_eq!(activity.counts(), counts(1, 0, 0));
        let mut body = request.answer(Body::from("four"));
        assert_eq!(activity.counts(), counts(0, 1, 0));
        assert_eq!(body.size_hint().exact(), Some(4), "the length is told");
        let frame = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(Some(Ok(frame))) = frame else { panic!("{frame:?}") };
        drop(body);
        let mut bytes = frame.into_data().expect("data");
        bytes.advance(3);
        assert_eq!(activity.counts(), counts(0, 1, 3));
        bytes.advance(1);
        drop(bytes);
        assert_eq!(activity.counts(), counts(0, 0, 4));
    }

    #[test]
    fn a_body_that_is_not_there_yet_is_work() {
        let activity = Arc::new(Activity::default());
        let pending = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let mut body = activity.begin(true).answer(pending);
        assert!(Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())).is_pending());
        assert_eq!(activity.counts(), Counts { computing: 1, sending: 0, requests: 1, sent: 0 });
        drop(body);
        assert!(activity.counts().is_idle() && activity.is_http2());
    }
}
