//! Charts as PNG files. Letters are bitmaps, so no font has to be installed.

mod axis;
mod chart;
mod place;
mod sheet;

pub use axis::Axis;
pub use chart::{Chart, Label, Reference, Series};

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
/// When the chart cannot be encoded.
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
        // Two pixels wide with soft edges, across the chart, and once more in the legend.
        assert!(count(&pixels, COLORS[0]) > 700 && count(&pixels, COLORS[1]) > 700);
        assert!(count(&pixels, (30, 30, 30)) > 500, "letters and axes");
        assert_ne!(none, both);
    }

    #[test]
    fn a_frontier_has_points_steps_and_one_that_stands_out() {
        let variants = [
            ("int8 1 thread", 0.09, 0.800),
            ("fp32 1 thread", 0.17, 0.796),
            ("fp16", 0.16, 0.797),
            ("x-large", 2.1, 0.91),
        ];
        let points: Vec<_> = variants.iter().map(|(_, usd, ap50)| (*usd, *ap50)).collect();
        let mut chart =
            Chart::new("What a million answers cost", Axis::log("$ a million"), Axis::linear("AP50").range(0.7, 1.0));
        chart.series.push(Series::steps("the best for the money", vec![points[0], points[3]]));
        chart.series.push(Series::scatter("variants", points.clone()));
        chart.upright.push(Reference { at: 0.5, label: "budget $0.50".to_owned() });
        chart.upright.push(Reference { at: 0.6, label: "limit $0.60".to_owned() });
        chart.across.push(Reference { at: 0.78, label: "floor 0.78".to_owned() });
        let label = |(text, usd, ap50): &(&str, f64, f64)| Label {
            at: (*usd, *ap50),
            text: (*text).to_owned(),
            highlighted: *text == "int8 1 thread",
        };
        chart.labels = variants.iter().map(label).collect();
        let png = chart.png().expect("drawn");
        show("frontier.png", &png);
        let pixels = pixels(&png);
        assert!(count(&pixels, COLORS[0]) > 300 && count(&pixels, COLORS[1]) > 100);
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
        chart.across.push(Reference { at: 48.0, label: "budget 48 ms".to_owned() });
        let png = chart.png().expect("drawn");
        show("time.png", &png);
        assert!(count(&pixels(&png), COLORS[3]) > 300);
    }
}
