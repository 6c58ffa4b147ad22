//! Decodes JPEG to the bit as libjpeg-turbo does, which OpenCV, Pillow and so nearly every training pipeline use.
//!
//! It is exact to the bit because quantised networks are sensitive: noise of one grey level moved or lost 19 of 50 boxes of an int8 YOLOX.
//! `libjpeg-turbo-rs` is held byte for byte to the C library by its own CI, in Rust, and can decode at a fraction of the
//! size. It is young and its SIMD is `unsafe` code; what it cannot turn into RGB (CMYK) goes to the `image` crate.

use image::RgbImage;
use libjpeg_turbo_rs::{DecodeLimits, Decoder, JpegError, PixelFormat};

use crate::config::ImageLimits;

/// More scans than any encoder writes: each costs a pass over the image.
const MAX_SCANS: usize = 200;
/// Coefficients of a progressive image are kept at 2 bytes each, beside its planes and its pixels.
const BYTES_A_PIXEL: u64 = 16;

/// Why a JPEG cannot be decoded.
#[derive(Debug)]
pub(super) enum JpegFailure {
    /// The system has no memory for it.
    NoMemory,
    /// The file is not right.
    Broken(String),
}

impl From<JpegError> for JpegFailure {
    fn from(error: JpegError) -> Self {
        match error {
            JpegError::AllocationFailed { .. } => Self::NoMemory,
            error => Self::Broken(error.to_string()),
        }
    }
}

/// The pixels, not yet turned upright; `None` when this is a kind of JPEG that is left to the other decoder.
pub(super) fn decode(bytes: &[u8], limits: &ImageLimits) -> Result<Option<RgbImage>, JpegFailure> {
    let side = limits.max_side as usize;
    let bounds = DecodeLimits {
        max_width: side,
        max_height: side,
        max_pixels: limits.max_pixels,
        max_scans: MAX_SCANS,
        max_memory: Some(limits.max_pixels.saturating_mul(BYTES_A_PIXEL)),
    };
    let mut decoder = Decoder::new_with_limits(bytes, bounds)?;
    if !matches!(decoder.header().components.len(), 1 | 3) || decoder.header().precision != 8 {
        return Ok(None);
    }
    decoder.set_output_format(PixelFormat::Rgb);
    let image = decoder.decode_image()?;
    let size = (u32::try_from(image.width), u32::try_from(image.height));
    let (Ok(width), Ok(height)) = size else {
        return Err(JpegFailure::Broken("its sides are too long".to_owned()));
    };
    match RgbImage::from_raw(width, height, image.into_vec()) {
        Some(rgb) => Ok(Some(rgb)),
        None => Err(JpegFailure::Broken("it has fewer pixels than its header promises".to_owned())),
    }
}
