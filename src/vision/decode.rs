//! The bytes of an image file become pixels, as a person sees them.
//!
//! The order of the checks keeps a hostile body cheap: first its length, then its magic number, then the size that its
//! header promises. Only then is memory asked for. Colours come out as Pillow's `convert("RGB")` makes them: alpha is dropped (not blended),
//! 16-bit samples are rounded to 8, grey and palettes are widened, CMYK becomes RGB. Colour profiles are ignored, as in
//! the Python pipelines that networks are trained behind.

use std::{
    error::Error,
    io::Cursor,
    panic::{AssertUnwindSafe, catch_unwind},
};

use image::{
    ColorType, DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits, metadata::Orientation,
};

pub use super::sniff::SourceFormat;
use super::{
    footprint::{Header, peak_bytes},
    jpeg::{JpegDecoder, JpegFailure, JpegScale},
    sniff::{Sniffed, sniff},
    webp,
};
use crate::config::ImageLimits;

/// The memory that a decoder may ask for beside the pixels: for tables, rows, metadata.
const DECODER_SLACK_BYTES: u64 = 16 * 1024 * 1024;
/// The widest pixel that fits the memory bound: four channels of 16 bits.
const WIDEST_PIXEL_BYTES: u64 = 8;

/// A decoded image. It belongs to no model and no request: decode once, share it (`Arc`), and preprocess it for as many
/// models as want it.
///
/// ```
/// use std::{io::Cursor, sync::Arc};
///
/// use ounce::{
///     config::ImageLimits,
///     manifest::InputSpec,
///     vision::{
///         decode::{DecodeScale, DecodedImage, decode},
///         prepare::Preprocessor,
///         tensor::{ElementType, Port},
///     },
/// };
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut file = Cursor::new(Vec::new());
/// image::RgbImage::new(64, 48).write_to(&mut file, image::ImageFormat::Png)?;
/// let image: Arc<DecodedImage> = Arc::new(decode(file.get_ref(), &ImageLimits::default(), DecodeScale::Full)?);
/// assert_eq!((image.width, image.height), (64, 48));
///
/// // Two models, which want it in different sizes.
/// for side in [32, 16] {
///     let shape = [1, 3, side, side].map(Some).to_vec();
///     let input = Port { name: "images".to_owned(), element: ElementType::F32, shape };
///     let preprocessor = Preprocessor::new(&InputSpec::default(), &[input])?;
///     let preprocessed = preprocessor.preprocess(&image)?;
///     assert_eq!(preprocessed.inputs[0].shape(), [1, 3, side, side]);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct DecodedImage {
    /// Width as a person sees it (after EXIF), at full size, even when `pixels` are fewer.
    pub width: u32,
    /// Height as a person sees it (after EXIF), at full size, even when `pixels` are fewer.
    pub height: u32,
    /// The pixels, turned upright.
    pub pixels: Pixels,
    /// The format of the file.
    pub format: SourceFormat,
    /// The EXIF orientation that was undone, 1 (upright) to 8.
    pub orientation: u8,
}

/// 8-bit RGB pixels, in rows from the top, without padding. They may be fewer than the image has, where it was decoded at a
/// reduced scale.
#[derive(Debug, Clone)]
pub struct Pixels {
    /// How many pixels a row has.
    pub width: u32,
    /// How many rows there are.
    pub height: u32,
    /// `width · height · 3` bytes.
    pub rgb: Vec<u8>,
}

/// How few pixels will do. A JPEG can be decoded at 1/2, 1/4 or 1/8 for much less than its full price; today every image is
/// decoded in full, which is always allowed. An image that several models share wants the scale of the most demanding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeScale {
    /// Every pixel.
    Full,
    /// Both sides are at least this long (or as long as the image's own).
    AtLeast {
        /// Pixels a row.
        width: u32,
        /// Rows.
        height: u32,
    },
}

/// What decoding an image needs, by its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeNeeds {
    /// The most bytes of memory at once.
    pub peak: u64,
    /// Width × height.
    pub pixels: u64,
}

