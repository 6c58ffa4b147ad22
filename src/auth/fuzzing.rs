//! Entrances for fuzzers (`crate::fuzzing`) to what is private here.

use super::{key::PREFIX, key_file, key_ring::KeyRing};
use crate::cost::Tenants;

/// Reads a file of keys, and makes a ring of them.
pub fn key_file(text: &str, tenants: &Tenants) {
    let entries = match key_file::parse(text) {
        Ok(entries) => entries,
        Err(refusal) => return keeps_the_secret(&refusal),
    };
    let lines: String = entries.iter().map(|entry| entry.to_line() + "\n").collect();
    let again = key_file::parse(&lines).expect("our own lines");
    // Times are kept to the second.
    assert_eq!(key_file::parse(&again.iter().map(|entry| entry.to_line() + "\n").collect::<String>()), Ok(again));
    let number = entries.len();
    match KeyRing::new(entries, tenants) {
        Ok(ring) => assert_eq!(ring.len(), number),
        Err(refusal) => assert!(!refusal.is_empty()),
    }
}

/// Somebody may have put a key there.
fn keeps_the_secret(refusal: &str) {
    assert!(refusal.starts_with("line ") && !refusal.contains(PREFIX), "{refusal}");
}
