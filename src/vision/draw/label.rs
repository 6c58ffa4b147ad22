//! Labels: letters on a filled ground, as large as suits the image.

use embedded_graphics::{
    mono_font::{MonoFont, MonoTextStyle, iso_8859_1 as fonts},
    pixelcolor::Rgb888,
    prelude::{DrawTarget, Drawable, Point, Size},
    primitives::Rectangle,
    text::{Baseline, Text},
};

use super::{
    canvas::{Canvas, Magnified},
    ink,
};

/// The size of the letters and lines of one image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lettering {
    font: &'static MonoFont<'static>,
    factor: u32,
}

impl Lettering {
    /// Letters of about a fortieth of the image's longer side.
    pub(super) fn for_size(width: u32, height: u32) -> Self {
        let (font, factor) = match width.max(height) {
            0..=200 => (&fonts::FONT_5X8, 1),
            201..=360 => (&fonts::FONT_6X10, 1),
            361..=560 => (&fonts::FONT_7X13_BOLD, 1),
            561..=760 => (&fonts::FONT_9X15_BOLD, 1),
            side => (&fonts::FONT_10X20, (side / 800).max(1)),
        };
        Self { font, factor }
    }

    /// The width of a frame's line, in pixels.
    pub(super) fn line_width(self) -> u32 {
        (self.font.character_size.height * self.factor).div_ceil(8)
    }

    fn margin(self) -> u32 {
        (self.font.character_size.height * self.factor).div_ceil(10)
    }

    /// The size of a label with that text.
    pub(super) fn label_size(self, text: &str) -> Size {
        let letter = self.font.character_size * self.factor;
        let letters = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        let margin = self.margin() * 2;
        Size::new(letter.width.saturating_mul(letters).saturating_add(margin), letter.height + margin)
    }

    /// Draws a label there.
    pub(super) fn draw(self, canvas: &mut Canvas, text: &str, place: Rectangle, ground: Rgb888) {
        let Ok(()) = canvas.fill_solid(&place, ground);
        let origin = place.top_left + Point::new_equal(self.margin().cast_signed());
        let mut target = Magnified { canvas, factor: self.factor, origin };
        let style = MonoTextStyle::new(self.font, ink(ground));
        let Ok(_) = Text::with_baseline(text, Point::zero(), style, Baseline::Top).draw(&mut target);
    }
}
