//! `libjpeg-turbo-rs`, which its own CI holds byte for byte to the C library.

use image::RgbImage;
use libjpeg_turbo_rs::{DecodeLimits, Decoder, JpegError, PixelFormat, ScalingFactor};

use super::{JpegFailure, JpegScale, MAX_SCANS, rgb};
use crate::config::ImageLimits;

/// Coefficients of a progressive image are kept at 2 bytes each, beside its planes and its pixels.
const BYTES_A_PIXEL: u64 = 16;

pub(super) fn decode(bytes: &[u8], limits: &ImageLimits, scale: JpegScale) -> Result<Option<RgbImage>, JpegFailure> {
    let side = limits.max_side as usize;
    let bounds = DecodeLimits {
        max_width: side,
        max_height: side,
        max_pixels: limits.max_pixels,
        max_scans: usize::from(MAX_SCANS),
        max_memory: Some(limits.max_pixels.saturating_mul(BYTES_A_PIXEL)),
    };
    let mut decoder = Decoder::new_with_limits(bytes, bounds)?;
    if !matches!(decoder.header().components.len(), 1 | 3) || decoder.header().precision != 8 {
        return Ok(None);
    }
    decoder.set_output_format(PixelFormat::Rgb);
    decoder.set_scale(ScalingFactor::try_new(1, scale.divisor())?);
    let image = decoder.decode_image()?;
    rgb(image.width, image.height, image.into_vec())
}

impl From<JpegError> for JpegFailure {
    fn from(error: JpegError) -> Self {
        match error {
            JpegError::AllocationFailed { .. } => Self::NoMemory,
            error => Self::Broken(error.to_string()),
        }
    }
}
