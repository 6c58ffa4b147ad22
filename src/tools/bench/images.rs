//! The images that are sent.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use image::{ImageFormat, Rgb, RgbImage, codecs::jpeg::JpegEncoder};

/// An image as it is sent.
#[derive(Debug, Clone)]
pub struct EncodedImage {
    /// The encoded file.
    pub bytes: Bytes,
    /// The `Content-Type` it is sent with.
    pub content_type: &'static str,
}

impl EncodedImage {
    /// An image, or whatever the bytes are: the server shall say.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        let format = image::guess_format(&bytes);
        let content_type = format.map_or("application/octet-stream", |format| format.to_mime_type());
        Self { bytes, content_type }
    }
}

/// Reads images from files, and from folders all files that are named like images, in the order of their names.
///
/// # Errors
/// When one cannot be read, or when a folder holds none.
pub fn read_images(paths: &[PathBuf]) -> Result<Vec<EncodedImage>, String> {
    let mut images = Vec::new();
    for path in paths {
        let files = if path.is_dir() { below(path)? } else { vec![path.clone()] };
        for file in files {
            let bytes = std::fs::read(&file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
            images.push(EncodedImage::new(bytes.into()));
        }
    }
    Ok(images)
}

fn below(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = folder.read_dir().map_err(|error| format!("cannot read {}: {error}", folder.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut files: Vec<_> =
        paths.filter(|path| ImageFormat::from_path(path).is_ok_and(|format| format.reading_enabled())).collect();
    if files.is_empty() {
        return Err(format!("there is no picture in {}", folder.display()));
    }
    files.sort();
    Ok(files)
}

/// A JPEG of 640×480 pixels with about as much detail as a photo has.
///
/// # Errors
/// When it cannot be encoded.
pub fn generated_image() -> Result<EncodedImage, String> {
    let mut random = fastrand::Rng::with_seed(1);
    let image = RgbImage::from_fn(640, 480, |x, y| {
        let grain = random.u8(..64);
        Rgb([(x / 3) as u8 ^ grain, (y / 2) as u8 ^ grain, ((x + y) / 5) as u8 ^ grain])
    });
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, 90)
        .encode_image(&image)
        .map_err(|error| format!("the picture cannot be encoded: {error}"))?;
    Ok(EncodedImage::new(jpeg.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_read_in_order_and_say_when_they_hold_nothing() {
        let folder = tempfile::tempdir().expect("tempdir");
        let read = || read_images(&[folder.path().to_owned()]);
        assert!(read().expect_err("none").contains("no picture"));
        let generated = generated_image().expect("JPEG");
        for (name, bytes) in [("b.JPG", &generated.bytes[..]), ("a.png", b"not one"), ("notes.txt", b"no")] {
            std::fs::write(folder.path().join(name), bytes).expect("written");
        }
        let kinds: Vec<_> = read().expect("two").iter().map(|image| image.content_type).collect();
        assert_eq!(kinds, ["application/octet-stream", "image/jpeg"]);
        assert!(read_images(&[folder.path().join("c.png")]).expect_err("missing").contains("c.png"));
    }
}
