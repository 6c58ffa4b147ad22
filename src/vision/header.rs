//! Reads from the first bytes of an image how large it is and how it is coded, which tells how long decoding will take.
//!
//! It reads a few dozen bytes and asks for no memory. What it says is an estimate: the decoder checks everything itself.

use super::sniff::{Sniffed, SourceFormat, sniff};

/// The way in which pixels are coded, as far as it decides how long decoding takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// JPEG whose scans each bring whole blocks.
    SequentialJpeg,
    /// JPEG whose scans refine the whole image.
    ProgressiveJpeg,
    /// PNG.
    Png,
    /// WebP, as VP8, or in a container that does not say.
    LossyWebp,
    /// WebP, lossless.
    LosslessWebp,
    /// Windows bitmap.
    Bmp,
    /// GIF.
    Gif,
    /// TIFF.
    Tiff,
}

impl Coding {
    /// Number of codings.
    pub const COUNT: usize = 8;
}

/// What the header of an image says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageHeader {
    /// How its pixels are coded.
    pub coding: Coding,
    /// Width times height.
    pub pixels: u64,
}

/// More segments than are before the size in any JPEG that a camera or a program writes.
const MAX_SEGMENTS: usize = 512;

/// Reads the header of an image; none where it is of no known format, or broken.
///
/// ```
/// use ounce::vision::header::{Coding, ImageHeader, read_header};
///
/// let gif = b"GIF89a\x80\x02\xe0\x01";
/// assert_eq!(read_header(gif), Some(ImageHeader { coding: Coding::Gif, pixels: 640 * 480 }));
/// assert_eq!(read_header(b"GIF89a"), None);
/// ```
#[must_use]
pub fn read_header(bytes: &[u8]) -> Option<ImageHeader> {
    let Sniffed::Read(format) = sniff(bytes) else { return None };
    let (coding, width, height) = match format {
        SourceFormat::Jpeg => jpeg(bytes)?,
        SourceFormat::Png => (Coding::Png, be32(bytes, 16)?, be32(bytes, 20)?),
        SourceFormat::Webp => webp(bytes)?,
        SourceFormat::Bmp => bmp(bytes)?,
        SourceFormat::Gif => (Coding::Gif, le16(bytes, 6)?, le16(bytes, 8)?),
        SourceFormat::Tiff => tiff(bytes)?,
    };
    Some(ImageHeader { coding, pixels: u64::from(width) * u64::from(height) })
}

/// Goes from segment to segment up to the frame header (SOFn), which has the size.
fn jpeg(bytes: &[u8]) -> Option<(Coding, u32, u32)> {
    let mut at = 2;
    for _ in 0..MAX_SEGMENTS {
        at += bytes.get(at..)?.iter().position(|byte| *byte == 0xFF)?;
        at += bytes.get(at..)?.iter().position(|byte| *byte != 0xFF)?;
        match *bytes.get(at)? {
            // Markers without a length: stuffed zero, TEM, RSTn, SOI.
            0x00 | 0x01 | 0xD0..=0xD8 => at += 1,
            // The scan or the end before a frame header.
            0xD9 | 0xDA => return None,
            // DHT, JPG and DAC look like frame headers.
            marker @ (0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF) => {
                let progressive = matches!(marker, 0xC2 | 0xC6 | 0xCA | 0xCE);
                let coding = if progressive { Coding::ProgressiveJpeg } else { Coding::SequentialJpeg };
                return Some((coding, be16(bytes, at + 6)?, be16(bytes, at + 4)?));
            }
            _ => at += 1 + be16(bytes, at + 1)? as usize,
        }
    }
    None
}

