//! Charts as PNG files: plotters draws on a plain RGB buffer, letters are bitmaps, so no font has to be installed.

use std::convert::Infallible;

use embedded_graphics::{
    Pixel,
    mono_font::{MonoFont, MonoTextStyle, iso_8859_1 as fonts},
    pixelcolor::{Rgb888, RgbColor},
    prelude::{DrawTarget, Drawable, OriginDimensions, Point, Size},
    text::{Baseline, Text},
};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use plotters::prelude::{
    ChartBuilder, Color, DrawingBackend, IntoDrawingArea, LineSeries, PathElement, RGBColor, SeriesLabelPosition,
    ShapeStyle, WHITE,
};
use plotters_backend::{
    BackendColor, BackendCoord, BackendTextStyle, DrawingErrorKind, FontTransform,
    text_anchor::{HPos, VPos},
};

/// Okabe and Ito's colours, which people with any colour vision can tell apart.
const COLORS: [(u8, u8, u8); 7] =
    [(0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (90, 90, 90)];

/// A line of a chart: its name and its points.
#[derive(Debug, Clone)]
pub struct Line {
    /// What the legend calls it.
    pub name: String,
    /// Points in the chart's units, in order.
    pub points: Vec<(f64, f64)>,
}

/// Precision over recall, both from 0 to 1, as a PNG file.
///
/// # Errors
/// When the chart cannot be drawn or encoded.
pub fn precision_recall(title: &str, lines: &[Line]) -> Result<Vec<u8>, String> {
    let (width, height) = (860, 640);
    let mut rgb = vec![255; width as usize * height as usize * 3];
    {
        let area = Sheet { width, height, rgb: &mut rgb }.into_drawing_area();
        let wrong = |error: &dyn std::fmt::Display| format!("the chart cannot be drawn: {error}");
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 20))
            .margin(18)
            .x_label_area_size(46)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..1.0, 0.0..1.0)
            .map_err(|error| wrong(&error))?;
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .bold_line_style(RGBColor(225, 225, 225))
            .x_desc("recall")
            .y_desc("precision")
            .x_label_formatter(&|value| format!("{value:.1}"))
            .y_label_formatter(&|value| format!("{value:.1}"))
            .label_style(("sans-serif", 14))
            .axis_desc_style(("sans-serif", 16))
            .draw()
            .map_err(|error| wrong(&error))?;
        for (line, (r, g, b)) in lines.iter().zip(COLORS.iter().cycle()) {
            let style = ShapeStyle { color: RGBColor(*r, *g, *b).mix(1.0), filled: false, stroke_width: 2 };
            chart
                .draw_series(LineSeries::new(line.points.iter().copied(), style))
                .map_err(|error| wrong(&error))?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerLeft)
            .margin(14)
            .legend_area_size(30)
            .background_style(WHITE.mix(0.85))
            .label_font(("sans-serif", 14))
            .draw()
            .map_err(|error| wrong(&error))?;
        area.present().map_err(|error| wrong(&error))?;
    }
    let mut bytes = Vec::new();
    PngEncoder::new(&mut bytes)
        .write_image(&rgb, width, height, ExtendedColorType::Rgb8)
        .map_err(|error| format!("the chart cannot be encoded: {error}"))?;
    Ok(bytes)
}

/// A sheet to draw on.
struct Sheet<'a> {
    width: u32,
    height: u32,
    rgb: &'a mut [u8],
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
        0..=13 => &fonts::FONT_6X12,
        14..=15 => &fonts::FONT_7X14,
        16..=17 => &fonts::FONT_8X13_BOLD,
        _ => &fonts::FONT_9X15_BOLD,
    }
}

fn extent(font: &MonoFont<'_>, text: &str) -> (i32, i32) {
    let letters = i32::try_from(text.chars().count()).unwrap_or(i32::MAX);
    let size = font.character_size;
    (size.width.cast_signed().saturating_mul(letters), size.height.cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_shows_its_lines_and_letters() {
        let line = |name: &str, y: f64| Line { name: name.to_owned(), points: vec![(0.0, y), (1.0, y)] };
        let drawn = |lines: &[Line]| precision_recall("two of them", lines).expect("drawn");
        let (none, both) = (drawn(&[]), drawn(&[line("int8", 0.7), line("fp32", 0.9)]));
        let pixels = image::load_from_memory(&both).expect("a PNG file").to_rgb8();
        assert_eq!(pixels.dimensions(), (860, 640));
        let count = |(r, g, b)| pixels.pixels().filter(|pixel| pixel.0 == [r, g, b]).count();
        // Two pixels wide, across the chart, and once more in the legend.
        assert!(count(COLORS[0]) > 1000 && count(COLORS[1]) > 1000);
        assert!(count((0, 0, 0)) > 500, "letters and axes");
        assert_ne!(none, both);
    }
}
