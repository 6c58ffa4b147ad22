//! A chart of lines and points over two axes.

use super::{
    axis::{Axis, Scale},
    place::{self, Area},
    sheet::{Anchor, At, BOLD, Color, LARGE, SMALL, Sheet, text_width},
};

/// Okabe and Ito's colours, which people with any colour vision can tell apart.
pub(super) const COLORS: [Color; 7] =
    [(0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (90, 90, 90)];
const INK: Color = (30, 30, 30);
const GRID: Color = (228, 228, 228);
const FAINT_GRID: Color = (243, 243, 243);
const REFERENCE: Color = (110, 110, 110);

const WIDTH: u32 = 860;
const HEIGHT: u32 = 640;
const MARGIN: f64 = 18.0;
const ROW: f64 = 20.0;

/// Series over two axes, with what stands beside them. Colours go by the order of the series.
#[derive(Debug, Clone)]
pub struct Chart {
    /// Stands above it.
    pub title: String,
    /// The axis below.
    pub x: Axis,
    /// The axis to the left.
    pub y: Axis,
    /// What is drawn; later ones lie over earlier ones.
    pub series: Vec<Series>,
    /// Dashed lines from left to right, at a value of `y`.
    pub across: Vec<Reference>,
    /// Dashed lines from bottom to top, at a value of `x`.
    pub upright: Vec<Reference>,
    /// What single points are called.
    pub labels: Vec<Label>,
}

/// Points that belong together, in one colour.
#[derive(Debug, Clone)]
pub struct Series {
    name: String,
    points: Vec<(f64, f64)>,
    stroke: Stroke,
    markers: bool,
}

/// How a point is joined to the next.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stroke {
    None,
    Straight,
    /// The value holds until the next point.
    Steps,
}

/// A dashed line with a name.
#[derive(Debug, Clone)]
pub struct Reference {
    /// Where, in the axis' unit.
    pub at: f64,
    /// What it means.
    pub label: String,
}

/// A text beside a point.
#[derive(Debug, Clone)]
pub struct Label {
    /// The point.
    pub at: (f64, f64),
    /// What it is called.
    pub text: String,
    /// Is a ring drawn about it?
    pub highlighted: bool,
}

impl Series {
    /// Points joined by straight lines. A point that is not finite breaks the line.
    #[must_use]
    pub fn line(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { name: name.into(), points, stroke: Stroke::Straight, markers: false }
    }

    /// A line on which each value holds until the next point, as that of a frontier does.
    #[must_use]
    pub fn steps(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { stroke: Stroke::Steps, ..Self::line(name, points) }
    }

    /// Points alone.
    #[must_use]
    pub fn scatter(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self { stroke: Stroke::None, markers: true, ..Self::line(name, points) }
    }

    /// The same with a dot at each point.
    #[must_use]
    pub fn with_markers(self) -> Self {
        Self { markers: true, ..self }
    }
}

impl Chart {
    /// A chart with nothing in it yet.
    #[must_use]
    pub fn new(title: impl Into<String>, x: Axis, y: Axis) -> Self {
        let (series, across, upright, labels) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { title: title.into(), x, y, series, across, upright, labels }
    }