fn webp(bytes: &[u8]) -> Option<(Coding, u32, u32)> {
    match bytes.get(12..16)? {
        b"VP8 " => Some((Coding::LossyWebp, le16(bytes, 26)? & 0x3FFF, le16(bytes, 28)? & 0x3FFF)),
        b"VP8L" => {
            let bits = le32(bytes, 21)?;
            Some((Coding::LosslessWebp, (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1))
        }
        b"VP8X" => {
            let le24 = |at: usize| Some(le16(bytes, at)? | (u32::from(*bytes.get(at + 2)?) << 16));
            Some((Coding::LossyWebp, le24(24)? + 1, le24(27)? + 1))
        }
        _ => None,
    }
}

/// The height is negative where rows go from the top.
fn bmp(bytes: &[u8]) -> Option<(Coding, u32, u32)> {
    if le32(bytes, 14)? == 12 {
        return Some((Coding::Bmp, le16(bytes, 18)?, le16(bytes, 20)?));
    }
    Some((Coding::Bmp, le32(bytes, 18)?.cast_signed().unsigned_abs(), le32(bytes, 22)?.cast_signed().unsigned_abs()))
}

/// Looks for the tags of width and height in the first directory.
fn tiff(bytes: &[u8]) -> Option<(Coding, u32, u32)> {
    let little = bytes.first()? == &b'I';
    let short = |at: usize| if little { le16(bytes, at) } else { be16(bytes, at) };
    let long = |at: usize| if little { le32(bytes, at) } else { be32(bytes, at) };
    let directory = long(4)? as usize;
    let (mut width, mut height) = (None, None);
    for entry in 0..short(directory)? as usize {
        let at = directory.checked_add(2 + entry * 12)?;
        let tag = short(at)?;
        if tag == 256 || tag == 257 {
            // Type 3 is a 16-bit number, which stands first in the field.
            let value = if short(at + 2)? == 3 { short(at + 8)? } else { long(at + 8)? };
            if tag == 256 { width = Some(value) } else { height = Some(value) }
        }
    }
    Some((Coding::Tiff, width?, height?))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn be16(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u16::from_be_bytes).map(u32::from)
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_be_bytes)
}

fn le16(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u16::from_le_bytes).map(u32::from)
}

fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{DynamicImage, ImageFormat};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_says_of_every_format_what_the_encoder_was_given() {
        let image = DynamicImage::new_rgb8(321, 123);
        for (format, coding) in [
            (ImageFormat::Jpeg, Coding::SequentialJpeg),
            (ImageFormat::Png, Coding::Png),
            (ImageFormat::WebP, Coding::LosslessWebp),
            (ImageFormat::Bmp, Coding::Bmp),
            (ImageFormat::Gif, Coding::Gif),
            (ImageFormat::Tiff, Coding::Tiff),
        ] {
            let mut file = Cursor::new(Vec::new());
            image.write_to(&mut file, format).expect("encoded");
            let bytes = file.into_inner();
            assert_eq!(read_header(&bytes), Some(ImageHeader { coding, pixels: 321 * 123 }), "{format:?}");
            for length in 0..bytes.len().min(200) {
                let _ = read_header(&bytes[..length]);
            }
        }
    }

    #[test]
    fn a_progressive_jpeg_is_told_from_another_and_thumbnails_do_not_count() {
        // EXIF with a thumbnail's frame header inside, then the image's own.
        let thumbnail = [0xFF, 0xC0, 0, 17, 8, 0, 16, 0, 16, 3];
        let mut jpeg = vec![0xFF, 0xD8, 0xFF, 0xE1, 0, 12];
        jpeg.extend(thumbnail);
        jpeg.extend([0xFF, 0xFF, 0xC2, 0, 17, 8, 0x1B, 0x58, 0x1B, 0x58, 3]);
        let progressive = ImageHeader { coding: Coding::ProgressiveJpeg, pixels: 49_000_000 };
        assert_eq!(read_header(&jpeg), Some(progressive));
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(start in prop::sample::select(vec![
            &b"\xFF\xD8\xFF"[..], b"\x89PNG\r\n\x1A\n", b"RIFF0000WEBPVP8 ", b"RIFF0000WEBPVP8L", b"RIFF0000WEBPVP8X", b"BM",
            b"GIF89a", b"II*\0", b"MM\0*",
        ]), rest in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_header(&[start, &rest].concat());
        }
    }
}