/// Why a body cannot be decoded. The messages go to clients as they are.
#[derive(thiserror::Error, Debug, Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// No bytes at all.
    #[error("the body is empty; send the bytes of a picture")]
    Empty,
    /// More bytes than the limit.
    #[error("the picture has {bytes} bytes; at most {limit_bytes} are allowed")]
    TooManyBytes {
        /// How many bytes were sent.
        bytes: usize,
        /// What is allowed.
        limit_bytes: usize,
    },
    /// No format's magic number.
    #[error("the body is not a picture (it begins with {beginning}); send JPEG, PNG, WebP, BMP, GIF or TIFF")]
    UnknownFormat {
        /// The first bytes, in hexadecimal.
        beginning: String,
    },
    /// A known format that is not read.
    #[error("{format} is recognised but not read; send JPEG, PNG, WebP, BMP, GIF or TIFF")]
    Unsupported {
        /// Its name.
        format: &'static str,
    },
    /// Width times height over the limit.
    #[error("the picture is {width}×{height} = {} pixels; at most {limit_pixels} are allowed", u64::from(*width) * u64::from(*height))]
    TooManyPixels {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
        /// What is allowed.
        limit_pixels: u64,
    },
    /// A side over the limit.
    #[error("the picture is {width}×{height} pixels; a side may have at most {limit_side}")]
    TooLong {
        /// Its width.
        width: u32,
        /// Its height.
        height: u32,
        /// The longest side allowed.
        limit_side: u32,
    },
    /// There is no memory for it.
    #[error("there is no memory for the picture, which takes about {bytes} bytes to decode")]
    NoMemory {
        /// What it takes while it is decoded.
        bytes: u64,
    },
    /// The decoder gave up.
    #[error("the {format} picture cannot be decoded: {reason}; check that it was sent whole and opens elsewhere")]
    Broken {
        /// What the body claims to be.
        format: SourceFormat,
        /// What the decoder said.
        reason: String,
    },
}

/// Decodes one image; of an animation, the first.
///
/// # Errors
/// When the body is empty, too large, of no format that is read, or broken: [`DecodeError`] says which.
pub fn decode(bytes: &[u8], limits: &ImageLimits, scale: DecodeScale) -> Result<DecodedImage, DecodeError> {
    decode_within(bytes, limits, scale, &mut |_| true)
}

/// Decodes one image if `room` says that there is memory for it: it is asked once, when the header is known, with what
/// decoding takes at its peak and the number of pixels.
///
/// # Errors
/// As [`decode`], and [`DecodeError::NoMemory`] where there is no memory.
pub fn decode_within(
    bytes: &[u8],
    limits: &ImageLimits,
    scale: DecodeScale,
    room: &mut dyn FnMut(DecodeNeeds) -> bool,
) -> Result<DecodedImage, DecodeError> {
    // Both scales allow the full image. A decoder that can decode fewer pixels would choose here.
    let (DecodeScale::Full | DecodeScale::AtLeast { .. }) = scale;
    if bytes.is_empty() {
        return Err(DecodeError::Empty);
    }
    if bytes.len() > limits.max_bytes {
        return Err(DecodeError::TooManyBytes { bytes: bytes.len(), limit_bytes: limits.max_bytes });
    }
    let format = match sniff(bytes) {
        Sniffed::Read(format) => format,
        Sniffed::NotRead(format) => return Err(DecodeError::Unsupported { format }),
        Sniffed::Unknown => return Err(DecodeError::UnknownFormat { beginning: hex(bytes) }),
    };
    // A decoder's bug must cost its request only. Nothing is shared with it, so nothing can be left half-changed.
    catch_unwind(AssertUnwindSafe(|| decode_as(format, bytes, limits, room)))
        .unwrap_or_else(|_| Err(broken(format, "the decoder failed on it")))
}

