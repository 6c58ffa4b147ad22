//! The sizes of the frames in a WebP, before one is decoded.
//!
//! A WebP in the extended format has a canvas, and in it frames with a size of their own. The decoder believes a frame before it holds it
//! against the canvas: 600 bytes with a canvas of 100×100 and a frame of 16383×16383 pixels would take 400 MB. In: the file, and the size
//! of its canvas. Out: the first frame that is larger.

/// The first lossy frame that is wider or higher than the canvas. Of lossless ones, the decoder checks the size itself.
pub(super) fn frame_beyond(file: &[u8], width: u32, height: u32) -> Option<(u32, u32)> {
    let beyond = |name: &[u8; 4], frame: &[u8]| {
        let (across, down) = if name == b"VP8 " { lossy_size(frame)? } else { return None };
        (across > width || down > height).then_some((across, down))
    };
    RiffChunks { rest: file.get(12..)? }.find_map(|(name, content)| match name {
        // In an animation, a frame has its place and time first, and then chunks.
        b"ANMF" => RiffChunks { rest: content.get(16..)? }.find_map(|(name, content)| beyond(name, content)),
        _ => beyond(name, content),
    })
}

/// The size in the header of a VP8 frame: 14 bits a side, behind a tag and a start code.
fn lossy_size(frame: &[u8]) -> Option<(u32, u32)> {
    let side = |at: usize| frame.get(at..)?.first_chunk().map(|side| u32::from(u16::from_le_bytes(*side) & 0x3FFF));
    Some((side(6)?, side(8)?))
}

/// The chunks of a file: each has a name and a content, of which as much comes as is there.
struct RiffChunks<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for RiffChunks<'a> {
    type Item = (&'a [u8; 4], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = self.rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        // RiffChunks begin at even places.
        self.rest = rest.get(length.saturating_add(length % 2)..).unwrap_or_default();
        Some((name, rest.get(..length).unwrap_or(rest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).expect("short").to_le_bytes();
        [&name[..], &length, content, &[0][..content.len() % 2]].concat()
    }

    fn lossy(width: u16, height: u16) -> Vec<u8> {
        chunk(b"VP8 ", &[&[0, 0, 0, 0x9D, 1, 0x2A][..], &width.to_le_bytes(), &height.to_le_bytes(), b"x"].concat())
    }

    fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
        [b"RIFF\xFF\xFF\0\0WEBP".to_vec(), chunk(b"VP8X", &[0; 10]), chunks.concat()].concat()
    }

    #[test]
    fn a_frame_larger_than_its_canvas_is_found_wherever_it_stands() {
        let still = |width, height| frame_beyond(&file(&[chunk(b"ALPH", b"odd"), lossy(width, height)]), 100, 50);
        assert_eq!([still(100, 50), still(101, 50), still(100, 51)], [None, Some((101, 50)), Some((100, 51))]);
        assert_eq!(still(0x4000 | 101, 1), Some((101, 1)), "two bits are a scale");
        let frame = |chunks: &[Vec<u8>]| chunk(b"ANMF", &[vec![0; 16], chunks.concat()].concat());
        let animation = file(&[
            chunk(b"ANIM", &[0; 6]),
            frame(&[lossy(10, 10)]),
            frame(&[chunk(b"ALPH", b"x"), lossy(16383, 16383)]),
        ]);
        assert_eq!(frame_beyond(&animation, 100, 50), Some((16383, 16383)));
        for torn in 0..animation.len() {
            // Where its header is there, the frame is found, and nothing else is.
            let size = frame_beyond(&animation[..torn], 100, 50);
            assert!(size.is_none_or(|size| size == (16383, 16383)), "{size:?}");
        }
        assert_eq!(frame_beyond(&file(&[chunk(b"VP8L", b"/\xFF\xFF\xFF\xFF")]), 1, 1), None);
        assert_eq!(frame_beyond(b"", 1, 1), None);
    }
}
