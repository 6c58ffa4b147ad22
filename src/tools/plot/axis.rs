//! An axis of a chart: its name, its range, and the ticks that are written beside it.

use std::ops::Range;

use plotters::{
    coord::{
        ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter},
        types::RangedCoordf64,
    },
    prelude::{IntoLogRange, LogCoord, Ranged},
};

/// An axis of a chart.
#[derive(Debug, Clone)]
pub struct Axis {
    pub(super) name: String,
    log: bool,
    range: Option<(f64, f64)>,
}

impl Axis {
    /// An axis on which equal differences are equally long. The name holds the unit.
    #[must_use]
    pub fn linear(name: impl Into<String>) -> Self {
        Self { name: name.into(), log: false, range: None }
    }

    /// An axis on which equal ratios are equally long; values that are not above 0 have no place on it.
    #[must_use]
    pub fn log(name: impl Into<String>) -> Self {
        Self { log: true, ..Self::linear(name) }
    }

    /// Shows exactly this range; without it, or if it is empty, the range is what the data needs.
    #[must_use]
    pub fn range(self, low: f64, high: f64) -> Self {
        Self { range: Some((low, high)), ..self }
    }

    /// The axis for a chart that shows these values, with some room beside them.
    pub(super) fn scale(&self, values: impl Iterator<Item = f64>) -> AxisScale {
        let usable = values.filter(|value| value.abs() < 1e100 && (!self.log || *value > 0.0));
        let (low, high) =
            usable.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
        let given = self.range.filter(|(low, high)| low < high && (!self.log || *low > 0.0));
        let (low, high) = given.unwrap_or_else(|| match (low, high) {
            _ if low > high => (0.1, 1.0),
            _ if self.log => {
                // No less than a factor of four, so that there are ticks.
                let room = (high / low).powf(0.06).max(1.15) * (4.0 * low / high).max(1.0).sqrt();
                (low / room, high * room)
            }
            _ => {
                let span = if high > low { high - low } else { high.abs().max(1.0) };
                // What starts near zero starts at zero.
                (if low >= 0.0 && low < span { 0.0 } else { low - span * 0.06 }, high + span * 0.06)
            }
        });
        if self.log { AxisScale::Log((low..high).log_scale().into()) } else { AxisScale::Linear((low..high).into()) }
    }
}

/// An axis whose range is settled.
pub(super) enum AxisScale {
    Linear(RangedCoordf64),
    Log(LogCoord<f64>),
}

impl Ranged for AxisScale {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, pixels: (i32, i32)) -> i32 {
        match self {
            Self::Linear(axis) => axis.map(value, pixels),
            Self::Log(axis) => axis.map(value, pixels),
        }
    }

    fn range(&self) -> Range<f64> {
        match self {
            Self::Linear(axis) => axis.range(),
            Self::Log(axis) => axis.range(),
        }
    }

    /// The ticks are those of plotters, except on a logarithmic axis that spans few powers of ten: plotters would mark these alone.
    fn key_points<Hint: KeyPointHint>(&self, hint: Hint) -> Vec<f64> {
        let Range { start, end } = self.range();
        let decades = (end / start).log10();
        match self {
            Self::Linear(axis) => axis.key_points(hint),
            Self::Log(_) if decades < 1.0 => RangedCoordf64::from(start..end).key_points(hint),
            Self::Log(axis) if decades * 3.0 > hint.bold_points() as f64 => axis.key_points(hint),
            Self::Log(_) => {
                let times: &[i32] =
                    if hint.weight().allow_light_points() { &[1, 2, 3, 4, 5, 6, 7, 8, 9] } else { &[1, 2, 5] };
                let powers = start.log10().floor() as i32..=end.log10().floor() as i32;
                let values = powers.flat_map(|power| times.iter().map(move |n| f64::from(*n) * 10f64.powi(power)));
                values.filter(|value| (start..=end).contains(value)).collect()
            }
        }
    }
}

impl ValueFormatter<f64> for AxisScale {
    /// Writes a value with no more digits than it needs, and with commas between thousands.
    fn format_ext(&self, value: &f64) -> String {
        let Range { start, end } = self.range();
        // Sums of steps are not quite round, and zero has no sign.
        let value = if value.abs() < (end - start) * 1e-9 && start <= 0.0 { 0.0 } else { *value };
        let mut text = format!("{value:.8e}").parse::<f64>().unwrap_or(value).to_string();
        let mut at = text.find('.').unwrap_or(text.len());
        while at > 3 + usize::from(text.starts_with('-')) {
            at -= 3;
            text.insert(at, ',');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use plotters::coord::ranged1d::BoldPoints;

    use super::*;

    fn texts(axis: &Axis, values: &[f64]) -> String {
        let scale = axis.scale(values.iter().copied());
        let ticks = scale.key_points(BoldPoints(11));
        ticks.iter().map(|tick| scale.format_ext(tick)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn ticks_are_round_and_readable() {
        assert_eq!(texts(&Axis::linear("").range(-0.2, 0.2), &[]), "-0.2 -0.15 -0.1 -0.05 0 0.05 0.1 0.15 0.2");
        assert_eq!(texts(&Axis::linear(""), &[12.0, 2900.0]), "0 500 1,000 1,500 2,000 2,500 3,000");
        assert_eq!(texts(&Axis::log(""), &[0.5, 90.0]), "0.5 1 2 5 10 20 50 100");
        assert_eq!(
            texts(&Axis::log("").range(0.0009, 2e6), &[]),
            "0.001 0.01 0.1 1 10 100 1,000 10,000 100,000 1,000,000"
        );
        assert_eq!(texts(&Axis::log("").range(2.0, 9.0), &[]), "2 3 4 5 6 7 8 9");
    }

    #[test]
    fn any_values_have_a_scale() {
        for values in [&[][..], &[0.0], &[5.0, 5.0], &[f64::NAN, -1.0, 1e300], &[f64::INFINITY, 3.0]] {
            for axis in [Axis::linear("x"), Axis::log("x"), Axis::log("x").range(0.0, 0.0)] {
                let range = axis.scale(values.iter().copied()).range();
                assert!(range.start < range.end, "{range:?}");
                assert!(texts(&axis, values).len() < 200);
            }
        }
    }
}
