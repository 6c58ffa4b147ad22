//! Makes parts of a picture unrecognisable, in a way that cannot be undone.
//!
//! In goes an area of a [`Canvas`](super::Canvas); what stays of it is a grid of a few averages, whatever its size. Both ways of
//! showing them (blocks, or a smooth blur between their centres) have only these numbers in them: there is no kernel to undo,
//! as there is for a blur of all pixels.

use embedded_graphics::{
    prelude::{Point, Size},
    primitives::Rectangle,
};

/// How a part of a picture is made unrecognisable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redaction {
    /// Smooth, without edges.
    Blur,
    /// Blocks of one colour.
    Pixelate,
}

impl Redaction {
    /// The words for them.
    pub const WORDS: [&'static str; 2] = ["blur", "pixelate"];

    /// The redaction of that word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "blur" => Some(Self::Blur),
            "pixelate" => Some(Self::Pixelate),
            _ => None,
        }
    }
}

/// The most averages that stay of an area, along each side.
const MAX_CELLS: u32 = 6;

/// The least side of what is averaged, in pixels: a small area keeps fewer averages.
const MIN_CELL_PIXELS: u32 = 8;

/// Averages are rounded to so many levels of brightness.
const LEVEL: u32 = 8;

/// The share of its side by which an area grows at each edge: boxes cut off hands and feet.
const MARGIN: f32 = 0.1;

/// The share of its height by which an area grows at its top: a head above the box is the worst that can be left.
const MARGIN_ABOVE: f32 = 0.2;

/// The area with its margin, in a picture of that size.
pub(super) fn with_margin(area: Rectangle, picture: Size) -> Rectangle {
    let margin = |side: u32, share: f32| ((side as f32 * share).ceil() as u32).max(2);
    let across = margin(area.size.width, MARGIN);
    let (above, below) = (margin(area.size.height, MARGIN_ABOVE), margin(area.size.height, MARGIN));
    let grown =
        Rectangle::new(area.top_left - Size::new(across, above), area.size + Size::new(across * 2, above + below));
    grown.intersection(&Rectangle::new(Point::zero(), picture))
}

/// Redacts an area that lies within a picture of that width.
pub(super) fn redact(rgb: &mut [u8], width: u32, area: Rectangle, how: Redaction) {
    if area.is_zero_sized() {
        return;
    }
    let area = Area {
        left: area.top_left.x.max(0).cast_unsigned() as usize,
        top: area.top_left.y.max(0).cast_unsigned() as usize,
        width: area.size.width as usize,
        height: area.size.height as usize,
        stride: width as usize * 3,
    };
    let grid = Grid::of(rgb, &area);
    match how {
        Redaction::Pixelate => area.fill(rgb, |x, y| grid.cell(grid.columns.index(x), grid.rows.index(y))),
        Redaction::Blur => area.fill(rgb, |x, y| grid.between(x, y)),
    }
}

/// A part of a picture, in pixels.
struct Area {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
    stride: usize,
}

impl Area {
    /// Where a row of it lies among the picture's bytes.
    fn row(&self, y: usize) -> std::ops::Range<usize> {
        let begin = (self.top + y) * self.stride + self.left * 3;
        begin..begin + self.width * 3
    }

    fn fill(&self, rgb: &mut [u8], color: impl Fn(usize, usize) -> [u8; 3]) {
        for y in 0..self.height {
            let Some(row) = rgb.get_mut(self.row(y)) else { return };
            for (x, pixel) in row.chunks_exact_mut(3).enumerate() {
                pixel.copy_from_slice(&color(x, y));
            }
        }
    }
}

/// A side of an area, cut into cells.
#[derive(Clone, Copy)]
struct Cut {
    pixels: usize,
    cells: usize,
}

impl Cut {
    fn of(pixels: usize) -> Self {
        let cells = (pixels / MIN_CELL_PIXELS as usize).clamp(1, MAX_CELLS as usize);
        Self { pixels, cells }
    }

    /// The cell that a pixel lies in.
    fn index(self, at: usize) -> usize {
        (at * self.cells / self.pixels.max(1)).min(self.cells - 1)
    }

    /// The two cells between whose centres a pixel lies, and how near it is to the second, from 0 to 256.
    fn between(self, at: usize) -> (usize, usize, u32) {
        // In 256ths of a cell, from the centre of the first one.
        let place = ((2 * at + 1) * self.cells * 128 / self.pixels.max(1)).saturating_sub(128);
        let first = (place / 256).min(self.cells - 1);
        let near = if first + 1 < self.cells { place % 256 } else { 0 };
        (first, (first + 1).min(self.cells - 1), u32::try_from(near).unwrap_or(0))
    }
}

/// All that stays of an area.
struct Grid {
    columns: Cut,
    rows: Cut,
    cells: Vec<[u8; 3]>,
}

