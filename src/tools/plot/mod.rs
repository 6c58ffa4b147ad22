//! Charts as PNG files.

mod axis;
mod chart;
mod sheet;

pub use axis::Axis;

/// Series over two axes, with what stands beside them. Colours go by the order of the series.
#[derive(Debug, Clone)]
pub struct Chart {
    /// Stands above it.
    pub title: String,
    /// The axis below.
    pub x: Axis,
    /// The axis to the left.
    pub y: Axis,
    /// What is drawn; later ones lie over earlier ones, dots over lines.
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
    /// Points joined by straight lines. A point without a place on the axes breaks the line.
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
}

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
    let axis = |name: &str| Axis::linear(name).range(0.0, 1.0);
    let mut chart = Chart::new(title, axis("recall"), axis("precision"));
    chart.series = lines.iter().map(|line| Series::line(line.name.clone(), line.points.clone())).collect();
    chart.png()
}

#[cfg(test)]
mod tests {
    use super::{chart::COLORS, *};

    fn pixels(png: &[u8]) -> image::RgbImage {
        image::load_from_memory(png).expect("a PNG file").to_rgb8()
    }

    fn count(pixels: &image::RgbImage, (r, g, b): (u8, u8, u8)) -> usize {
        pixels.pixels().filter(|pixel| pixel.0 == [r, g, b]).count()
    }

    /// Shows it to people, too, where `SHOW_CHARTS` names a folder.
    fn show(name: &str, png: &[u8]) {
        if let Some(folder) = std::env::var_os("SHOW_CHARTS") {
            std::fs::write(std::path::Path::new(&folder).join(name), png).expect("written");
        }
    }

    #[test]
    fn a_chart_shows_its_lines_and_letters() {
        let line = |name: &str, y: f64| Line { name: name.to_owned(), points: vec![(0.0, y), (1.0, y)] };
        let drawn = |lines: &[Line]| precision_recall("two of them", lines).expect("drawn");
        let (none, both) = (drawn(&[]), drawn(&[line("int8", 0.7), line("fp32", 0.9)]));
        show("precision_recall.png", &both);
        let pixels = pixels(&both);
        assert_eq!(pixels.dimensions(), (860, 640));
        // Two pixels wide, across the chart, and once more in the legend.
        assert!(count(&pixels, COLORS[0]) > 700 && count(&pixels, COLORS[1]) > 700);
        assert!(count(&pixels, (0, 0, 0)) > 500, "letters and axes");
        assert_ne!(none, both);
    }

    #[test]
    fn a_frontier_has_points_steps_and_one_that_stands_out() {
        let mut chart =
            Chart::new("detector on 4 CPUs at $0.17 an hour", Axis::log("p99 in ms"), Axis::log("$ a million answers"));
        for (name, ms, usd) in
            [("int8 (0.800)", 11.0, 0.09), ("fp32 (0.796)", 17.0, 0.16), ("x-large (0.910)", 130.0, 2.1)]
        {
            let loads = (0..7).map(|load| (ms * 1.5f64.powi(load), usd * (1.0 + 9.0 / f64::from(1 + load).powi(2))));
            chart.series.push(Series::scatter(name, loads.collect()));
        }
        let points = chart.series[0].points.clone();
        chart.series.push(Series::steps("frontier", points.clone()));
        let plain = chart.png().expect("drawn");
        chart.upright.push(Reference { at: 50.0, label: "SLO 50 ms".to_owned() });
        chart.labels.push(Label { at: points[3], text: "int8: 310/s".to_owned(), highlighted: true });
        let png = chart.png().expect("drawn");
        show("frontier.png", &png);
        let (plain, pixels) = (pixels(&plain), pixels(&png));
        assert!(count(&pixels, COLORS[0]) > 200 && count(&pixels, COLORS[3]) > 300, "dots and steps");
        assert!(count(&pixels, (110, 110, 110)) > 150, "a dashed line");
        assert!(count(&pixels, (0, 0, 0)) > count(&plain, (0, 0, 0)) + 200, "two texts and a ring");
    }

    #[test]
    fn latency_has_an_slo() {
        let mut chart = Chart::new(
            "latency of http://127.0.0.1:8080",
            Axis::linear("requests offered a second"),
            Axis::log("latency in ms"),
        );
        let quantile =
            |ms: f64| (1..=12).map(|step| (f64::from(step) * 80.0, ms / (1.0 - f64::from(step) / 12.5))).collect();
        chart.series =
            vec![Series::line("p50", quantile(4.0)).with_markers(), Series::line("p99", quantile(9.0)).with_markers()];
        chart.across.push(Reference { at: 50.0, label: "SLO 50 ms".to_owned() });
        chart.upright.push(Reference { at: 790.0, label: "capacity 790/s".to_owned() });
        let png = chart.png().expect("drawn");
        show("latency.png", &png);
        assert!(count(&pixels(&png), (110, 110, 110)) > 300, "two dashed lines");
    }

    #[test]
    fn what_cannot_be_shown_is_left_out() {
        let mut chart = Chart::new("t".repeat(500), Axis::log("s"), Axis::log("ms").range(1.0, 1000.0));
        let odd =
            [(0.0, 5.0), (1.0, f64::NAN), (1.0, 5.0), (f64::INFINITY, 5.0), (3.0, 1e9), (50.0, 20.0), (60.0, 1e-9)];
        chart.series.push(Series::line("n".repeat(500), odd.to_vec()).with_markers());
        chart.across.push(Reference { at: -1.0, label: String::new() });
        let png = chart.png().expect("drawn");
        show("odd.png", &png);
        assert!(count(&pixels(&png), COLORS[0]) > 100);
    }

    #[test]
    fn time_goes_on_in_lines() {
        let mut chart = Chart::new("load over time", Axis::linear("seconds"), Axis::log("ms"));
        let wave = |k: f64| {
            (0..600).map(|s| (f64::from(s), (f64::from(s) / 40.0 * k).sin().mul_add(2.0, 5.0) * k.exp2())).collect()
        };
        for k in 1..=4 {
            chart.series.push(Series::line(format!("variant number {k} with a long name"), wave(f64::from(k))));
        }
        chart.across.push(Reference { at: 50.0, label: "SLO 50 ms".to_owned() });
        let png = chart.png().expect("drawn");
        show("time.png", &png);
        assert!(count(&pixels(&png), COLORS[3]) > 300);
    }
}
