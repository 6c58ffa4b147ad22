//! Pixels to draw on.

use std::convert::Infallible;

use embedded_graphics::{
    Pixel,
    pixelcolor::{Rgb888, RgbColor},
    prelude::{Dimensions, DrawTarget, OriginDimensions, Point, Size},
    primitives::Rectangle,
};

use crate::vision::decode::Pixels;

/// A copy of a picture's pixels; what would be drawn outside is not.
#[derive(Debug)]
pub(super) struct Canvas {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) rgb: Vec<u8>,
}

impl Canvas {
    pub(super) fn new(pixels: &Pixels) -> Self {
        Self { width: pixels.width, height: pixels.height, rgb: pixels.rgb.clone() }
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

/// Draws every pixel as a square of several: bitmap letters, grown.
#[derive(Debug)]
pub(super) struct Magnified<'a> {
    pub(super) canvas: &'a mut Canvas,
    pub(super) factor: u32,
    /// Where the corner of what is drawn lies on the canvas.
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
