//! Pixels to draw on: frames and labels go on, an encoded image comes out.

use std::{convert::Infallible, sync::Arc};

use embedded_graphics::{
    Pixel,
    pixelcolor::{Rgb888, RgbColor},
    prelude::{Dimensions, DrawTarget, Drawable, OriginDimensions, Point, Primitive, Size},
    primitives::{PrimitiveStyleBuilder, Rectangle, StrokeAlignment},
};
use image::{
    ExtendedColorType, ImageEncoder,
    codecs::{
        jpeg::JpegEncoder,
        png::{CompressionType, FilterType, PngEncoder},
    },
};

use super::{
    ImageFormat,
    label::Lettering,
    pieces::{EncodedImage, PieceWriter},
    redact::{self, Redaction},
};
use crate::vision::{
    bbox::BBox,
    decode::{DecodedImage, Pixels},
};

/// An image's pixels to draw on and to encode. What would lie outside of it is not drawn.
#[derive(Debug)]
pub struct Canvas {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) rgb: Vec<u8>,
    /// Width and height of the image at full size; the pixels may be fewer.
    image_size: (u32, u32),
    lettering: Lettering,
}

impl Canvas {
    /// The image's pixels; a copy of them where somebody else needs them, too.
    ///
    /// # Errors
    /// When the image has fewer pixels than it says.
    pub fn new(image: Arc<DecodedImage>) -> Result<Self, String> {
        let image = Arc::unwrap_or_clone(image);
        let Pixels { width, height, rgb } = image.pixels;
        let count = u64::from(width) * u64::from(height);
        if count == 0 || rgb.len() as u64 != count * 3 {
            return Err("the picture has another number of pixels than it says".to_owned());
        }
        let (image_size, lettering) = ((image.width, image.height), Lettering::for_size(width, height));
        Ok(Self { width, height, rgb, image_size, lettering })
    }

    /// Where a box in pixels of the image lies on the canvas; never outside, never empty.
    #[must_use]
    pub fn area(&self, bbox: &BBox) -> Rectangle {
        let on = |at: f32, side: u32, pixels: u32| {
            (at / side.max(1) as f32 * pixels as f32).round().clamp(0.0, pixels as f32) as i32
        };
        let (width, height) = self.image_size;
        let [left, right] = [bbox.x1, bbox.x2].map(|x| on(x, width, self.width));
        let [top, bottom] = [bbox.y1, bbox.y2].map(|y| on(y, height, self.height));
        let size = Size::new((right - left).max(1).cast_unsigned(), (bottom - top).max(1).cast_unsigned());
        Rectangle::new(Point::new(left, top), size)
    }

    /// Makes an area, and a margin around it, unrecognisable.
    pub fn redact(&mut self, area: Rectangle, how: Redaction) {
        let area = redact::with_margin(area, Size::new(self.width, self.height));
        redact::redact(&mut self.rgb, self.width, area, how);
    }

    /// Draws the edge of an area, on its inside.
    pub fn draw_frame(&mut self, area: Rectangle, color: Rgb888) {
        let style = PrimitiveStyleBuilder::new()
            .stroke_width(self.lettering.line_width())
            .stroke_alignment(StrokeAlignment::Inside)
            .stroke_color(color);
        let Ok(()) = area.into_styled(style.build()).draw(self);
    }

    /// The size of a label with that text.
    #[must_use]
    pub fn label_size(&self, text: &str) -> Size {
        self.lettering.label_size(text)
    }

    /// Where the label of an area goes: above it where there is room, else inside at its top or bottom, else below; of
    /// these the first that hides none of the labels that have their places already. Always within the canvas, if that
    /// is large enough.
    #[must_use]
    pub fn place_label(&self, text: &str, area: Rectangle, taken: &[Rectangle]) -> Rectangle {
        let size = self.label_size(text);
        let (width, height) = (size.width.cast_signed(), size.height.cast_signed());
        let x = area.top_left.x.min(self.width.cast_signed() - width).max(0);
        let top = area.top_left.y;
        let bottom = top + area.size.height.cast_signed();
        let lowest = (self.height.cast_signed() - height).max(0);
        let place = |y: i32| Rectangle::new(Point::new(x, y.clamp(0, lowest)), size);
        let is_free = |place: &Rectangle| taken.iter().all(|other| place.intersection(other).is_zero_sized());
        let fits = |y: &i32| (0..=lowest).contains(y);
        let choices = [top - height, top, bottom - height, bottom];
        let free = choices.into_iter().filter(fits).map(place).find(is_free);
        free.unwrap_or_else(|| place(if top >= height { top - height } else { top }))
    }

    /// Draws letters on a filled ground, black or white, whichever reads better on its colour.
    pub fn draw_label(&mut self, text: &str, place: Rectangle, ground: Rgb888) {
        let lettering = self.lettering;
        lettering.draw(self, text, place, ground);
    }

    /// The canvas as a file.
    ///
    /// # Errors
    /// When the encoder fails.
    pub fn encode(&self, format: ImageFormat) -> Result<EncodedImage, String> {
        let mut bytes = PieceWriter::default();
        let (width, height, color) = (self.width, self.height, ExtendedColorType::Rgb8);
        let encoded = match format {
            ImageFormat::Jpeg => {
                JpegEncoder::new_with_quality(&mut bytes, 90).write_image(&self.rgb, width, height, color)
            }
            ImageFormat::Png => PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive)
                .write_image(&self.rgb, width, height, color),
        };
        encoded.map(|()| bytes.finish()).map_err(|error| format!("the drawn picture cannot be encoded: {error}"))
    }
}

impl OriginDimensions for Canvas {
    fn size(&self) -> Size {
        Size::new(self.width, self.height)
    }
}

impl DrawTarget for Canvas {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(at, color) in pixels {
            self.fill_solid(&Rectangle::new(at, Size::new(1, 1)), color)?;
        }
        Ok(())
    }

    fn fill_solid(&mut self, area: &Rectangle, color: Rgb888) -> Result<(), Infallible> {
        let area = area.intersection(&self.bounding_box());
        let (left, top) = (area.top_left.x.max(0) as usize, area.top_left.y.max(0) as usize);
        let (width, height) = (area.size.width as usize, area.size.height as usize);
        let bytes = [color.r(), color.g(), color.b()];
        for row in self.rgb.chunks_exact_mut(self.width as usize * 3).skip(top).take(height) {
            for pixel in row[left * 3..(left + width) * 3].chunks_exact_mut(3) {
                pixel.copy_from_slice(&bytes);
            }
        }
        Ok(())
    }
}

/// Draws each pixel as a square of several, so that bitmap letters grow.
#[derive(Debug)]
pub(super) struct Magnified<'a> {
    pub(super) canvas: &'a mut Canvas,
    pub(super) factor: u32,
    /// Where the top left corner of what is drawn lies on the canvas.
    pub(super) origin: Point,
}

impl Dimensions for Magnified<'_> {
    fn bounding_box(&self) -> Rectangle {
        Rectangle::new(Point::zero(), Size::new(self.canvas.width, self.canvas.height))
    }
}

impl DrawTarget for Magnified<'_> {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        let factor = self.factor.cast_signed();
        for Pixel(at, color) in pixels {
            let square = Rectangle::new(self.origin + at * factor, Size::new_equal(self.factor));
            self.canvas.fill_solid(&square, color)?;
        }
        Ok(())
    }
}