impl Grid {
    fn of(rgb: &[u8], area: &Area) -> Self {
        let (columns, rows) = (Cut::of(area.width), Cut::of(area.height));
        let mut sums = vec![[0u64; 4]; columns.cells * rows.cells];
        for y in 0..area.height {
            let line = rows.index(y) * columns.cells;
            for (x, pixel) in rgb.get(area.row(y)).unwrap_or_default().chunks_exact(3).enumerate() {
                let sum = &mut sums[line + columns.index(x)];
                for (sum, &byte) in sum.iter_mut().zip(pixel) {
                    *sum += u64::from(byte);
                }
                sum[3] += 1;
            }
        }
        let level = |sum: u64, count: u64| {
            let average = u32::try_from(sum / count.max(1)).unwrap_or(0);
            u8::try_from((average / LEVEL * LEVEL + LEVEL / 2).min(255)).unwrap_or(255)
        };
        let cells = sums.into_iter().map(|[r, g, b, count]| [r, g, b].map(|sum| level(sum, count))).collect();
        Self { columns, rows, cells }
    }

    fn cell(&self, column: usize, row: usize) -> [u8; 3] {
        self.cells[row * self.columns.cells + column]
    }

    fn between(&self, x: usize, y: usize) -> [u8; 3] {
        let ((left, right, across), (upper, lower, down)) = (self.columns.between(x), self.rows.between(y));
        let corners = [(left, upper), (right, upper), (left, lower), (right, lower)].map(|(x, y)| self.cell(x, y));
        std::array::from_fn(|channel| {
            let [a, b, c, d] = corners.map(|color| u32::from(color[channel]));
            let (above, below) = (a * (256 - across) + b * across, c * (256 - across) + d * across);
            u8::try_from((above * (256 - down) + below * down) >> 16).unwrap_or(255)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prop_assert, proptest};

    use super::*;

    fn noise(width: u32, height: u32, seed: u64) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(seed);
        (0..width * height * 3).map(|_| random.u8(..)).collect()
    }

    fn area(x: i32, y: i32, width: u32, height: u32) -> Rectangle {
        Rectangle::new(Point::new(x, y), Size::new(width, height))
    }

    #[test]
    fn a_few_colours_stay_and_nothing_around_changes() {
        let (width, height) = (200, 160);
        let before = noise(width, height, 1);
        for how in [Redaction::Blur, Redaction::Pixelate] {
            let mut after = before.clone();
            redact(&mut after, width, area(40, 30, 100, 90), how);
            let mut colors = std::collections::BTreeSet::new();
            for (at, (old, new)) in before.chunks(3).zip(after.chunks(3)).enumerate() {
                let (x, y) = (at % width as usize, at / width as usize);
                let inside = (40..140).contains(&x) && (30..120).contains(&y);
                if inside {
                    colors.insert(new.to_vec());
                } else {
                    assert_eq!(old, new, "{x},{y}");
                }
            }
            let most = if how == Redaction::Pixelate { 36 } else { usize::MAX };
            assert!(colors.len() <= most, "{}", colors.len());
        }
    }

    #[test]
    fn what_has_the_same_averages_cannot_be_told_apart() {
        // Two pictures that share nothing but the averages of the cells: one is the other, mirrored within each cell.
        let (width, height) = (96, 96);
        let one = noise(width, height, 2);
        let mut other = one.clone();
        for y in 0..96 {
            for x in 0..96 {
                let mirrored = (x / 16 * 16) + (15 - x % 16);
                for channel in 0..3 {
                    other[(y * 96 + x) * 3 + channel] = one[(y * 96 + mirrored) * 3 + channel];
                }
            }
        }
        assert_ne!(one, other);
        for how in [Redaction::Blur, Redaction::Pixelate] {
            let [one, other] = [&one, &other].map(|picture| {
                let mut picture = picture.clone();
                redact(&mut picture, width, area(0, 0, 96, 96), how);
                picture
            });
            assert_eq!(one, other, "{how:?}");
        }
    }

    #[test]
    fn areas_grow_within_the_picture() {
        let picture = Size::new(100, 100);
        assert_eq!(with_margin(area(20, 20, 50, 25), picture), area(15, 15, 60, 33));
        assert_eq!(with_margin(area(0, 90, 100, 10), picture), area(0, 88, 100, 12));
    }

    proptest! {
        #[test]
        fn any_area_of_any_picture(
            (width, height) in (1u32..60, 1u32..60), (x, y) in (-70i32..70, -70i32..70), (w, h) in (0u32..200, 0u32..200)
        ) {
            let before = noise(width, height, 3);
            for how in [Redaction::Blur, Redaction::Pixelate] {
                let mut after = before.clone();
                redact(&mut after, width, with_margin(area(x, y, w, h), Size::new(width, height)), how);
                prop_assert!(after.len() == before.len());
            }
        }
    }
}