fn decode_as(
    format: SourceFormat,
    bytes: &[u8],
    limits: &ImageLimits,
    room: &mut dyn FnMut(DecodeNeeds) -> bool,
) -> Result<DecodedImage, DecodeError> {
    let mut memory = Limits::no_limits();
    memory.max_alloc = Some(limits.max_pixels.saturating_mul(WIDEST_PIXEL_BYTES).saturating_add(DECODER_SLACK_BYTES));
    let mut reader = ImageReader::with_format(Cursor::new(bytes), image_format(format));
    reader.limits(memory.clone());

    let failed = |error: ImageError| broken(format, &innermost(&error));
    let mut decoder = reader.into_decoder().map_err(failed)?;
    let (width, height) = decoder.dimensions();
    check_size(format, width, height, limits)?;
    if format == SourceFormat::Webp
        && let Some((across, down)) = webp::frame_beyond(bytes, width, height)
    {
        return Err(broken(format, &format!("a frame of {across}×{down} pixels is in a picture of {width}×{height}")));
    }
    memory.reserve(decoder.total_bytes()).map_err(|_| {
        let most = WIDEST_PIXEL_BYTES;
        broken(format, &format!("its pixels take more memory than allowed (at most {most} bytes each are planned for)"))
    })?;
    // Metadata that cannot be read is no reason to refuse the image.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let (pixels, decoded) = (u64::from(width) * u64::from(height), decoder.total_bytes());
    let (is_rgb, turns) = (decoder.color_type() == ColorType::Rgb8, orientation != Orientation::NoTransforms);
    let peak = peak_bytes(Header { format, pixels, decoded, is_rgb, turns }, bytes);
    if !room(DecodeNeeds { peak, pixels }) {
        return Err(DecodeError::NoMemory { bytes: peak });
    }
    // From here on, the decoder may take what was asked for, and not what the largest image would take.
    memory.max_alloc = Some(peak.saturating_add(DECODER_SLACK_BYTES));
    decoder.set_limits(memory).map_err(failed)?;

    let exact = match format {
        SourceFormat::Jpeg => {
            JpegDecoder::CHOSEN.decode(bytes, limits, JpegScale::Full).map_err(|failure| match failure {
                JpegFailure::NoMemory => DecodeError::NoMemory { bytes: peak },
                JpegFailure::Broken(reason) => broken(format, &reason),
            })?
        }
        SourceFormat::Png | SourceFormat::Webp | SourceFormat::Bmp | SourceFormat::Gif | SourceFormat::Tiff => None,
    };
    let rgb = match exact {
        Some(rgb) => rgb,
        None => DynamicImage::from_decoder(decoder).map_err(failed)?.into_rgb8(),
    };
    let mut upright = DynamicImage::ImageRgb8(rgb);
    upright.apply_orientation(orientation);
    let rgb = upright.into_rgb8();
    Ok(DecodedImage {
        width: rgb.width(),
        height: rgb.height(),
        pixels: Pixels { width: rgb.width(), height: rgb.height(), rgb: rgb.into_raw() },
        format,
        orientation: orientation.to_exif(),
    })
}

fn check_size(format: SourceFormat, width: u32, height: u32, limits: &ImageLimits) -> Result<(), DecodeError> {
    if width == 0 || height == 0 {
        return Err(broken(format, "it has no pixels"));
    }
    if width.max(height) > limits.max_side {
        return Err(DecodeError::TooLong { width, height, limit_side: limits.max_side });
    }
    if u64::from(width) * u64::from(height) > limits.max_pixels {
        return Err(DecodeError::TooManyPixels { width, height, limit_pixels: limits.max_pixels });
    }
    Ok(())
}

fn image_format(format: SourceFormat) -> ImageFormat {
    match format {
        SourceFormat::Jpeg => ImageFormat::Jpeg,
        SourceFormat::Png => ImageFormat::Png,
        SourceFormat::Webp => ImageFormat::WebP,
        SourceFormat::Bmp => ImageFormat::Bmp,
        SourceFormat::Gif => ImageFormat::Gif,
        SourceFormat::Tiff => ImageFormat::Tiff,
    }
}

fn broken(format: SourceFormat, reason: &str) -> DecodeError {
    DecodeError::Broken { format, reason: reason.trim().trim_end_matches('.').to_owned() }
}

/// The message of the innermost cause, which says most; the layers above only repeat the format's name.
fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
