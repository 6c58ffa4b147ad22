//! Limits of memory, and of the bodies that are still coming.

use std::time::Duration;

use serde::Deserialize;

use super::{Auto, milliseconds};

/// The memory that all requests have together.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct MemoryConfig {
    /// Bytes for bodies, decoded pixels, tensors that wait and drawn answers; with `auto`, half of what the machine or the
    /// control group gives.
    pub max_bytes: Auto,
}

/// What is asked of clients that send bodies.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct BodiesConfig {
    /// Largest number of requests whose bodies are still coming.
    pub max_coming: std::num::NonZeroUsize,
    /// The rate that a body has to keep after the grace time, in bytes a second; with zero, there is none.
    pub min_bytes_per_second: u32,
    /// Time for which a body may be slower than that.
    #[serde(rename = "grace_ms", deserialize_with = "milliseconds")]
    pub grace: Duration,
}
