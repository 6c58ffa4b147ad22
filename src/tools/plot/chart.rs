//! Draws a chart by plotters.

use plotters::{
    drawing::DrawingAreaErrorKind,
    element::DashedPathElement,
    prelude::{
        Cartesian2d, ChartBuilder, ChartContext, Circle, Color as _, EmptyElement, FontStyle, IntoDrawingArea,
        IntoTextStyle, PathElement, RGBColor, SVGBackend, SeriesLabelPosition, Text, WHITE,
    },
    style::text_anchor::{HPos, Pos, VPos},
};

use super::{Chart, Series, Stroke, axis::AxisScale};

/// Okabe and Ito's colours, which people with any colour vision can tell apart.
pub(super) const COLORS: [(u8, u8, u8); 7] =
    [(0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233), (90, 90, 90)];
const INK: RGBColor = RGBColor(0, 0, 0);
const GRID: RGBColor = RGBColor(222, 222, 222);
const FAINT_GRID: RGBColor = RGBColor(242, 242, 242);
const REFERENCE: RGBColor = RGBColor(110, 110, 110);

const WIDTH: u32 = 860;
const HEIGHT: u32 = 640;
const SMALL: (&str, i32) = ("sans-serif", 16);
const AXIS_NAME: (&str, i32) = ("sans-serif", 18);
const TITLE: (&str, i32, FontStyle) = ("sans-serif", 21, FontStyle::Bold);

/// The frame of a chart, with its axes.
type Frame<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<AxisScale, AxisScale>>;
/// A place on the image, in pixels.
type Pixel = (i32, i32);
type Drawn<T> = Result<T, DrawingAreaErrorKind<std::io::Error>>;