    /// The chart as a PNG file of 860×640 pixels.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn png(&self) -> Result<Vec<u8>, String> {
        let mut sheet = Sheet::new(WIDTH, HEIGHT);
        let title = cut(&self.title, f64::from(WIDTH) - 2.0 * MARGIN);
        sheet.text(&title, (f64::from(WIDTH) / 2.0, MARGIN + 8.0), Anchor::Center, LARGE, INK);
        let below_legend = self.legend(&mut sheet, MARGIN + 32.0);
        let frame = self.frame(below_legend);
        frame.grid(&mut sheet);
        self.references(&frame, &mut sheet);
        for (series, color) in self.series.iter().zip(COLORS.iter().cycle()) {
            series.draw(&frame, &mut sheet, *color);
        }
        self.point_labels(&frame, &mut sheet);
        sheet.png()
    }

    /// Draws the names in rows from `top` on, above all data, and returns where they end.
    fn legend(&self, sheet: &mut Sheet, top: f64) -> f64 {
        let (left, right) = (MARGIN + 60.0, f64::from(WIDTH) - MARGIN);
        let (mut x, mut y) = (left, top);
        for (series, color) in self.series.iter().zip(COLORS.iter().cycle()) {
            if series.name.is_empty() {
                continue;
            }
            let name = cut(&series.name, right - left - 32.0);
            let width = 32.0 + text_width(&name, SMALL);
            if x > left && x + width > right {
                (x, y) = (left, y + ROW);
            }
            if series.stroke != Stroke::None {
                sheet.stroke((x + 1.0, y), (x + 23.0, y), 2.0, *color);
            }
            if series.markers {
                sheet.dot((x + 12.0, y), 4.0, *color);
            }
            sheet.text(&name, (x + 30.0, y), Anchor::Left, SMALL, INK);
            x += width + 22.0;
        }
        if x > left { y + ROW } else { top }
    }

    /// Where the data goes: what is left beside ticks, names and references.
    fn frame(&self, top: f64) -> Frame {
        let points = || self.series.iter().flat_map(|series| &series.points).chain(self.labels.iter().map(|l| &l.at));
        let x = self.x.scale(points().map(|point| point.0).chain(self.upright.iter().map(|line| line.at)));
        let y = self.y.scale(points().map(|point| point.1).chain(self.across.iter().map(|line| line.at)));
        let widest = |texts: &mut dyn Iterator<Item = f64>| texts.fold(0.0, f64::max);
        let ticks = widest(&mut y.ticks(9).iter().filter_map(|tick| Some(text_width(tick.text.as_ref()?, SMALL))));
        let names = widest(&mut self.across.iter().map(|line| text_width(&line.label, SMALL)));
        let area = Area {
            left: MARGIN + 24.0 + ticks + 8.0,
            right: f64::from(WIDTH) - MARGIN - if names > 0.0 { names + 8.0 } else { 12.0 },
            top: top + if self.upright.is_empty() { 4.0 } else { ROW },
            bottom: f64::from(HEIGHT) - MARGIN - 46.0,
        };
        Frame { x, y, area }
    }

    fn references(&self, frame: &Frame, sheet: &mut Sheet) {
        let Area { left, top, right, bottom } = frame.area;
        let seen: Vec<_> = self.across.iter().filter_map(|line| Some((line, frame.y_at(line.at)?))).collect();
        let wanted: Vec<f64> = seen.iter().map(|(_, y)| *y).collect();
        for ((line, y), beside) in seen.into_iter().zip(place::spread(&wanted, 15.0, top, bottom)) {
            sheet.dashes((left, y), (right, y), 1.5, REFERENCE);
            sheet.text(&line.label, (right + 6.0, beside), Anchor::Left, SMALL, INK);
        }
        let seen: Vec<_> = self.upright.iter().filter_map(|line| Some((line, frame.x_at(line.at)?))).collect();
        let wanted: Vec<f64> = seen.iter().map(|(_, x)| *x).collect();
        let widest = seen.iter().map(|(line, _)| text_width(&line.label, SMALL)).fold(0.0, f64::max);
        let (low, high) = (left + widest / 2.0, right - widest / 2.0);
        for ((line, x), above) in seen.into_iter().zip(place::spread(&wanted, widest + 10.0, low, high)) {
            sheet.dashes((x, top), (x, bottom), 1.5, REFERENCE);
            sheet.text(&line.label, (above, top - 10.0), Anchor::Center, SMALL, INK);
        }
    }

    fn point_labels(&self, frame: &Frame, sheet: &mut Sheet) {
        let mut taken = Vec::new();
        for series in &self.series {
            let places: Vec<At> = series.joined().into_iter().filter_map(|point| frame.at(point)).collect();
            taken.extend(places.iter().map(|at| Area::about(*at, 10.0, 10.0)));
            for pair in places.windows(2).filter(|_| series.stroke != Stroke::None) {
                let steps = (pair[1].0 - pair[0].0).hypot(pair[1].1 - pair[0].1) / 8.0;
                let along = |share: f64| {
                    (pair[0].0 + (pair[1].0 - pair[0].0) * share, pair[0].1 + (pair[1].1 - pair[0].1) * share)
                };
                let between = (1..steps as usize).map(|step| along(step as f64 / steps));
                taken.extend(between.map(|at| Area::about(at, 4.0, 4.0)));
            }
        }
        let (highlighted, plain): (Vec<_>, Vec<_>) = self.labels.iter().partition(|label| label.highlighted);
        // The highlighted ones choose first.
        for label in highlighted.into_iter().chain(plain) {
            let Some(at) = frame.at(label.at) else { continue };
            let font = if label.highlighted { BOLD } else { SMALL };
            if label.highlighted {
                sheet.ring(at, 8.5, 2.0, INK);
                taken.push(Area::about(at, 20.0, 20.0));
            }
            let place = place::beside(at, (text_width(&label.text, font), 14.0), &frame.area, &taken);
            sheet.text(&label.text, place.center(), Anchor::Center, font, INK);
            taken.push(place);
        }
    }
}

impl Series {
    /// The points through which the line goes, corners of steps included.
    fn joined(&self) -> Vec<(f64, f64)> {
        if self.stroke != Stroke::Steps {
            return self.points.clone();
        }
        let corners = self.points.windows(2).flat_map(|pair| [pair[0], (pair[1].0, pair[0].1)]);
        corners.chain(self.points.last().copied()).collect()
    }

