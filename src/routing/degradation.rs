//! Stepping down to lighter variants under load and up again, without flapping. Pure: `now` is an argument.
//!
//! Down goes at once, up only after a while in which the heavier variant would have had room to spare. If it then proves
//! too heavy after all, the next try comes later, twice as late each time.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// Above this part of the machine's time, what is asked of it is too much.
const TOO_MUCH: f64 = 0.9;

/// Below this part there is room to spare.
const ROOM: f64 = 0.7;

/// One request in so many moves the share of late ones by its full weight: about so many make it.
const REQUESTS: f64 = 16.0;

/// Where more than this share of the requests would be late, it is not a bad moment but load.
const MANY: f64 = 0.5;

/// After a step down the queue needs a moment to show it.
const SETTLE: Duration = Duration::from_secs(2);

/// The least and the most time until the next try of a heavier variant.
const HOLD: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(160));

/// No more changes than so many in so long, whatever happens.
const MOST_CHANGES: (usize, Duration) = (9, Duration::from_secs(60));

/// How many classes of weight are closed, and since when.
#[derive(Debug, Clone)]
pub struct Degradation {
    closed: usize,
    // When that changed, lately; the latest is the last.
    changes: VecDeque<Instant>,
    // Since when there has been room for a heavier variant.
    room_since: Option<Instant>,
    hold: Duration,
    stepped_up: bool,
    // The share of the latest requests that would have been late.
    late: f64,
    untold: u64,
}

impl Default for Degradation {
    fn default() -> Self {
        Self {
            closed: 0,
            changes: VecDeque::new(),
            room_since: None,
            hold: HOLD.0,
            stepped_up: false,
            late: 0.0,
            untold: 0,
        }
    }
}

impl Degradation {
    /// So many classes of weight are closed, the heaviest first.
    #[must_use]
    pub fn closed(&self) -> usize {
        self.closed
    }

    /// How often that has changed since this was asked last.
    pub fn news(&mut self) -> u64 {
        std::mem::take(&mut self.untold)
    }

    /// A request came that would be late, or not, with a variant of that class of weight. Where that goes on, and there is
    /// a lighter one, the class is closed. Says whether it was.
    pub fn request(&mut self, late: bool, weight: usize, lighter: bool, now: Instant) -> bool {
        self.late += (f64::from(u8::from(late)) - self.late) / REQUESTS;
        self.late > MANY && lighter && self.press(weight, now)
    }

    /// There is too much to do for a class of weight, and something lighter would do: closes it, and those that are still
    /// heavier, unless something has just been closed. Says whether it did.
    pub fn press(&mut self, weight: usize, now: Instant) -> bool {
        self.room_since = None;
        let since = self.changes.back().map(|at| now.saturating_duration_since(*at));
        if since.is_some_and(|since| since < SETTLE) {
            return false;
        }
        if self.stepped_up && since.is_some_and(|since| since < self.hold) {
            self.hold = (self.hold * 2).min(HOLD.1);
        } else if since.is_none_or(|since| since > HOLD.1) {
            self.hold = HOLD.0;
        }
        self.change(self.closed.max(weight + 1), false, now)
    }

    /// What is asked of the server would take this part of its time now, and that part if one class more were open: opens
    /// it after a while with room to spare. Says whether that is too much already for what is open.
    pub fn look(&mut self, busy_now: f64, busy_if_opened: f64, now: Instant) -> bool {
        if self.closed == 0 || busy_if_opened > ROOM {
            self.room_since = None;
        } else {
            let since = *self.room_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= self.hold {
                self.change(self.closed - 1, true, now);
            }
        }
        busy_now > TOO_MUCH
    }

    fn change(&mut self, closed: usize, up: bool, now: Instant) -> bool {
        let (most, time) = MOST_CHANGES;
        self.changes.retain(|at| now.saturating_duration_since(*at) < time);
        if self.changes.len() >= most || closed == self.closed {
            return false;
        }
        (self.closed, self.stepped_up, self.room_since, self.late) = (closed, up, None, 0.0);
        self.changes.push_back(now);
        self.untold += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn s(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn down_at_once_and_up_after_a_while_with_room() {
        let (mut degradation, now) = (Degradation::default(), Instant::now());
        assert!(degradation.press(1, now));
        assert!(!degradation.press(2, now + s(1)), "the queue needs a moment");
        assert_eq!(degradation.closed(), 2, "that class, and what is heavier");
        assert!(!degradation.look(0.2, 0.5, now + s(20)), "room, since now");
        degradation.look(0.2, 0.5, now + s(29));
        assert_eq!(degradation.closed(), 2);
        degradation.look(0.2, 0.8, now + s(30));
        degradation.look(0.2, 0.5, now + s(31));
        degradation.look(0.2, 0.5, now + s(41));
        assert_eq!(degradation.closed(), 1, "ten seconds in a row");
        assert!(degradation.look(0.95, 2.0, now + s(42)), "too much already");
    }

    #[test]
    fn a_bad_moment_is_not_load() {
        let (mut degradation, now) = (Degradation::default(), Instant::now());
        assert!((0..10).all(|_| !degradation.request(true, 0, true, now)), "ten in a row may be a bad moment");
        let mut degradation = Degradation::default();
        assert!((0..100).all(|n| !degradation.request(n % 3 == 0, 0, true, now)), "so may one in three");
        assert!((0..16).any(|_| degradation.request(true, 0, true, now)));
        assert!((0..99).all(|_| !degradation.request(true, 0, false, now)), "nothing lighter would do");
    }

    proptest! {
        /// Whatever the load does, and however wrong it is told: fewer than ten switches in any minute.
        #[test]
        fn it_never_flaps(seconds in prop::collection::vec((any::<bool>(), 0usize..5, 0.0..1.5f64), 60..400)) {
            let (mut degradation, start) = (Degradation::default(), Instant::now());
            let mut switched = Vec::new();
            for (second, (pressed, weight, busy)) in seconds.into_iter().enumerate() {
                let now = start + s(second as u64);
                degradation.look(0.5, busy, now);
                if pressed && weight >= degradation.closed() {
                    degradation.press(weight, now);
                }
                (0..degradation.news()).for_each(|_| switched.push(second));
            }
            for (place, first) in switched.iter().enumerate() {
                prop_assert!(switched[place..].iter().take_while(|second| *second - first < 60).count() < 10);
            }
        }
    }
}