impl Chart {
    /// The chart as an SVG image of 860×640 pixels.
    ///
    /// # Errors
    /// When it cannot be drawn.
    pub fn svg(&self) -> Result<String, String> {
        let mut svg = String::new();
        self.draw(SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT)))
            .map_err(|error| format!("the chart cannot be drawn: {error}"))?;
        Ok(svg)
    }

    fn draw(&self, image: SVGBackend<'_>) -> Drawn<()> {
        let points = || self.series.iter().flat_map(|series| &series.points).chain(self.labels.iter().map(|l| &l.at));
        let x = self.x.scale(points().map(|point| point.0).chain(self.upright.iter().map(|line| line.at)));
        let y = self.y.scale(points().map(|point| point.1).chain(self.across.iter().map(|line| line.at)));
        let area = image.into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(&self.title, TITLE)
            .margin(14)
            .x_label_area_size(48)
            .y_label_area_size(68)
            .build_cartesian_2d(x, y)?;
        chart
            .configure_mesh()
            .bold_line_style(GRID)
            .light_line_style(FAINT_GRID)
            .max_light_lines(1)
            .x_desc(&self.x.name)
            .y_desc(&self.y.name)
            .label_style(SMALL)
            .axis_desc_style(AXIS_NAME)
            .draw()?;
        let mut taken = self.draw_series(&mut chart)?;
        self.draw_texts(&chart, &mut taken)?;
        if self.series.iter().any(|series| !series.name.is_empty()) {
            let position = self.emptiest_corner(&chart, &taken);
            chart
                .configure_series_labels()
                .position(position)
                .background_style(WHITE.mix(0.85))
                .border_style(GRID)
                .label_font(SMALL)
                .draw()?;
        }
        area.present()
    }

    /// Draws all lines, then all dots. Returns the places of the points.
    fn draw_series(&self, chart: &mut Frame<'_>) -> Drawn<Vec<Pixel>> {
        let mut taken = Vec::new();
        let colors = COLORS.iter().cycle().map(|(r, g, b)| RGBColor(*r, *g, *b));
        for (series, color) in self.series.iter().zip(colors.clone()) {
            let joined = series.joined();
            let runs = joined.split(|at| !shown(chart, *at)).filter(|run| run.len() > 1);
            let lines: Vec<_> = runs.map(|run| PathElement::new(run, color.stroke_width(2))).collect();
            let drawn = chart.draw_series(lines)?;
            if !series.name.is_empty() {
                let line = if series.stroke == Stroke::None { vec![] } else { vec![(0, 0), (22, 0)] };
                // A small dot is as wide as the line.
                let size = if series.markers { 4 } else { 1 };
                drawn.label(&series.name).legend(move |at| {
                    EmptyElement::at(at)
                        + PathElement::new(line.clone(), color.stroke_width(2))
                        + Circle::new((11, 0), size, color.filled())
                });
            }
        }
        let area = chart.plotting_area();
        for (series, color) in self.series.iter().zip(colors) {
            for at in series.points.iter().filter(|at| shown(chart, **at)) {
                taken.push(chart.backend_coord(at));
                if series.markers {
                    area.draw(&Circle::new(*at, 5, WHITE.filled()))?;
                    area.draw(&Circle::new(*at, 4, color.filled()))?;
                }
            }
        }
        Ok(taken)
    }

    /// Draws dashed lines with their texts, and the texts of points.
    fn draw_texts(&self, chart: &Frame<'_>, taken: &mut Vec<Pixel>) -> Drawn<()> {
        let (area, pixels) = (chart.plotting_area(), chart.plotting_area().use_screen_coord());
        let (x, y) = (chart.x_range(), chart.y_range());
        let right = area.get_pixel_range().0.end;
        let mut write = |text: &str, at: Pixel, across: HPos, down: VPos| {
            let style = SMALL.into_text_style(&pixels).pos(Pos::new(across, down));
            taken.push(at);
            pixels.draw(&Text::new(text, at, style))
        };
        for line in self.across.iter().filter(|line| shown(chart, (x.start, line.at))) {
            let ends = [(x.start, line.at), (x.end, line.at)];
            area.draw(&DashedPathElement::new(ends, 6, 5, REFERENCE))?;
            write(&line.label, (right - 4, chart.backend_coord(&ends[1]).1 - 2), HPos::Right, VPos::Bottom)?;
        }
        for line in self.upright.iter().filter(|line| shown(chart, (line.at, y.start))) {
            let ends = [(line.at, y.start), (line.at, y.end)];
            area.draw(&DashedPathElement::new(ends, 6, 5, REFERENCE))?;
            let (at, top) = chart.backend_coord(&ends[1]);
            let fits = at + 5 + text_width(&line.label) < right;
            let (at, side) = if fits { (at + 5, HPos::Left) } else { (at - 5, HPos::Right) };
            write(&line.label, (at, top + 4), side, VPos::Top)?;
        }
        for label in self.labels.iter().filter(|label| shown(chart, label.at)) {
            let (x, y) = chart.backend_coord(&label.at);
            if label.highlighted {
                pixels.draw(&Circle::new((x, y), 9, INK.stroke_width(2)))?;
            }
            // Above it, where it hides none of a frontier's line.
            let fits = x + text_width(&label.text) < right;
            let side = if fits { HPos::Left } else { HPos::Right };
            write(&label.text, (x, y - 11), side, VPos::Bottom)?;
        }
        Ok(())
    }

    /// The corner in which the legend hides the fewest points.
    fn emptiest_corner(&self, chart: &Frame<'_>, taken: &[Pixel]) -> SeriesLabelPosition {
        let (x, y) = chart.plotting_area().get_pixel_range();
        let width = self.series.iter().map(|series| text_width(&series.name)).max().unwrap_or(0) + 70;
        let height = self.series.len() as i32 * 20 + 30;
        let hidden = |(_, right, low): &(SeriesLabelPosition, bool, bool)| {
            let across = |at: i32| if *right { at > x.end - width } else { at < x.start + width };
            let down = |at: i32| if *low { at > y.end - height } else { at < y.start + height };
            taken.iter().filter(|at| across(at.0) && down(at.1)).count()
        };
        let corners = [
            (SeriesLabelPosition::UpperRight, true, false),
            (SeriesLabelPosition::UpperLeft, false, false),
            (SeriesLabelPosition::LowerRight, true, true),
            (SeriesLabelPosition::LowerLeft, false, true),
        ];
        corners.into_iter().min_by_key(hidden).map_or(SeriesLabelPosition::UpperRight, |(corner, ..)| corner)
    }
}

impl Series {
    /// The points through which the line goes, corners of steps included.
    fn joined(&self) -> Vec<(f64, f64)> {
        match self.stroke {
            Stroke::None => Vec::new(),
            Stroke::Straight => self.points.clone(),
            Stroke::Steps => {
                let corners = self.points.windows(2).flat_map(|pair| [pair[0], (pair[1].0, pair[0].1)]);
                corners.chain(self.points.last().copied()).collect()
            }
        }
    }
}

/// Whether a point has a place within the axes.
fn shown(chart: &Frame<'_>, (x, y): (f64, f64)) -> bool {
    let (across, upright) = (chart.x_range(), chart.y_range());
    (across.start..=across.end).contains(&x) && (upright.start..=upright.end).contains(&y)
}

/// About how wide a text is: the browser chooses its font.
fn text_width(text: &str) -> i32 {
    text.chars().count() as i32 * 7
}
