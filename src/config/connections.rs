//! How many connections there may be, and how long one lives.

use std::{num::NonZeroUsize, time::Duration};

use serde::{Deserialize, Deserializer};

use super::types::Millis;

/// Limits of connections.
#[derive(Debug, Clone, Deserialize)]
pub struct ConnectionsConfig {
    /// Most connections at once.
    pub max: NonZeroUsize,
    /// Most connections at once from one address, or from one /64 network of IPv6.
    pub max_per_address: NonZeroUsize,
    /// Age at which a connection is ended; with zero, age ends none.
    #[serde(rename = "max_age_s", deserialize_with = "whole_seconds")]
    pub max_age: Duration,
    /// Longest time that an answer may wait for a client that does not read it.
    pub write_timeout_ms: Millis,
}

fn whole_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_secs)
}
