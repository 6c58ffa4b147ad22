//! A sheet of RGB pixels for plotters to draw on. Letters are bitmaps, so no font has to be installed.

use std::convert::Infallible;

use embedded_graphics::{
    Pixel,
    mono_font::{MonoFont, MonoTextStyle, iso_8859_1 as fonts},
    pixelcolor::{Rgb888, RgbColor},
    prelude::{DrawTarget, Drawable, OriginDimensions, Point, Size},
    text::{Baseline, Text},
};
use plotters_backend::{
    BackendColor, BackendCoord, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontTransform,
    text_anchor::{HPos, VPos},
};

/// A sheet to draw on.
pub(super) struct Sheet<'a> {
    pub width: u32,
    pub height: u32,
    pub rgb: &'a mut [u8],
}

impl Sheet<'_> {
    fn blend(&mut self, (x, y): BackendCoord, color: BackendColor) {
        let (Ok(x), Ok(y)) = (u32::try_from(x), u32::try_from(y)) else { return };
        if x >= self.width || y >= self.height {
            return;
        }
        let at = (y as usize * self.width as usize + x as usize) * 3;
        let (r, g, b) = color.rgb;
        for (pixel, new) in self.rgb[at..at + 3].iter_mut().zip([r, g, b]) {
            let mixed = f64::from(*pixel) * (1.0 - color.alpha) + f64::from(new) * color.alpha;
            *pixel = mixed.round().clamp(0.0, 255.0) as u8;
        }
    }
}

impl DrawingBackend for Sheet<'_> {
    type ErrorType = Infallible;

    fn get_size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn ensure_prepared(&mut self) -> Result<(), DrawingErrorKind<Infallible>> {
        Ok(())
    }

    fn present(&mut self) -> Result<(), DrawingErrorKind<Infallible>> {
        Ok(())
    }

    fn draw_pixel(&mut self, at: BackendCoord, color: BackendColor) -> Result<(), DrawingErrorKind<Infallible>> {
        self.blend(at, color);
        Ok(())
    }

    fn draw_text<S: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &S,
        (x, y): BackendCoord,
    ) -> Result<(), DrawingErrorKind<Infallible>> {
        let font = font(style.size());
        let (width, height) = extent(font, text);
        let anchor = style.anchor();
        let dx = match anchor.h_pos {
            HPos::Left => 0,
            HPos::Center => -width / 2,
            HPos::Right => -width,
        };
        let dy = match anchor.v_pos {
            VPos::Top => 0,
            VPos::Center => -height / 2,
            VPos::Bottom => -height,
        };
        let mut letters =
            Letters { sheet: self, turn: style.transform(), origin: (x, y), shift: (dx, dy), color: style.color() };
        let style = MonoTextStyle::new(font, Rgb888::BLACK);
        let Ok(_) = Text::with_baseline(text, Point::zero(), style, Baseline::Top).draw(&mut letters);
        Ok(())
    }

    fn estimate_text_size<S: BackendTextStyle>(
        &self,
        text: &str,
        style: &S,
    ) -> Result<(u32, u32), DrawingErrorKind<Infallible>> {
        let (width, height) = extent(font(style.size()), text);
        Ok((width.unsigned_abs(), height.unsigned_abs()))
    }
}

/// Text on its way to the sheet: moved to its anchor, then turned about it.
struct Letters<'a, 'b> {
    sheet: &'a mut Sheet<'b>,
    turn: FontTransform,
    origin: BackendCoord,
    shift: (i32, i32),
    color: BackendColor,
}

impl OriginDimensions for Letters<'_, '_> {
    fn size(&self) -> Size {
        Size::new(self.sheet.width, self.sheet.height)
    }
}

impl DrawTarget for Letters<'_, '_> {
    type Color = Rgb888;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        for Pixel(at, _) in pixels {
            let (x, y) = self.turn.transform(at.x + self.shift.0, at.y + self.shift.1);
            self.sheet.blend((self.origin.0 + x, self.origin.1 + y), self.color);
        }
        Ok(())
    }
}

fn font(size: f64) -> &'static MonoFont<'static> {
    match size as u32 {
        0..=16 => &fonts::FONT_7X14,
        17..=18 => &fonts::FONT_8X13_BOLD,
        _ => &fonts::FONT_9X15_BOLD,
    }
}

fn extent(font: &MonoFont<'_>, text: &str) -> (i32, i32) {
    let letters = i32::try_from(text.chars().count()).unwrap_or(i32::MAX);
    let size = font.character_size;
    (size.width.cast_signed().saturating_mul(letters), size.height.cast_signed())
}
