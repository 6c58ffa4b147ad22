//! The bytes of an image file, as far as the input of a network.

use crate::{
    config::ImageLimits,
    manifest::{Fit, InputSpec, Resize},
    vision::{
        decode::{DecodeScale, DecodedImage, decode},
        prepare::Preprocessor,
        tensor::{ElementType, Port},
    },
};

/// Limits that keep a run short, and small enough for mutations to pass them.
#[must_use]
pub fn limits() -> ImageLimits {
    ImageLimits { max_bytes: 1 << 20, max_pixels: 1 << 18, max_side: 2048 }
}

/// Decodes an image, and fits it into the inputs of networks.
pub(super) fn image(bytes: &[u8]) {
    let limits = limits();
    let Ok(image) = decode(bytes, &limits, DecodeScale::Full) else { return };
    check(&image, &limits);
    let fewer = decode(bytes, &limits, DecodeScale::AtLeast { width: 32, height: 32 }).expect("it was decoded before");
    check(&fewer, &limits);
    assert_eq!((fewer.width, fewer.height), (image.width, image.height), "the scale changes the pixels only");
    for fit in [Fit::Stretch, Fit::Letterbox, Fit::LetterboxTopLeft, Fit::Crop] {
        for resize in [Resize::Bilinear, Resize::Area] {
            prepare(&image, fit, resize);
        }
    }
}

fn check(image: &DecodedImage, limits: &ImageLimits) {
    let (width, height) = (image.pixels.width, image.pixels.height);
    assert!(width > 0 && height > 0, "{width}×{height}");
    assert!(image.width.max(image.height) <= limits.max_side, "{}×{}", image.width, image.height);
    assert!(u64::from(image.width) * u64::from(image.height) <= limits.max_pixels);
    assert_eq!(image.pixels.rgb.len() as u64, u64::from(width) * u64::from(height) * 3);
    assert!((1..=8).contains(&image.orientation), "{}", image.orientation);
}

fn prepare(image: &DecodedImage, fit: Fit, resize: Resize) {
    let spec = InputSpec { fit, resize, ..InputSpec::default() };
    let shape = [1, 3, 24, 17].map(Some).to_vec();
    let port = Port { name: "images".to_owned(), element: ElementType::F32, shape };
    let preprocessor = Preprocessor::new(&spec, &[port]).expect("a usual input");
    let prepared = preprocessor.preprocess(image).expect("an image is preprocessed, whatever its shape");
    assert_eq!(prepared.inputs[0].shape(), [1, 3, 24, 17]);
}
