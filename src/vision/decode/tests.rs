use std::{
    fs,
    path::{Path, PathBuf},
};

use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use proptest::prelude::*;

use super::*;

/// Every file below a folder of the shared images; none, with a line that says so, where they are absent.
fn shared(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/images").join(folder);
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(entries) = folders.pop().and_then(|folder| fs::read_dir(folder).ok()) {
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    if files.is_empty() {
        println!("skipped: no shared pictures at {folder}");
    }
    files.sort();
    files
}

fn open(bytes: &[u8]) -> Result<DecodedImage, DecodeError> {
    decode(bytes, &ImageLimits::default(), DecodeScale::Full)
}

fn png(width: u32, height: u32, color: ExtendedColorType, samples: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes).write_image(samples, width, height, color).expect("encodes");
    bytes
}

#[test]
fn alpha_is_dropped_and_grey_is_widened() {
    let clear_red = open(&png(1, 1, ExtendedColorType::Rgba8, &[200, 10, 20, 0])).expect("decodes");
    assert_eq!(clear_red.pixels.rgb, [200, 10, 20]);
    let grey = open(&png(2, 1, ExtendedColorType::L8, &[7, 250])).expect("decodes");
    assert_eq!(grey.pixels.rgb, [7, 7, 7, 250, 250, 250]);
    assert_eq!((grey.width, grey.height, grey.format, grey.orientation), (2, 1, SourceFormat::Png, 1));
}

#[test]
fn limits_hold_before_pixels_are_decoded() {
    let limits = ImageLimits { max_bytes: 1000, max_pixels: 100, max_side: 50 };
    let check = |bytes: &[u8]| decode(bytes, &limits, DecodeScale::Full).map(|image| (image.width, image.height));
    let grey = |width: u32, height: u32| png(width, height, ExtendedColorType::L8, &vec![0; (width * height) as usize]);
    assert_eq!(check(&grey(10, 10)), Ok((10, 10)));
    assert_eq!(check(&grey(10, 11)), Err(DecodeError::TooManyPixels { width: 10, height: 11, limit_pixels: 100 }));
    assert_eq!(check(&grey(51, 1)), Err(DecodeError::TooLong { width: 51, height: 1, limit_side: 50 }));
    assert_eq!(check(&[0; 1001]), Err(DecodeError::TooManyBytes { bytes: 1001, limit_bytes: 1000 }));
    assert_eq!(check(&[]), Err(DecodeError::Empty));
}

/// A header may promise anything; nothing of it is believed with memory.
#[test]
fn a_bomb_is_refused_by_its_header() {
    let mut bytes = png(1, 1, ExtendedColorType::L8, &[0]);
    bytes[16..24].copy_from_slice(&[0, 0, 0x40, 0, 0, 0, 0x40, 0]); // 16384 × 16384
    let checksum = crc32(&bytes[12..29]);
    bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
    assert!(matches!(open(&bytes), Err(DecodeError::TooManyPixels { width: 16_384, height: 16_384, .. })));
}

/// The size that is checked is that of the canvas; what lies in it may say another.
#[test]
fn a_frame_larger_than_its_image_is_refused_before_it_is_decoded() {
    let mut webp = b"RIFF\x2e\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\x63\0\0\x63\0\0".to_vec();
    webp.extend(b"VP8 \x10\0\0\0\xd0\x17\0\x9d\x01\x2a\xff\x3f\xff\x3f\x92\xff\x95\xf6\xb2\xe9");
    insta::assert_snapshot!(open(&webp).expect_err("refused"), @"the WebP picture cannot be decoded: a frame of 16383×16383 pixels is in a picture of 100×100; check that it was sent whole and opens elsewhere");
    // A screen of 10×10, and on it a frame of 8000×8000 with two colours.
    let mut gif = b"GIF89a\x0a\0\x0a\0\x80\0\0\0\0\0\xff\xff\xff".to_vec();
    gif.extend(b",\0\0\0\0\x40\x1f\x40\x1f\0\x02\x02\x4c\x01\0;");
    insta::assert_snapshot!(open(&gif).expect_err("refused"), @"the GIF picture cannot be decoded: Memory limit exceeded; check that it was sent whole and opens elsewhere");
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |c, _| if c & 1 == 1 { 0xEDB8_8320 ^ (c >> 1) } else { c >> 1 })
    })
}

#[test]
fn messages_say_what_would_be_right() {
    let message = |bytes: &[u8]| open(bytes).expect_err("refused").to_string();
    assert_eq!(
        message(b"hello, world"),
        "the body is not a picture (it begins with 68 65 6c 6c 6f 2c 20 77); send JPEG, PNG, WebP, BMP, GIF or TIFF"
    );
    assert_eq!(
        message(b"\0\0\0\x1Cftypavif"),
        "AVIF is recognised but not read; send JPEG, PNG, WebP, BMP, GIF or TIFF"
    );
    let cut = &png(8, 8, ExtendedColorType::L8, &[0; 64])[..40];
    let said = message(cut);
    assert!(said.starts_with("the PNG picture cannot be decoded: "), "{said}");
    assert!(said.ends_with("; check that it was sent whole and opens elsewhere"), "{said}");
}

