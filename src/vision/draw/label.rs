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

    /// The size of a tag with that text.
    pub(super) fn tag_size(&self, text: &str) -> Size {
        let letter = self.font.character_size * self.factor;
        let letters = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
        let margin = self.margin() * 2;
        Size::new(letter.width.saturating_mul(letters).saturating_add(margin), letter.height + margin)
    }

    /// Draws a tag there.
    pub(super) fn tag(&self, canvas: &mut Canvas, text: &str, place: Rectangle, ground: Rgb888) {
        let Ok(()) = canvas.fill_solid(&place, ground);
        let origin = place.top_left + Point::new_equal(self.margin().cast_signed());
        let mut target = Magnified { canvas, factor: self.factor, origin };
        let style = MonoTextStyle::new(self.font, ink(ground));
        let Ok(_) = Text::with_baseline(text, Point::zero(), style, Baseline::Top).draw(&mut target);
    }

    /// Where the tag of a box goes: above it where there is room, else inside at its top or bottom, else below; of
    /// these the first that hides no tag that has its place already. Always within the picture, if it is large enough.
    pub(super) fn place(&self, canvas: &Canvas, text: &str, area: Rectangle, taken: &[Rectangle]) -> Rectangle {
        let size = self.tag_size(text);
        let (width, height) = (size.width.cast_signed(), size.height.cast_signed());
        let x = area.top_left.x.min(canvas.width.cast_signed() - width).max(0);
        let top = area.top_left.y;
        let bottom = top + area.size.height.cast_signed();
        let lowest = (canvas.height.cast_signed() - height).max(0);
        let place = |y: i32| Rectangle::new(Point::new(x, y.clamp(0, lowest)), size);
        let is_free = |place: &Rectangle| taken.iter().all(|other| place.intersection(other).is_zero_sized());
        let fits = |y: &i32| (0..=lowest).contains(y);
        let choices = [top - height, top, bottom - height, bottom];
        let free = choices.into_iter().filter(fits).map(place).find(is_free);
        free.unwrap_or_else(|| place(if top >= height { top - height } else { top }))
    }
}
