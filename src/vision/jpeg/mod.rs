//! JPEG, to the bit as libjpeg-turbo decodes it, which OpenCV, Pillow and so nearly every training pipeline use.
//!
//! It is exact to the bit because quantised networks are sensitive: noise of one grey level moved or lost 19 of 50 boxes of an int8 YOLOX.
//! There are two decoders, which give the same pixels; a fuzzer compares them (docs/fuzzing.md). Bytes and a scale go in, pixels that are
//! not yet turned upright come out.

#[cfg(feature = "turbojpeg")]
mod in_c;
mod in_rust;

use image::RgbImage;

use crate::config::ImageLimits;

/// Who decodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JpegDecoder {
    /// `libjpeg-turbo-rs`: all in Rust, young, its SIMD is `unsafe` code.
    InRust,
    /// libjpeg-turbo in C, which OSS-Fuzz has tested for years; it needs CMake and NASM to build.
    #[cfg(feature = "turbojpeg")]
    InC,
}

/// Why a JPEG cannot be decoded.
#[derive(Debug)]
pub enum JpegFailure {
    /// The system has no memory for it.
    NoMemory,
    /// The file is not right: why.
    Broken(String),
}

/// At which part of its size an image is decoded. Less costs less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum JpegScale {
    /// Every pixel.
    #[default]
    Full,
    /// Half the width and half the height.
    Half,
    /// A quarter of both.
    Quarter,
    /// An eighth of both.
    Eighth,
}

impl JpegScale {
    /// All of them, from large to small.
    pub const ALL: [Self; 4] = [Self::Full, Self::Half, Self::Quarter, Self::Eighth];

    /// The number by which both sides are divided, rounded up.
    #[must_use]
    pub fn divisor(self) -> u32 {
        match self {
            Self::Full => 1,
            Self::Half => 2,
            Self::Quarter => 4,
            Self::Eighth => 8,
        }
    }
}

impl JpegDecoder {
    /// The one that the server uses.
    #[cfg(not(feature = "turbojpeg"))]
    pub const CHOSEN: Self = Self::InRust;
    /// The one that the server uses.
    #[cfg(feature = "turbojpeg")]
    pub const CHOSEN: Self = Self::InC;

    /// The pixels; `None` when this is a kind of JPEG that is left to the `image` crate: CMYK, or more than 8 bits.
    ///
    /// # Errors
    /// When the image is broken or over a limit, with what the decoder says; or when there is no memory for it.
    pub fn decode(self, bytes: &[u8], limits: &ImageLimits, scale: JpegScale) -> Result<Option<RgbImage>, JpegFailure> {
        match self {
            Self::InRust => in_rust::decode(bytes, limits, scale),
            #[cfg(feature = "turbojpeg")]
            Self::InC => in_c::decode(bytes, limits, scale),
        }
    }
}

/// More scans than any encoder writes: each costs a pass over the image.
const MAX_SCANS: u16 = 200;

/// The rows of a decoder as an image.
fn rgb(width: usize, height: usize, pixels: Vec<u8>) -> Result<Option<RgbImage>, JpegFailure> {
    let (Ok(width), Ok(height)) = (u32::try_from(width), u32::try_from(height)) else {
        return Err(JpegFailure::Broken("its sides are too long".to_owned()));
    };
    match RgbImage::from_raw(width, height, pixels) {
        Some(rgb) => Ok(Some(rgb)),
        None => Err(JpegFailure::Broken("it has fewer pixels than its header promises".to_owned())),
    }
}
