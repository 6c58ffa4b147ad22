//! For all fuzzers: which panics are findings, and counts of what was seen.

use std::{
    collections::{BTreeMap, HashSet},
    fmt::Debug,
    panic,
    sync::{Mutex, PoisonError},
};

/// Panics of ours are findings. Those of the libraries that decode images are caught by ounce, which answers 422: they are told once
/// for each place, and the run goes on. A panic of a library that is not caught ends the run all the same.
pub fn start() {
    let abort = panic::take_hook();
    let seen = Mutex::new(HashSet::new());
    panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        if !place.contains("/registry/src/") {
            abort(info);
        } else if seen.lock().unwrap_or_else(PoisonError::into_inner).insert(place) {
            eprintln!("a library panicked, and may be caught: {info}");
        }
    }));
}

/// Counts how often two decoders agree on whether an image is broken, and says when a new pair of answers comes up.
pub fn verdicts<T, E: Debug>(ours: &Result<Option<T>, E>, theirs: &Result<Option<T>, E>) {
    let word = |verdict: &Result<Option<T>, E>| match verdict {
        Ok(Some(_)) => "decoded".to_owned(),
        Ok(None) => "left to the other decoder".to_owned(),
        Err(reason) => format!("{reason:?}").chars().filter(|letter| !letter.is_ascii_digit()).take(60).collect(),
    };
    if ours.is_ok() != theirs.is_ok() {
        tally(&format!("in Rust: {}; in C: {}", word(ours), word(theirs)));
    }
}

/// Counts what happens, and tells each power of two.
pub fn tally(what: &str) {
    static SEEN: Mutex<BTreeMap<String, u64>> = Mutex::new(BTreeMap::new());
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let count = seen.entry(what.to_owned()).or_insert(0);
    *count += 1;
    if count.is_power_of_two() {
        eprintln!("tally: {what}: {count} times");
    }
}
