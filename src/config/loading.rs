//! What loading a model may take.

use std::{num::NonZeroU64, time::Duration};

use serde::Deserialize;

/// What loading a model may take.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct LoadingConfig {
    /// Longest time that a reload may take: reading its files, opening and probing it.
    #[serde(rename = "timeout_ms", deserialize_with = "super::milliseconds")]
    pub timeout: Duration,
    /// Largest model file in bytes, as it lies there and unpacked.
    pub max_bytes: NonZeroU64,
}
