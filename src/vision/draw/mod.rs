//! The picture with its answer drawn onto it.

mod canvas;
mod label;

use embedded_graphics::{
    pixelcolor::{Rgb888, RgbColor},
    prelude::{Drawable, Point, Primitive, Size},
    primitives::{PrimitiveStyleBuilder, Rectangle, StrokeAlignment},
};
use image::{
    ExtendedColorType, ImageEncoder,
    codecs::{
        jpeg::JpegEncoder,
        png::{CompressionType, FilterType, PngEncoder},
    },
};

use self::{canvas::Canvas, label::Lettering};
use crate::vision::{
    answer::{Class, Detection, Prediction},
    decode::DecodedImage,
};

/// How the drawn picture is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFormat {
    /// Small, at quality 90.
    Jpeg,
    /// Without loss.
    Png,
}

impl ImageFormat {
    /// The media type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
        }
    }
}

/// The picture with boxes and labels drawn (of classes: the best labels in a corner), encoded.
///
/// # Errors
/// When the picture has fewer pixels than it says, or cannot be encoded.
pub fn draw(
    picture: &DecodedImage,
    answer: &Prediction,
    labels: &[String],
    format: ImageFormat,
) -> Result<Vec<u8>, String> {
    let pixels = &picture.pixels;
    let count = u64::from(pixels.width) * u64::from(pixels.height);
    if count == 0 || pixels.rgb.len() as u64 != count * 3 {
        return Err("the picture has another number of pixels than it says".to_owned());
    }
    let mut canvas = Canvas::new(pixels);
    let lettering = Lettering::for_picture(pixels.width, pixels.height);
    match answer {
        Prediction::Detections(found) => draw_boxes(&mut canvas, picture, found, labels, &lettering),
        Prediction::Classes(classes) => draw_classes(&mut canvas, classes, labels, &lettering),
    }
    encode(&canvas, format)
}

/// All lines first, then all labels, so that no line crosses a letter; the best last, on top.
fn draw_boxes(
    canvas: &mut Canvas,
    picture: &DecodedImage,
    found: &[Detection],
    labels: &[String],
    lettering: &Lettering,
) {
    let style =
        PrimitiveStyleBuilder::new().stroke_width(lettering.line_width()).stroke_alignment(StrokeAlignment::Inside);
    let mut places: Vec<Rectangle> = Vec::with_capacity(found.len());
    let mut tags = Vec::with_capacity(found.len());
    for detection in found {
        let text = tag(labels, detection.class_id, detection.score);
        let area = area(picture, detection);
        let place = lettering.place(canvas, &text, area, &places);
        places.push(place);
        tags.push((text, area, place, color(detection.class_id)));
    }
    for (_, area, _, color) in tags.iter().rev() {
        let Ok(()) = area.into_styled(style.stroke_color(*color).build()).draw(canvas);
    }
    for (text, _, place, color) in tags.iter().rev() {
        lettering.tag(canvas, text, *place, *color);
    }
}

/// A detection's box on the pixels, which may be fewer than the picture's; never outside, never empty.
fn area(picture: &DecodedImage, found: &Detection) -> Rectangle {
    let on = |at: f32, side: u32, pixels: u32| {
        (at / side.max(1) as f32 * pixels as f32).round().clamp(0.0, pixels as f32) as i32
    };
    let [left, right] = [found.bbox.x1, found.bbox.x2].map(|x| on(x, picture.width, picture.pixels.width));
    let [top, bottom] = [found.bbox.y1, found.bbox.y2].map(|y| on(y, picture.height, picture.pixels.height));
    let size = Size::new((right - left).max(1).cast_unsigned(), (bottom - top).max(1).cast_unsigned());
    Rectangle::new(Point::new(left, top), size)
}

fn draw_classes(canvas: &mut Canvas, classes: &[Class], labels: &[String], lettering: &Lettering) {
    let mut at = Point::zero();
    for class in classes {
        let text = tag(labels, class.class_id, class.score);
        let place = Rectangle::new(at, lettering.tag_size(&text));
        lettering.tag(canvas, &text, place, color(class.class_id));
        at.y += place.size.height.cast_signed();
    }
}

/// `person 0.91`
fn tag(labels: &[String], class_id: usize, score: f32) -> String {
    match labels.get(class_id) {
        Some(label) => format!("{label} {score:.2}"),
        None => format!("class {class_id} {score:.2}"),
    }
}

/// A colour for a class: far apart for neighbours, bright enough to be seen on most photos.
fn color(class_id: usize) -> Rgb888 {
    const COLORS: [(u8, u8, u8); 12] = [
        (255, 176, 0),
        (0, 158, 255),
        (255, 64, 96),
        (40, 200, 100),
        (190, 110, 255),
        (255, 120, 30),
        (0, 205, 205),
        (255, 100, 200),
        (170, 220, 40),
        (110, 130, 255),
        (230, 190, 150),
        (255, 235, 80),
    ];
    let (r, g, b) = COLORS[class_id % COLORS.len()];
    Rgb888::new(r, g, b)
}

/// Black or white, whichever reads better on a colour.
fn ink(on: Rgb888) -> Rgb888 {
    let luma = 299 * u32::from(on.r()) + 587 * u32::from(on.g()) + 114 * u32::from(on.b());
    if luma > 120_000 { Rgb888::BLACK } else { Rgb888::WHITE }
}

fn encode(canvas: &Canvas, format: ImageFormat) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let (width, height) = (canvas.width, canvas.height);
    let done = match format {
        ImageFormat::Jpeg => JpegEncoder::new_with_quality(&mut bytes, 90).write_image(
            &canvas.rgb,
            width,
            height,
            ExtendedColorType::Rgb8,
        ),
        ImageFormat::Png => PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive)
            .write_image(&canvas.rgb, width, height, ExtendedColorType::Rgb8),
    };
    done.map(|()| bytes).map_err(|error| format!("the drawn picture cannot be encoded: {error}"))
}

#[cfg(test)]
mod tests;
