//! Under load heavier variants are shed for a while, so that lighter ones answer, without flapping. Pure: `now` is an argument.
//!
//! Variants of about the same demand form a tier; tier 0 is the heaviest. A tier is shed at once when requests would be late,
//! and restored only after some seconds in which it would have had room to spare. When a restored tier proves too heavy, the
//! next attempt comes later, twice as late each time.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// When requests ask for more than this part of the machine's time, the machine is overloaded.
const OVERLOADED: f64 = 0.9;

/// When requests ask for less than this part of the machine's time, there is room to spare.
const ROOM: f64 = 0.7;

/// The share of late requests is a mean over about this many requests.
const REQUESTS: f64 = 16.0;

/// When more than this share of the requests would be late, it is load and not a bad moment.
const MANY_LATE: f64 = 0.5;

/// After a tier was shed, the queue needs this time to show the effect.
const SETTLE: Duration = Duration::from_secs(2);

/// A tier is restored after at least this time with room to spare.
const MIN_HOLD: Duration = Duration::from_secs(10);

/// The longest time before a restore, however often a restored tier proved too heavy.
const MAX_HOLD: Duration = Duration::from_secs(160);

/// There are at most this many changes within [`CHANGES_WITHIN`], whatever happens.
const MAX_CHANGES: usize = 9;

/// See [`MAX_CHANGES`].
const CHANGES_WITHIN: Duration = Duration::from_secs(60);

/// How many tiers are shed, and since when.
#[derive(Debug, Clone)]
pub struct Degradation {
    shed: usize,
    // The times of the latest changes, the newest last.
    changes: VecDeque<Instant>,
    // Since when the next tier would have had room to spare.
    room_since: Option<Instant>,
    // How long there must be room to spare before a tier is restored.
    hold: Duration,
    // Whether the latest change restored a tier.
    stepped_up: bool,
    // The share of the latest requests that would have been late, 0 to 1.
    late: f64,
    // Changes since they were last taken.
    unreported: u64,
}

impl Default for Degradation {
    fn default() -> Self {
        Self {
            shed: 0,
            changes: VecDeque::new(),
            room_since: None,
            hold: MIN_HOLD,
            stepped_up: false,
            late: 0.0,
            unreported: 0,
        }
    }
}

impl Degradation {
    /// The number of tiers that are shed, the heaviest first.
    #[must_use]
    pub fn shed(&self) -> usize {
        self.shed
    }

    /// How often that number has changed since the last call.
    pub fn take_changes(&mut self) -> u64 {
        std::mem::take(&mut self.unreported)
    }

    /// A request came whose answer by a variant of that tier would be late or not. When many would be late and there is a
    /// `lighter` variant, the tier is shed. Returns whether it was.
    pub fn observe(&mut self, late: bool, tier: usize, lighter: bool, now: Instant) -> bool {
        self.late += (f64::from(u8::from(late)) - self.late) / REQUESTS;
        self.late > MANY_LATE && lighter && self.shed_tier(tier, now)
    }

    /// Sheds a tier and all heavier ones, unless one has just been shed. Returns whether it did.
    pub fn shed_tier(&mut self, tier: usize, now: Instant) -> bool {
        self.room_since = None;
        let since = self.changes.back().map(|at| now.saturating_duration_since(*at));
        if since.is_some_and(|since| since < SETTLE) {
            return false;
        }
        if self.stepped_up && since.is_some_and(|since| since < self.hold) {
            self.hold = (self.hold * 2).min(MAX_HOLD);
        } else if since.is_none_or(|since| since > MAX_HOLD) {
            self.hold = MIN_HOLD;
        }
        self.change(self.shed.max(tier + 1), false, now)
    }

    /// Restores a tier after a while with room to spare. `busy_now` is the part of the machine's time that requests
    /// ask for with the tiers that are shed now, `busy_if_restored` the part with one tier more. Returns whether the
    /// machine is overloaded already.
    pub fn update(&mut self, busy_now: f64, busy_if_restored: f64, now: Instant) -> bool {
        if self.shed == 0 || busy_if_restored > ROOM {
            self.room_since = None;
        } else {
            let since = *self.room_since.get_or_insert(now);
            if now.saturating_duration_since(since) >= self.hold {
                self.change(self.shed - 1, true, now);
            }
        }
        busy_now > OVERLOADED
    }

    fn change(&mut self, shed: usize, up: bool, now: Instant) -> bool {
        self.changes.retain(|at| now.saturating_duration_since(*at) < CHANGES_WITHIN);
        if self.changes.len() >= MAX_CHANGES || shed == self.shed {
            return false;
        }
        (self.shed, self.stepped_up, self.room_since, self.late) = (shed, up, None, 0.0);
        self.changes.push_back(now);
        self.unreported += 1;
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
        assert!(degradation.shed_tier(1, now));
        assert!(!degradation.shed_tier(2, now + s(1)), "the queue needs a moment");
        assert_eq!(degradation.shed(), 2, "that tier, and the heavier ones");
        assert!(!degradation.update(0.2, 0.5, now + s(20)), "room, since now");
        degradation.update(0.2, 0.5, now + s(29));
        assert_eq!(degradation.shed(), 2);
        degradation.update(0.2, 0.8, now + s(30));
        degradation.update(0.2, 0.5, now + s(31));
        degradation.update(0.2, 0.5, now + s(41));
        assert_eq!(degradation.shed(), 1, "ten seconds in a row");
        assert!(degradation.update(0.95, 2.0, now + s(42)), "too much already");
    }

    #[test]
    fn a_bad_moment_is_not_load() {
        let (mut degradation, now) = (Degradation::default(), Instant::now());
        assert!((0..10).all(|_| !degradation.observe(true, 0, true, now)), "ten in a row may be a bad moment");
        let mut degradation = Degradation::default();
        assert!((0..100).all(|n| !degradation.observe(n % 3 == 0, 0, true, now)), "so may one in three");
        assert!((0..16).any(|_| degradation.observe(true, 0, true, now)));
        assert!((0..99).all(|_| !degradation.observe(true, 0, false, now)), "nothing lighter would do");
    }

    proptest! {
        /// Whatever the load does, and however wrong it is told: fewer than ten switches in any minute.
        #[test]
        fn it_never_flaps(seconds in prop::collection::vec((any::<bool>(), 0usize..5, 0.0..1.5f64), 60..400)) {
            let (mut degradation, start) = (Degradation::default(), Instant::now());
            let mut switched = Vec::new();
            for (second, (pressed, tier, busy)) in seconds.into_iter().enumerate() {
                let now = start + s(second as u64);
                degradation.update(0.5, busy, now);
                if pressed && tier >= degradation.shed() {
                    degradation.shed_tier(tier, now);
                }
                (0..degradation.take_changes()).for_each(|_| switched.push(second));
            }
            for (place, first) in switched.iter().enumerate() {
                prop_assert!(switched[place..].iter().take_while(|second| *second - first < 60).count() < 10);
            }
        }
    }
}
