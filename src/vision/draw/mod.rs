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
    answer::{Answer, Class, Detection},
    decode::Picture,
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
pub fn draw(picture: &Picture, answer: &Answer, labels: &[String], format: ImageFormat) -> Result<Vec<u8>, String> {
    let pixels = &picture.pixels;
    if pixels.rgb.len() as u64 != u64::from(pixels.width) * u64::from(pixels.height) * 3 {
        return Err("the picture has another number of pixels than it says".to_owned());
    }
    let mut canvas = Canvas::new(pixels);
    let lettering = Lettering::for_picture(pixels.width, pixels.height);
    match answer {
        Answer::Detections(found) => {
            // The best last, on top.
            for detection in found.iter().rev() {
                draw_box(&mut canvas, picture, detection, labels, &lettering);
            }
        }
        Answer::Classes(classes) => draw_classes(&mut canvas, classes, labels, &lettering),
    }
    encode(&canvas, format)
}

fn draw_box(canvas: &mut Canvas, picture: &Picture, found: &Detection, labels: &[String], lettering: &Lettering) {
    let scale_x = picture.pixels.width as f32 / picture.width.max(1) as f32;
    let scale_y = picture.pixels.height as f32 / picture.height.max(1) as f32;
    let b = &found.bbox;
    let (left, top) = ((b.x1 * scale_x).round() as i32, (b.y1 * scale_y).round() as i32);
    let (right, bottom) = ((b.x2 * scale_x).round() as i32, (b.y2 * scale_y).round() as i32);
    let size = Size::new((right - left).max(1).cast_unsigned(), (bottom - top).max(1).cast_unsigned());
    let area = Rectangle::new(Point::new(left, top), size);
    let color = color(found.class_id);
    let style = PrimitiveStyleBuilder::new()
        .stroke_color(color)
        .stroke_width(lettering.line_width())
        .stroke_alignment(StrokeAlignment::Inside)
        .build();
    let Ok(()) = area.into_styled(style).draw(canvas);
    let tag = format!("{} {:.2}", name(labels, found.class_id), found.score);
    lettering.tag_box(canvas, &tag, area, color);
}

fn draw_classes(canvas: &mut Canvas, classes: &[Class], labels: &[String], lettering: &Lettering) {
    let mut at = Point::new(0, 0);
    for class in classes {
        let tag = format!("{} {:.2}", name(labels, class.class_id), class.score);
        at.y += lettering.tag(canvas, &tag, at, color(class.class_id));
    }
}

fn name(labels: &[String], class_id: usize) -> String {
    labels.get(class_id).cloned().unwrap_or_else(|| format!("class {class_id}"))
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