    fn draw(&self, frame: &Frame, sheet: &mut Sheet, color: Color) {
        if self.stroke != Stroke::None {
            for pair in self.joined().windows(2) {
                if let Some((a, b)) = frame.segment(pair[0], pair[1]) {
                    sheet.stroke(a, b, 2.0, color);
                }
            }
        }
        if self.markers {
            for at in self.points.iter().filter_map(|point| frame.at(*point)) {
                sheet.dot(at, 5.5, (255, 255, 255));
                sheet.dot(at, 4.5, color);
            }
        }
    }
}

/// The rectangle of the data, with its axes.
struct Frame {
    x: Scale,
    y: Scale,
    area: Area,
}

impl Frame {
    fn x_at(&self, value: f64) -> Option<f64> {
        self.x.share(value).filter(inside).map(|share| self.pixels((share, 0.0)).0)
    }

    fn y_at(&self, value: f64) -> Option<f64> {
        self.y.share(value).filter(inside).map(|share| self.pixels((0.0, share)).1)
    }

    /// Where a point is; nothing outside of the frame.
    fn at(&self, (x, y): (f64, f64)) -> Option<At> {
        Some((self.x_at(x)?, self.y_at(y)?))
    }

    /// From shares of the axes.
    fn pixels(&self, (x, y): (f64, f64)) -> At {
        let Area { left, top, right, bottom } = self.area;
        (x.mul_add(right - left, left), y.mul_add(top - bottom, bottom))
    }

    /// The part of a line between two points that is inside of the frame.
    fn segment(&self, a: (f64, f64), b: (f64, f64)) -> Option<(At, At)> {
        let share = |point: (f64, f64)| Some((self.x.share(point.0)?, self.y.share(point.1)?));
        let (a, b) = (share(a)?, share(b)?);
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let (mut enters, mut leaves) = (0.0f64, 1.0f64);
        for (slope, room) in [(-dx, a.0), (dx, 1.0 - a.0), (-dy, a.1), (dy, 1.0 - a.1)] {
            if slope < 0.0 {
                enters = enters.max(room / slope);
            } else if slope > 0.0 {
                leaves = leaves.min(room / slope);
            } else if room < 0.0 {
                return None;
            }
        }
        let along = |share: f64| self.pixels((share.mul_add(dx, a.0), share.mul_add(dy, a.1)));
        (enters <= leaves).then(|| (along(enters), along(leaves)))
    }

    fn grid(&self, sheet: &mut Sheet) {
        let Area { left, top, right, bottom } = self.area;
        let (columns, rows) = (self.x.ticks(((right - left) / 80.0) as usize), self.y.ticks(9));
        // Lines on whole pixels are sharp.
        let sharp = |at: f64| at.floor() + 0.5;
        for faint in [true, false] {
            let color = if faint { FAINT_GRID } else { GRID };
            for tick in columns.iter().filter(|tick| tick.text.is_none() == faint) {
                let Some(x) = self.x_at(tick.value).map(sharp) else { continue };
                sheet.stroke((x, top), (x, bottom), 1.0, color);
                if let Some(text) = &tick.text {
                    sheet.stroke((x, bottom), (x, bottom + 5.0), 1.0, INK);
                    sheet.text(text, (x, bottom + 15.0), Anchor::Center, SMALL, INK);
                }
            }
            for tick in rows.iter().filter(|tick| tick.text.is_none() == faint) {
                let Some(y) = self.y_at(tick.value).map(sharp) else { continue };
                sheet.stroke((left, y), (right, y), 1.0, color);
                if let Some(text) = &tick.text {
                    sheet.stroke((left - 5.0, y), (left, y), 1.0, INK);
                    sheet.text(text, (left - 8.0, y), Anchor::Right, SMALL, INK);
                }
            }
        }
        sheet.stroke((sharp(left), top), (sharp(left), sharp(bottom)), 1.0, INK);
        sheet.stroke((sharp(left), sharp(bottom)), (right, sharp(bottom)), 1.0, INK);
        sheet.text(&self.x.name, (f64::midpoint(left, right), bottom + 38.0), Anchor::Center, BOLD, INK);
        sheet.text_upwards(&self.y.name, (MARGIN + 8.0, f64::midpoint(top, bottom)), BOLD, INK);
    }
}

fn inside(share: &f64) -> bool {
    (-1e-9..=1.0 + 1e-9).contains(share)
}

/// A text that is not wider than so many pixels in the widest font.
fn cut(text: &str, width: f64) -> String {
    let room = (width / text_width("m", LARGE)) as usize;
    if text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(3)).chain("...".chars()).collect()
}
