//! What decoding an image takes of memory at its peak, known from its header: before a pixel of it is decoded.

use super::sniff::SourceFormat;

/// What a header says of an image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub format: SourceFormat,
    /// Width × height.
    pub pixels: u64,
    /// The bytes of the pixels as the decoder gives them.
    pub decoded: u64,
    /// Whether they are 8-bit RGB already.
    pub is_rgb: bool,
    /// Whether they have to be turned for a person.
    pub turns: bool,
}

/// 8-bit RGB.
const RGB: u64 = 3;

/// The most bytes in memory at once, from the file to upright RGB.
pub(super) fn peak_bytes(header: Header, file: &[u8]) -> u64 {
    let Header { format, pixels, decoded, is_rgb, turns } = header;
    let decoding = match format {
        SourceFormat::Jpeg => pixels.saturating_mul(jpeg_bytes_a_pixel(file)),
        // Frames are put together from parts, or from planes of their own, beside the pixels that come out.
        SourceFormat::Webp => decoded.saturating_add(pixels.saturating_mul(6)),
        SourceFormat::Gif | SourceFormat::Tiff => decoded.saturating_mul(2),
        SourceFormat::Png | SourceFormat::Bmp => decoded,
    };
    let widening = if is_rgb { 0 } else { decoded.saturating_add(pixels.saturating_mul(RGB)) };
    let turning = if turns { pixels.saturating_mul(2 * RGB) } else { 0 };
    decoding.max(widening).max(turning)
}

/// RGB comes out of whole planes, which a subsampled image has beside widened ones. A progressive image keeps all its coefficients,
/// 2 bytes for each sample.
fn jpeg_bytes_a_pixel(file: &[u8]) -> u64 {
    let Frame { progressive, components } = frame(file).unwrap_or(Frame { progressive: true, components: 4 });
    let planes = if components == 1 { 1 } else { components + 2 };
    RGB + planes + if progressive { 2 * components + 1 } else { 0 }
}

/// What a JPEG's frame header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    progressive: bool,
    components: u64,
}

/// Finds the frame header among the segments before the first scan.
fn frame(file: &[u8]) -> Option<Frame> {
    let mut rest = file.strip_prefix(b"\xFF\xD8")?;
    loop {
        // Any number of FF may stand before a marker, and some files have other bytes there.
        let start = rest.iter().position(|byte| *byte == 0xFF)?;
        rest = rest.get(start..)?;
        let start = rest.iter().position(|byte| *byte != 0xFF)?;
        let (marker, segment) = rest.get(start..)?.split_first()?;
        rest = segment;
        match marker {
            // Markers without a length.
            0x00 | 0x01 | 0xD0..=0xD8 => continue,
            0xD9 | 0xDA => return None,
            _ => {}
        }
        let length = usize::from(u16::from_be_bytes([*segment.first()?, *segment.get(1)?]));
        // All SOF markers, of which C4, C8 and CC are none.
        if matches!(marker, 0xC0..=0xCF) && !matches!(marker, 0xC4 | 0xC8 | 0xCC) {
            let progressive = !matches!(marker, 0xC0 | 0xC1);
            return Some(Frame { progressive, components: u64::from(*segment.get(7)?) });
        }
        rest = segment.get(length..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_is_found_behind_whatever_stands_before_it() {
        let app = [0xFF, 0xE0, 0, 4, 0xFF, 0xC2];
        let sof = |marker, components| [0xFF, 0xFF, marker, 0, 17, 8, 0, 9, 0, 9, components];
        let file = |marker, components| [&[0xFF, 0xD8][..], &app, &sof(marker, components)].concat();
        assert_eq!(frame(&file(0xC0, 3)), Some(Frame { progressive: false, components: 3 }));
        assert_eq!(frame(&file(0xC2, 4)), Some(Frame { progressive: true, components: 4 }));
        for torn in 0..file(0xC2, 3).len() {
            assert_eq!(frame(&file(0xC2, 3)[..torn]), None);
        }
        assert_eq!((jpeg_bytes_a_pixel(&file(0xC0, 1)), jpeg_bytes_a_pixel(b"\xFF\xD8")), (4, 18));
    }
}
