//! Tells by its first bytes which format a body has. Content types are not asked: they are wrong too often.

use std::fmt;

/// The formats of image files that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceFormat {
    /// JPEG, baseline and progressive.
    Jpeg,
    /// PNG; of an animation the default image.
    Png,
    /// WebP, lossy and lossless; of an animation the first frame.
    Webp,
    /// Windows bitmap.
    Bmp,
    /// GIF; of an animation the first frame.
    Gif,
    /// TIFF; of several pages the first.
    Tiff,
}

impl fmt::Display for SourceFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Webp => "WebP",
            Self::Bmp => "BMP",
            Self::Gif => "GIF",
            Self::Tiff => "TIFF",
        })
    }
}

/// What a body looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sniffed {
    /// A format that is read.
    Read(SourceFormat),
    /// A known format that is not read, by name.
    NotRead(&'static str),
    /// Nothing known.
    Unknown,
}

/// Tells the format by the first bytes of a body.
#[must_use]
pub fn sniff(bytes: &[u8]) -> Sniffed {
    if let Some(format) = format_read(bytes) {
        return Sniffed::Read(format);
    }
    let name = MAGIC.iter().find(|(magic, _)| bytes.starts_with(magic)).map(|&(_, name)| name);
    match name.or_else(|| iso_media(bytes)).or_else(|| netpbm(bytes)).or_else(|| svg(bytes)).or_else(|| tga(bytes)) {
        Some(name) => Sniffed::NotRead(name),
        None => Sniffed::Unknown,
    }
}

fn format_read(bytes: &[u8]) -> Option<SourceFormat> {
    Some(match bytes {
        [0xFF, 0xD8, 0xFF, ..] => SourceFormat::Jpeg,
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => SourceFormat::Png,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => SourceFormat::Webp,
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => SourceFormat::Gif,
        [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => SourceFormat::Tiff,
        [b'B', b'M', ..] => SourceFormat::Bmp,
        _ => return None,
    })
}

/// Formats with a fixed beginning that are recognised and refused by name.
const MAGIC: &[(&[u8], &str)] = &[
    (b"\0\0\x01\0", "ICO"),
    (b"qoif", "QOI"),
    (b"farbfeld", "farbfeld"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"#?RGBE", "Radiance HDR"),
    (b"DDS ", "DDS"),
    (b"v/1\x01", "OpenEXR"),
    (b"8BPS", "Photoshop PSD"),
    (b"%PDF", "PDF"),
    (b"\xFF\x0A", "JPEG XL"),
    (b"\0\0\0\x0CJXL ", "JPEG XL"),
    (b"\0\0\0\x0CjP  ", "JPEG 2000"),
    (b"\xFF\x4F\xFF\x51", "JPEG 2000"),
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
    (b"<svg", "SVG"),
    (b"<!DOCTYPE html", "HTML (a page, not a picture)"),
    (b"<!doctype html", "HTML (a page, not a picture)"),
    (b"<html", "HTML (a page, not a picture)"),
];

/// AVIF, HEIC and films share a container, whose `ftyp` box names the brand and, further on, those it is compatible
/// with: some AVIF files call themselves `mif1` first.
fn iso_media(bytes: &[u8]) -> Option<&'static str> {
    let brands = bytes.get(8..bytes.len().min(72)).filter(|_| bytes.get(4..8) == Some(b"ftyp"))?;
    let (brands, _) = brands.as_chunks::<4>();
    Some(match brands.first()? {
        _ if brands.iter().any(|brand| matches!(brand, b"avif" | b"avis")) => "AVIF",
        b"heic" | b"heix" | b"heim" | b"heis" | b"hevc" | b"hevx" | b"mif1" | b"msf1" => "HEIC",
        _ => "MP4 (a film)",
    })
}

/// PBM, PGM, PPM, PAM: `P1` to `P7`, then white space.
fn netpbm(bytes: &[u8]) -> Option<&'static str> {
    matches!(bytes, [b'P', b'1'..=b'7', space, ..] if space.is_ascii_whitespace()).then_some("PNM")
}

/// SVG may begin with an XML declaration and comments.
fn svg(bytes: &[u8]) -> Option<&'static str> {
    let start = bytes.get(..bytes.len().min(512))?.trim_ascii_start();
    (start.starts_with(b"<?xml") && start.windows(4).any(|four| four == b"<svg")).then_some("SVG")
}

/// TGA has no magic number: a footer in its newer version, and a header that is hard to mistake in the older.
fn tga(bytes: &[u8]) -> Option<&'static str> {
    let header = bytes.get(..18)?;
    let plausible = matches!(header[1], 0 | 1)
        && matches!(header[2], 1..=3 | 9..=11)
        && matches!(header[16], 8 | 15 | 16 | 24 | 32)
        && header[12..16] != [0; 4];
    (bytes.ends_with(b"TRUEVISION-XFILE.\0") || plausible).then_some("TGA")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_tell_the_format() {
        let cases: &[(&[u8], Sniffed)] = &[
            (b"\xFF\xD8\xFF\xE0", Sniffed::Read(SourceFormat::Jpeg)),
            (b"\x89PNG\r\n\x1A\n", Sniffed::Read(SourceFormat::Png)),
            (b"RIFF\0\0\0\0WEBPVP8 ", Sniffed::Read(SourceFormat::Webp)),
            (b"RIFF\0\0\0\0WAVEfmt ", Sniffed::Unknown),
            (b"GIF89a", Sniffed::Read(SourceFormat::Gif)),
            (b"MM\0*", Sniffed::Read(SourceFormat::Tiff)),
            (b"BM", Sniffed::Read(SourceFormat::Bmp)),
            (b"\0\0\0\x1Cftypavif", Sniffed::NotRead("AVIF")),
            (b"\0\0\0\x1Cftypmif1\0\0\0\0mif1avif", Sniffed::NotRead("AVIF")),
            (b"<!DOCTYPE html><html>", Sniffed::NotRead("HTML (a page, not a picture)")),
            (b"\0\0\0\x1Cftypheic", Sniffed::NotRead("HEIC")),
            (b"\0\0\0\x1Cftypisom", Sniffed::NotRead("MP4 (a film)")),
            (b"P6\n2 2\n255\n", Sniffed::NotRead("PNM")),
            (b"<?xml version='1.0'?><svg/>", Sniffed::NotRead("SVG")),
            (b"<?xml version='1.0'?><html/>", Sniffed::Unknown),
            (b"\0\0\x02\0\0\0\0\0\0\0\0\0\x20\0\x20\0\x18\0", Sniffed::NotRead("TGA")),
            (b"{\"image\":", Sniffed::Unknown),
            (b"", Sniffed::Unknown),
        ];
        for (bytes, expected) in cases {
            assert_eq!(sniff(bytes), *expected, "{}", bytes.escape_ascii());
        }
    }
}
