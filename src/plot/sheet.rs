//! A sheet of RGB pixels to draw on: strokes, dots, text, and the PNG file.

use std::convert::Infallible;

use embedded_graphics::{
    Pixel,
    mono_font::{MonoFont, MonoTextStyle, iso_8859_1 as fonts},
    pixelcolor::{Rgb888, RgbColor},
    prelude::{DrawTarget, Drawable, OriginDimensions, Point, Size},
    text::{Baseline, Text},
};
use image::{
    ExtendedColorType, ImageEncoder,
    codecs::png::{CompressionType, FilterType, PngEncoder},
};

/// Red, green, blue.
pub(super) type Color = (u8, u8, u8);

/// Pixels from the left and from the top.
pub(super) type At = (f64, f64);

/// Letters of one width, as bitmaps.
pub(super) type Font = MonoFont<'static>;
pub(super) const SMALL: &Font = &fonts::FONT_7X14;
pub(super) const BOLD: &Font = &fonts::FONT_8X13_BOLD;
pub(super) const LARGE: &Font = &fonts::FONT_9X15_BOLD;

/// Which point of a text lies at the place it is given, across.
#[derive(Debug, Clone, Copy)]
pub(super) enum Anchor {
    Left,
    Center,
    Right,
}

/// A white sheet.
#[derive(Debug)]
pub(super) struct Sheet {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Sheet {
    /// Of so many pixels.
    pub fn new(width: u32, height: u32) -> Self {
        Self { width, height, rgb: vec![255; width as usize * height as usize * 3] }
    }

    /// A stroke with round ends and soft edges, `width` pixels wide.
    pub fn stroke(&mut self, a: At, b: At, width: f64, color: Color) {
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let length2 = dx.mul_add(dx, dy * dy);
        let distance = |x: f64, y: f64| {
            let along = if length2 > 0.0 { ((x - a.0) * dx + (y - a.1) * dy) / length2 } else { 0.0 };
            let along = along.clamp(0.0, 1.0);
            (x - along.mul_add(dx, a.0)).hypot(y - along.mul_add(dy, a.1))
        };
        let corners = [(a.0.min(b.0), a.1.min(b.1)), (a.0.max(b.0), a.1.max(b.1))];
        self.cover(corners, width, color, |x, y| width / 2.0 - distance(x, y));
    }

    /// A stroke of dashes, `width` pixels wide.
    pub fn dashes(&mut self, a: At, b: At, width: f64, color: Color) {
        let (dash, gap) = (6.0, 5.0);
        let length = (b.0 - a.0).hypot(b.1 - a.1);
        let at = |along: f64| {
            let share = (along / length).min(1.0);
            (a.0 + (b.0 - a.0) * share, a.1 + (b.1 - a.1) * share)
        };
        let mut along = 0.0;
        while along < length {
            self.stroke(at(along), at(along + dash), width, color);
            along += dash + gap;
        }
    }

    /// A disc.
    pub fn dot(&mut self, center: At, radius: f64, color: Color) {
        self.stroke(center, center, radius * 2.0, color);
    }

    /// A circle's line, `width` pixels wide.
    pub fn ring(&mut self, center: At, radius: f64, width: f64, color: Color) {
        let inside = |x: f64, y: f64| width / 2.0 - ((x - center.0).hypot(y - center.1) - radius).abs();
        self.cover([center, center], (radius + width) * 2.0, color, inside);
    }

    /// Blends a colour over all pixels whose centre lies inside, or less than a pixel outside, of a form.
    fn cover(&mut self, [low, high]: [At; 2], width: f64, color: Color, inside: impl Fn(f64, f64) -> f64) {
        let reach = width / 2.0 + 1.0;
        let pixels = |low: f64, high: f64, end: u32| {
            let pixel = |at: f64| at.floor().clamp(0.0, f64::from(end)) as u32;
            pixel(low - reach)..pixel(high + reach + 1.0)
        };
        for y in pixels(low.1, high.1, self.height) {
            for x in pixels(low.0, high.0, self.width) {
                let share = (inside(f64::from(x) + 0.5, f64::from(y) + 0.5) + 0.5).clamp(0.0, 1.0);
                self.blend(x, y, color, share);
            }
        }
    }

    fn blend(&mut self, x: u32, y: u32, (r, g, b): Color, share: f64) {
        if x >= self.width || y >= self.height || share <= 0.0 {
            return;
        }
        let at = (y as usize * self.width as usize + x as usize) * 3;
        for (pixel, new) in self.rgb[at..at + 3].iter_mut().zip([r, g, b]) {
            let mixed = f64::from(*pixel) * (1.0 - share) + f64::from(new) * share;
            *pixel = mixed.round().clamp(0.0, 255.0) as u8;
        }
    }

    /// A line of text; `at` is half its height.
    pub fn text(&mut self, text: &str, at: At, anchor: Anchor, font: &Font, color: Color) {
        self.write(text, at, anchor, font, color, false);
    }

    /// A line of text that runs upwards, centred.
    pub fn text_upwards(&mut self, text: &str, at: At, font: &Font, color: Color) {
        self.write(text, at, Anchor::Center, font, color, true);
    }

    fn write(&mut self, text: &str, at: At, anchor: Anchor, font: &Font, color: Color, upwards: bool) {
        let width = text_width(text, font) as i32;
        let dx = match anchor {
            Anchor::Left => 0,
            Anchor::Center => -width / 2,
            Anchor::Right => -width,
        };
        let shift = (dx, -(font.character_size.height as i32) / 2);
        let origin = (at.0.round() as i32, at.1.round() as i32);
        let mut letters = Letters { sheet: self, upwards, origin, shift, color };
        let style = MonoTextStyle::new(font, Rgb888::BLACK);
        let Ok(_) = Text::with_baseline(text, Point::zero(), style, Baseline::Top).draw(&mut letters);
    }

    /// The sheet as a PNG file.
    pub fn png(&self) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        // Flat colours are smallest without a filter.
        PngEncoder::new_with_quality(&mut bytes, CompressionType::Best, FilterType::NoFilter)
            .write_image(&self.rgb, self.width, self.height, ExtendedColorType::Rgb8)
            .map_err(|error| format!("the chart cannot be encoded: {error}"))?;
        Ok(bytes)
    }
}

/// How many pixels a line of text is wide.
pub(super) fn text_width(text: &str, font: &Font) -> f64 {
    text.chars().count() as f64 * f64::from(font.character_size.width)
}

/// Text on its way to the sheet: moved to its anchor, perhaps turned about it.
struct Letters<'a> {
    sheet: &'a mut Sheet,
    upwards: bool,
    origin: (i32, i32),
    shift: (i32, i32),
    color: Color,
}

impl OriginDimensions for Letters<'_> {
    fn size(&self) -> Size {
        Size::new(self.sheet.width, self.sheet.height)
    }
}

impl DrawTarget for Letters<'_> {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(at, _) in pixels {
            let (x, y) = (at.x + self.shift.0, at.y + self.shift.1);
            let (x, y) = if self.upwards { (y, -x) } else { (x, y) };
            if let (Ok(x), Ok(y)) = (u32::try_from(self.origin.0 + x), u32::try_from(self.origin.1 + y)) {
                self.sheet.blend(x, y, self.color, 1.0);
            }
        }
        Ok(())
    }
}
