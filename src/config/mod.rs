//! Settings: one validated tree.

use serde::{Deserialize, Serialize};

/// What a picture may measure before a single pixel of it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PictureLimits {
    /// The largest body (encoded bytes); one more byte is 413.
    pub max_bytes: usize,
    /// The most pixels (width × height); one more is 422.
    pub max_pixels: u64,
    /// The longest side in pixels; one more is 422.
    pub max_side: u32,
}

impl Default for PictureLimits {
    fn default() -> Self {
        Self { max_bytes: 20_000_000, max_pixels: 50_000_000, max_side: 16_384 }
    }
}
