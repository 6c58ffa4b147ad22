//! Charts of what the tools measured.
//!
//! A [`Chart`] says what is shown: axes, series of points, reference lines and labels. [`Chart::svg`] draws it by plotters as an SVG image, which every
//! browser shows with fonts of its own.

mod axis;
mod chart;

pub use axis::Axis;

/// Series of points over two axes, with reference lines and labels. The order of the series decides their colours.
#[derive(Debug, Clone)]
pub struct Chart {
    /// The text above the chart.
    pub title: String,
    /// The axis below.
    pub x: Axis,
    /// The axis to the left.
    pub y: Axis,
    /// The series; later ones lie over earlier ones, dots over lines.
    pub series: Vec<Series>,
    /// Dashed lines from left to right, at a value of `y`.
    pub across: Vec<Reference>,
    /// Dashed lines from bottom to top, at a value of `x`.
    pub upright: Vec<Reference>,
    /// Texts beside single points.
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
    /// The value at which it lies, in the axis' unit.
    pub at: f64,
    /// The text beside it.
    pub label: String,
}

/// A text beside a point.
#[derive(Debug, Clone)]
pub struct Label {
    /// The point.
    pub at: (f64, f64),
    /// The text.
    pub text: String,
    /// Whether a ring is drawn around the point.
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

/// The chart of precision over recall, both from 0 to 1.
#[must_use]
pub fn precision_recall(title: &str, curves: Vec<Series>) -> Chart {
    let axis = |name: &str| Axis::linear(name).range(0.0, 1.0);
    Chart { series: curves, ..Chart::new(title, axis("recall"), axis("precision")) }
}

#[cfg(test)]
mod tests {
    use super::{chart::COLORS, *};

    /// How often an element of the image has this tag and this colour.
    fn count(svg: &str, tag: &str, (r, g, b): (u8, u8, u8)) -> usize {
        let (tag, color) = (format!("<{tag} "), format!("\"#{r:02X}{g:02X}{b:02X}\""));
        svg.lines().filter(|line| line.starts_with(&tag) && line.contains(&color)).count()
    }

    /// Draws a chart; writes it to a file, too, when `SHOW_CHARTS` names a folder for people to look at.
    fn drawn(name: &str, chart: &Chart) -> String {
        let svg = chart.svg().expect("drawn");
        if let Some(folder) = std::env::var_os("SHOW_CHARTS") {
            std::fs::write(std::path::Path::new(&folder).join(name), &svg).expect("written");
        }
        svg
    }

    #[test]
    fn a_chart_shows_its_lines_and_texts() {
        let curve = |name: &str, y: f64| Series::line(name, vec![(0.0, y), (1.0, y)]);
        let both = vec![curve("int8", 0.7), curve("fp32 <&>", 0.9)];
        let svg = drawn("precision_recall.svg", &precision_recall("two of them", both));
        assert!(svg.starts_with("<svg width=\"860\" height=\"640\""), "{svg}");
        // Once across the chart, and once more in the legend.
        assert_eq!([COLORS[0], COLORS[1]].map(|color| count(&svg, "polyline", color)), [2, 2]);
        for text in ["two of them", "recall", "precision", "int8", "fp32 &lt;&amp;&gt;", "0.5"] {
            assert!(svg.contains(&format!("\n{text}\n")), "{text}: {svg}");
        }
        let empty = drawn("empty.svg", &precision_recall("none of them", vec![]));
        assert_eq!(count(&empty, "polyline", COLORS[0]), 0);
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
        chart.upright.push(Reference { at: 50.0, label: "SLO 50 ms".to_owned() });
        chart.labels.push(Label { at: points[3], text: "int8: 310/s".to_owned(), highlighted: true });
        let svg = drawn("frontier.svg", &chart);
        assert_eq!(count(&svg, "circle", COLORS[0]), points.len() + 1, "dots, and one in the legend");
        assert_eq!(count(&svg, "polyline", COLORS[3]), 2, "steps, and their line in the legend");
        assert!(count(&svg, "polyline", (110, 110, 110)) > 20, "a dashed line");
        assert_eq!(svg.matches("r=\"9\"").count(), 1, "a ring");
        assert!(svg.contains("\nSLO 50 ms\n") && svg.contains("\nint8: 310/s\n"), "{svg}");
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
        let svg = drawn("latency.svg", &chart);
        assert!(count(&svg, "polyline", (110, 110, 110)) > 60, "two dashed lines");
    }

    #[test]
    fn what_cannot_be_shown_is_left_out() {
        let mut chart = Chart::new("t".repeat(500), Axis::log("s"), Axis::log("ms").range(1.0, 1000.0));
        let odd =
            [(0.0, 5.0), (1.0, f64::NAN), (1.0, 5.0), (f64::INFINITY, 5.0), (3.0, 1e9), (50.0, 20.0), (60.0, 1e-9)];
        chart.series.push(Series::line("n".repeat(500), odd.to_vec()).with_markers());
        chart.across.push(Reference { at: -1.0, label: String::new() });
        let svg = drawn("odd.svg", &chart);
        // Of the dots, those at 1, 50 and in the legend; no line, since no two neighbours can be shown.
        assert_eq!(count(&svg, "circle", COLORS[0]), 3);
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
        let svg = drawn("time.svg", &chart);
        assert_eq!(count(&svg, "polyline", COLORS[3]), 2, "a line of any length is one element");
    }
}
