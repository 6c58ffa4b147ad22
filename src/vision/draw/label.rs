//! Labels: letters on a filled ground, as large as suits the picture.

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

/// The letters and lines of one picture.
#[derive(Debug)]
pub(super) struct Lettering {
    font: &'static MonoFont<'static>,
    factor: u32,
}

impl Lettering {
    /// About a fortieth of the picture's longer side.
    pub(super) fn for_picture(width: u32, height: u32) -> Self {
        let (font, factor) = match width.max(height) {
            0..=200 => (&fonts::FONT_5X8, 1),
            201..=360 => (&fonts::FONT_6X10, 1),
            361..=560 => (&fonts::FONT_7X13_BOLD, 1),
            561..=760 => (&fonts::FONT_9X15_BOLD, 1),
            side => (&fonts::FONT_10X20, (side / 800).max(1)),
        };
        Self { font, factor }
    }

    /// The width of a box's line, in pixels.
    pub(super) fn line_width(&self) -> u32 {
        (self.font.character_size.height * self.factor).div_ceil(8)
    }

    fn margin(&self) -> u32 {
        (self.font.character_size.height * self.factor).div_ceil(10)
    }

    /// The size of a tag with that many letters.
    fn tag_size(&self, letters: usize) -> Size {
        let letter = self.font.character_size * self.factor;
        let letters = u32::try_from(letters).unwrap_or(u32::MAX);
        Size::new(letter.width.saturating_mul(letters), letter.height) + Size::new_equal(self.margin() * 2)
    }

    /// Draws a tag with its corner there; says how high it is.
    pub(super) fn tag(&self, canvas: &mut Canvas, text: &str, at: Point, ground: Rgb888) -> i32 {
        let size = self.tag_size(text.chars().count());
        let Ok(()) = canvas.fill_solid(&Rectangle::new(at, size), ground);
        let origin = at + Point::new_equal(self.margin().cast_signed());
        let mut target = Magnified { canvas, factor: self.factor, origin };
        let style = MonoTextStyle::new(self.font, ink(ground));
        let Ok(_) = Text::with_baseline(text, Point::zero(), style, Baseline::Top).draw(&mut target);
        size.height.cast_signed()
    }

    /// Draws the tag of a box: above it, or inside where there is no room above; within the picture from side to side.
    pub(super) fn tag_box(&self, canvas: &mut Canvas, text: &str, area: Rectangle, ground: Rgb888) {
        let size = self.tag_size(text.chars().count());
        let (width, height) = (size.width.cast_signed(), size.height.cast_signed());
        let above = area.top_left.y - height;
        let y = if above >= 0 { above } else { area.top_left.y };
        let x = area.top_left.x.min(canvas.width.cast_signed() - width).max(0);
        self.tag(canvas, text, Point::new(x, y.min(canvas.height.cast_signed() - height).max(0)), ground);
    }
}
