//! Drawing onto an image: a [`Canvas`] takes frames and labels and is encoded as JPEG or PNG; parts of it can be made
//! unrecognisable. What is drawn for a prediction is the tasks' business.

mod canvas;
mod label;
mod pieces;
mod redact;

use embedded_graphics::pixelcolor::{Rgb888, RgbColor};

pub use self::{canvas::Canvas, pieces::EncodedImage, redact::Redaction};

/// What is drawn, and how it is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrawOptions {
    /// The format of the drawn image.
    pub format: ImageFormat,
    /// How what was found is made unrecognisable, if it is.
    pub redaction: Option<Redaction>,
}

impl From<ImageFormat> for DrawOptions {
    /// Nothing is made unrecognisable.
    fn from(format: ImageFormat) -> Self {
        Self { format, redaction: None }
    }
}

/// How a drawn image is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFormat {
    /// Small; written at quality 90.
    Jpeg,
    /// Without loss.
    Png,
}

impl ImageFormat {
    /// The most bytes that encoding takes for a pixel, the file that comes out included. A PNG of noise is compressed, found to be
    /// larger than the pixels, stored as it is, and then copied into the file.
    #[must_use]
    pub fn bytes_a_pixel(self) -> u64 {
        match self {
            Self::Jpeg => 4,
            Self::Png => 7,
        }
    }

    /// Its media type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
        }
    }
}

/// A colour for a class: far apart for neighbours, bright enough to be seen on most photos.
#[must_use]
pub fn class_color(class_id: usize) -> Rgb888 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_read_well_on_every_colour() {
        let luminance = |color: Rgb888| {
            let linear = |byte: u8| {
                let share = f64::from(byte) / 255.0;
                if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
            };
            0.2126 * linear(color.r()) + 0.7152 * linear(color.g()) + 0.0722 * linear(color.b())
        };
        for ground in (0..24).map(class_color) {
            let (a, b) = (luminance(ground), luminance(ink(ground)));
            assert!((a.max(b) + 0.05) / (a.min(b) + 0.05) >= 4.5, "{ground:?}"); // WCAG AA
        }
    }
}
