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
        SourceFormat::Jpeg => jpeg_bytes(file, pixels),
        // Frames are put together from parts, or from planes of their own, beside the pixels that come out.
        SourceFormat::Webp => decoded.saturating_add(pixels.saturating_mul(6)),
        SourceFormat::Gif | SourceFormat::Tiff => decoded.saturating_mul(2),
        SourceFormat::Png | SourceFormat::Bmp => decoded,
    };
    let widening = if is_rgb { 0 } else { decoded.saturating_add(pixels.saturating_mul(RGB)) };
    let turning = if turns { pixels.saturating_mul(2 * RGB) } else { 0 };
    decoding.max(widening).max(turning)
}

/// Whole planes lie beside the RGB that comes out of them, and a progressive image keeps all its coefficients, 2 bytes for each
/// sample. Subsampled components are fewer samples; where they are no luma and chroma, they are widened in planes of their own.
fn jpeg_bytes(file: &[u8], pixels: u64) -> u64 {
    let Some(Frame { progressive, components, parts, whole, is_rgb }) = frame(file) else {
        return pixels.saturating_mul(RGB + 4 * 3);
    };
    let samples = pixels.saturating_mul(parts).div_ceil(whole);
    let planes = samples.saturating_mul(if progressive { 3 } else { 1 });
    let widened = if is_rgb { pixels.saturating_mul(components) } else { 0 };
    // Blocks at the edges, and tables.
    let slack = pixels / 4 + (1 << 20);
    pixels.saturating_mul(RGB).saturating_add(planes).saturating_add(widened).saturating_add(slack)
}

/// What a JPEG's frame header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    progressive: bool,
    components: u64,
    /// There are `parts` samples for `whole` pixels.
    parts: u64,
    whole: u64,
    /// Whether the components are red, green and blue, by an Adobe segment or by their names.
    is_rgb: bool,
}

impl Frame {
    /// Of a SOF segment, from its length on.
    fn of(segment: &[u8], progressive: bool, adobe_rgb: bool) -> Option<Self> {
        let count = *segment.get(7)?;
        let components = segment.get(8..8 + usize::from(count) * 3)?;
        let factors = |component: &[u8]| (u64::from(component[1] >> 4), u64::from(component[1] & 15));
        let (mut parts, mut across, mut down) = (0, 1, 1);
        for (horizontal, vertical) in components.chunks_exact(3).map(factors) {
            parts += horizontal * vertical;
            (across, down) = (across.max(horizontal), down.max(vertical));
        }
        // A lone component fills the image whatever its factors say.
        let (parts, whole) = if count == 1 { (1, 1) } else { (parts, across * down) };
        let is_rgb = adobe_rgb || components.iter().step_by(3).eq(b"RGB");
        Some(Self { progressive, components: u64::from(count), parts, whole, is_rgb })
    }
}

/// Finds the frame header among the segments before the first scan.
fn frame(file: &[u8]) -> Option<Frame> {
    let mut rest = file.strip_prefix(b"\xFF\xD8")?;
    let mut adobe_rgb = false;
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
            return Frame::of(segment, !matches!(marker, 0xC0 | 0xC1), adobe_rgb);
        }
        if *marker == 0xEE && segment.get(2..7) == Some(b"Adobe") {
            adobe_rgb = segment.get(13) == Some(&0);
        }
        rest = segment.get(length..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A JPEG up to its frame header, with these sampling factors.
    fn head(marker: u8, before: &[u8], factors: &[u8]) -> Vec<u8> {
        let sof = [0xFF, 0xFF, marker, 0, 8 + 3 * factors.len() as u8, 8, 0, 9, 0, 9, factors.len() as u8];
        let components = factors.iter().enumerate().flat_map(|(id, factors)| [id as u8 + 1, *factors, 0]);
        [&[0xFF, 0xD8][..], before, &sof].concat().into_iter().chain(components).collect()
    }

    #[test]
    fn the_frame_is_found_behind_whatever_stands_before_it() {
        let app = [0xFF, 0xE0, 0, 4, 0xFF, 0xC2];
        let found = frame(&head(0xC2, &app, &[0x22, 0x11, 0x11])).expect("a frame");
        assert_eq!((found.progressive, found.components, found.parts, found.whole), (true, 3, 6, 4));
        assert!(!found.is_rgb);
        let adobe = [&[0xFF, 0xEE, 0, 14][..], b"Adobe\0\x64\0\0\0\0\0"].concat();
        assert!(frame(&head(0xC0, &adobe, &[0x22, 0x11, 0x11])).expect("a frame").is_rgb);
        for torn in 0..head(0xC2, &app, &[0x11]).len() {
            assert_eq!(frame(&head(0xC2, &app, &[0x11])[..torn]), None);
        }
    }

    #[test]
    fn an_image_takes_more_the_less_it_is_subsampled_and_most_when_it_is_progressive() {
        const MEGA: u64 = 1_000_000;
        let mb = |marker, factors: &[u8]| jpeg_bytes(&head(marker, &[], factors), 100 * MEGA) / MEGA;
        assert_eq!(mb(0xC0, &[0x22]), 426, "grey: one plane, and RGB");
        assert_eq!(mb(0xC0, &[0x22, 0x11, 0x11]), 476);
        assert_eq!(mb(0xC0, &[0x11, 0x11, 0x11]), 626);
        assert_eq!(mb(0xC2, &[0x22, 0x11, 0x11]), 776);
        assert_eq!(mb(0xC2, &[0x11, 0x11, 0x11, 0x11]), 1526);
        assert_eq!(jpeg_bytes(b"\xFF\xD8", MEGA) / MEGA, 15, "who knows");
    }
}
