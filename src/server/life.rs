//! When a connection ends. A pure decision: in go the counts of the connection and the time, out comes what is to be done.
//!
//! - Where no request has begun for the idle time, it ends. That covers a client that says nothing, sends half a preface, or begins a
//!   head and never ends it, over HTTP/1 and HTTP/2.
//! - Where an answer waits and its client takes less than [`MIN_BYTES_A_SECOND`], it ends.
//! - At its greatest age, and when the server drains, it leaves: the next answer over HTTP/1 has `Connection: close`, over HTTP/2 a
//!   GOAWAY is sent. Requests that have begun are answered.
//! - When the server closes, it is closed as soon as nothing is on its way.

use std::time::{Duration, Instant};

use super::{activity::Counts, drain::Phase};

/// What a client has to take of the answers that wait for it, on average over the write timeout.
const MIN_BYTES_A_SECOND: f64 = 1000.0;

/// Looks within the shorter of the two times.
const LOOKS: u32 = 4;

/// How long an idle connection has after it was told that it ends, for what the client has already sent, and to say goodbye.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);

/// How often a connection that was told that it ends is looked at.
const FAREWELL_LOOK: Duration = Duration::from_millis(100);

/// The limits of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Longest time without a request.
    pub idle: Duration,
    /// Longest time in which a client takes nothing of an answer.
    pub write: Duration,
    /// Greatest age; none where age ends no connection.
    pub age: Option<Duration>,
    /// Time that idle connections over HTTP/1 stay open after the server has begun to close them, for requests that are already on their
    /// way.
    pub linger: Duration,
}

impl Limits {
    /// The limits of one connection. Its age is up to a fifth shorter or longer than that of others, so that clients who came together
    /// do not come again together.
    pub(super) fn of_one(self) -> Self {
        Self { age: self.age.map(|age| age.mul_f64(0.8 + 0.4 * fastrand::f64())), ..self }
    }
}

/// What is to be done with a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    GoOn,
    /// The next answer over HTTP/1 ends it.
    Leave,
    /// No further request is taken: GOAWAY, or the end where it is idle.
    Shut,
    /// It is closed at once, for this reason.
    Close(&'static str),
}

/// What is remembered of a connection between two looks.
#[derive(Debug)]
pub(super) struct Life {
    limits: Limits,
    phase: Phase,
    seen: Counts,
    idle_since: Instant,
    quiet_looks: u32,
    /// When the client last kept up, and how many bytes had left then.
    kept_up: (Instant, u64),
    leave_at: Option<Instant>,
    has_left: bool,
    shut_at: Option<Instant>,
    shut_since: Option<Instant>,
}

impl Life {
    pub(super) fn new(limits: Limits, now: Instant) -> Self {
        let leave_at = limits.age.map(|age| now + age);
        Self {
            limits,
            phase: Phase::Serving,
            seen: Counts::default(),
            idle_since: now,
            quiet_looks: 0,
            kept_up: (now, 0),
            leave_at,
            has_left: false,
            shut_at: None,
            shut_since: None,
        }
    }

    /// When to look again.
    pub(super) fn next_look(&self, now: Instant) -> Instant {
        let pause = self.limits.idle.min(self.limits.write) / LOOKS;
        let pause = if self.shut_since.is_some() { pause.min(FAREWELL_LOOK) } else { pause };
        let due = self
            .leave_at
            .filter(|_| !self.has_left)
            .into_iter()
            .chain(self.shut_at.filter(|_| self.shut_since.is_none()));
        due.fold(now + pause.max(Duration::from_millis(5)), Instant::min).max(now)
    }

    /// For how many looks in a row nothing has happened.
    pub(super) fn quiet_looks(&self) -> u32 {
        self.quiet_looks
    }

    /// Whether the server closes, after which no other phase comes.
    pub(super) fn is_closing(&self) -> bool {
        self.phase == Phase::Closing
    }

    /// The server drains or closes.
    pub(super) fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        if phase != Phase::Serving && !self.has_left {
            self.leave_at = Some(now);
        }
        if phase == Phase::Closing {
            self.shut_at.get_or_insert(now + self.limits.linger);
        }
    }

    /// Looks at the connection, and says what is to be done.
    pub(super) fn look(&mut self, counts: Counts, is_http2: bool, now: Instant) -> Step {
        let quiet = counts.is_idle() && counts.requests == self.seen.requests;
        if quiet {
            self.quiet_looks = self.quiet_looks.saturating_add(1);
        } else {
            (self.quiet_looks, self.idle_since) = (0, now);
        }
        self.seen = counts;
        if self.stalls(counts, now) {
            return Step::Close("the client does not read its answers");
        }
        let idle = now.duration_since(self.idle_since);
        if let Some(since) = self.shut_since {
            let over = counts.is_idle() && now.duration_since(since.max(self.idle_since)) >= FAREWELL;
            return if over { Step::Close("the client does not end it") } else { Step::GoOn };
        }
        if counts.is_idle() && idle >= self.limits.idle {
            if is_http2 {
                return self.shut(now);
            }
            return Step::Close("no request came");
        }
        if self.shut_at.is_some_and(|at| now >= at) {
            return self.shut(now);
        }
        if self.leave_at.is_some_and(|at| now >= at) {
            // GOAWAY tells the client which of its requests are answered, so HTTP/2 has nothing to wait for.
            if is_http2 {
                return self.shut(now);
            }
            if !self.has_left {
                self.has_left = true;
                return Step::Leave;
            }
        }
        Step::GoOn
    }

    fn shut(&mut self, now: Instant) -> Step {
        (self.has_left, self.shut_since) = (true, Some(now));
        Step::Shut
    }

    /// Whether an answer has waited for the whole write timeout, and the client has taken next to nothing.
    fn stalls(&mut self, counts: Counts, now: Instant) -> bool {
        let (since, sent) = self.kept_up;
        if counts.sending == 0 {
            self.kept_up = (now, counts.sent);
            return false;
        }
        if now.duration_since(since) < self.limits.write {
            return false;
        }
        #[expect(clippy::cast_precision_loss, reason = "compared with a rate")]
        let slow = ((counts.sent - sent) as f64) < MIN_BYTES_A_SECOND * self.limits.write.as_secs_f64();
        self.kept_up = (now, counts.sent);
        slow
    }
}

#[cfg(test)]
mod tests;