/// How far Pillow's `convert("RGB")` of each lossy file lies from the original, a mean over all samples (grey files:
/// from the original's luma). The others are exact.
const PILLOW: &[(&str, f64)] = &[
    ("palette", 4.869),
    ("v_gif", 4.869),
    ("q75_420", 7.217),
    ("q95_444", 1.543),
    ("jpeg_cmyk", 2.423),
    ("orientation_1", 5.211),
    ("orientation_2", 5.21),
    ("orientation_3", 5.21),
    ("orientation_4", 5.211),
    ("orientation_5", 5.139),
    ("orientation_6", 5.139),
    ("orientation_7", 5.137),
    ("orientation_8", 5.137),
    ("jpeg_gray", 2.388),
    ("icc_srgb", 5.411),
    ("q85", 6.109),
    ("webp_alpha", 5.19),
    ("webp_lossy", 5.19),
];

#[test]
fn one_photo_looks_the_same_in_every_format() {
    let files = shared("one_photo_many_formats");
    let read = |path: &PathBuf| open(&fs::read(path).expect("reads"));
    let Some(reference) = files.iter().find(|path| path.ends_with("v_png_rgb8.png")) else { return };
    let reference = read(reference).expect("decodes");
    for path in &files {
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        let image = match read(path) {
            Err(DecodeError::Unsupported { format: "AVIF" }) if name == "v_avif.avif" => continue,
            other => other.unwrap_or_else(|error| panic!("{name}: {error}")),
        };
        assert_eq!((image.width, image.height), (reference.width, reference.height), "{name}");
        let grey = name.contains("gray");
        let difference = mean_difference(&reference.pixels.rgb, &image.pixels.rgb, grey);
        println!("{name}: mean difference {difference:.3}");
        let pillow = PILLOW.iter().find(|(part, _)| name.contains(part)).map_or(0.0, |&(_, pillow)| pillow);
        assert!((difference - pillow).abs() <= 0.05, "{name} differs by {difference}, Pillow's by {pillow}");
        if let Some(orientation) = name.strip_prefix("v_jpeg_exif_orientation_") {
            assert_eq!(orientation, format!("{}.jpg", image.orientation));
        }
    }
}

fn mean_difference(reference: &[u8], other: &[u8], grey: bool) -> f64 {
    let luma = |p: &[u8]| (f64::from(p[0]) * 0.299 + f64::from(p[1]) * 0.587 + f64::from(p[2]) * 0.114).round();
    let total: f64 = if grey {
        reference.chunks(3).zip(other.chunks(3)).map(|(a, b)| (luma(a) - f64::from(b[0])).abs() * 3.0).sum()
    } else {
        reference.iter().zip(other).map(|(a, b)| f64::from(a.abs_diff(*b))).sum()
    };
    total / reference.len() as f64
}

#[test]
fn every_shared_image_decodes_or_is_refused() {
    let (mut decoded, mut refused) = (0, 0);
    for path in shared("") {
        let Ok(bytes) = fs::read(&path) else { continue };
        match open(&bytes) {
            Ok(image) => {
                decoded += 1;
                let pixels = &image.pixels;
                assert_eq!(pixels.rgb.len(), (pixels.width * pixels.height * 3) as usize, "{}", path.display());
            }
            Err(error) => {
                refused += 1;
                println!("{}: {error}", path.display());
            }
        }
    }
    println!("{decoded} decoded, {refused} refused");
}

#[test]
fn bad_images_are_refused() {
    for path in shared("corpus_image-rs/tests/bad") {
        let name = path.display();
        let result = open(&fs::read(&path).expect("reads"));
        match path.extension().and_then(|ext| ext.to_str()) {
            Some("ico") => assert!(matches!(result, Err(DecodeError::Unsupported { format: "ICO" })), "{name}"),
            Some("md") => assert!(matches!(result, Err(DecodeError::UnknownFormat { .. })), "{name}"),
            _ => assert!(result.is_err(), "{name} decodes"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Bytes cut off or changed anywhere: an answer or an error, never a panic that escapes.
    #[test]
    fn damage_is_survived(format in 0usize..4, cut in 0.0f64..1.0, at in 0.0f64..1.0, byte: u8) {
        let photo: Vec<u8> = (0..64 * 48 * 3).map(|i| (i * i / 7) as u8).collect();
        let kind = [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::Bmp][format];
        let mut bytes = Cursor::new(Vec::new());
        let image = image::RgbImage::from_raw(64, 48, photo).expect("fits");
        image.write_to(&mut bytes, kind).expect("encodes");
        let mut bytes = bytes.into_inner();
        let at = (at * bytes.len() as f64) as usize;
        bytes[at] = byte;
        let limits = ImageLimits { max_pixels: 1_000_000, ..ImageLimits::default() };
        let _ = decode(&bytes, &limits, DecodeScale::Full);
        bytes.truncate((cut * bytes.len() as f64) as usize);
        let _ = decode(&bytes, &limits, DecodeScale::Full);
    }
}
