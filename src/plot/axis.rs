//! An axis: its name, its range, and where its ticks are.

/// An axis of a chart.
#[derive(Debug, Clone)]
pub struct Axis {
    name: String,
    log: bool,
    range: Option<(f64, f64)>,
}

impl Axis {
    /// Equal steps of the value are equally long. The name holds the unit.
    #[must_use]
    pub fn linear(name: impl Into<String>) -> Self {
        Self { name: name.into(), log: false, range: None }
    }

    /// Equal ratios of the value are equally long; values that are not above 0 have no place on it.
    #[must_use]
    pub fn log(name: impl Into<String>) -> Self {
        Self { log: true, ..Self::linear(name) }
    }

    /// Shows exactly this range; without it, the range is what the data needs.
    #[must_use]
    pub fn range(self, low: f64, high: f64) -> Self {
        Self { range: Some((low, high)), ..self }
    }

    /// The axis for a chart that shows these values.
    pub(super) fn scale(&self, values: impl Iterator<Item = f64>) -> Scale {
        let usable = values.filter(|value| value.is_finite() && (!self.log || *value > 0.0));
        let seen = usable.fold(None, |seen: Option<(f64, f64)>, value| {
            Some(seen.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
        });
        let (low, high) = self.range.or_else(|| Some(roomy(seen?, self.log))).unwrap_or((0.1, 1.0));
        // A range that is none is shown somehow rather than divided by.
        let (low, high) = if low < high { (low, high) } else { (low, low + 1.0) };
        let low = if self.log { low.max(high * 1e-12) } else { low };
        Scale { name: self.name.clone(), log: self.log, low, high }
    }
}

/// The range with some room beside the data. What starts near zero starts at zero.
fn roomy((low, high): (f64, f64), log: bool) -> (f64, f64) {
    if log {
        // No less than a factor of four, so that there are ticks.
        let lacking = (4.0 / (high / low)).max(1.0).sqrt();
        let room = (high / low).powf(0.06).max(1.15) * lacking;
        return (low / room, high * room);
    }
    let span = if high > low { high - low } else { high.abs().max(1.0) };
    let below = if low >= 0.0 && low < span { 0.0 } else { low - span * 0.06 };
    (below, high + span * 0.06)
}

/// An axis whose range is settled.
#[derive(Debug, Clone)]
pub(super) struct Scale {
    pub name: String,
    log: bool,
    pub low: f64,
    pub high: f64,
}

/// A place on an axis that has a line, and where there is room for it, a text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Tick {
    pub value: f64,
    pub text: Option<String>,
}

impl Scale {
    /// How far along the axis a value is, from 0 to 1 inside of the range; nothing where it has no place.
    pub fn share(&self, value: f64) -> Option<f64> {
        let share = if self.log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        share.is_finite().then_some(share)
    }

    /// Ticks at round values, with about `most` texts at most.
    pub fn ticks(&self, most: usize) -> Vec<Tick> {
        let decades = (self.high / self.low).log10();
        if self.log && decades > 0.9 { self.decades(most, decades) } else { self.steps(most) }
    }

    /// 1, 2, 5 of each power of ten have texts where there is room, else each power or every second, third, …
    fn decades(&self, most: usize, decades: f64) -> Vec<Tick> {
        let labelled: &[f64] = if decades * 3.0 <= most as f64 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let every = (decades / most as f64).ceil().max(1.0) as i32;
        let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let powers = (first..=last).filter(|power| power.rem_euclid(every) == 0);
        let lines: &[u32] = if every == 1 { &[1, 2, 3, 4, 5, 6, 7, 8, 9] } else { &[1] };
        powers
            .flat_map(|power| lines.iter().map(move |times| (f64::from(*times), power)))
            .map(|(times, power)| {
                // Parsed, since 10⁻³ by multiplication is 0.001000…02.
                let value = format!("{times}e{power}").parse().unwrap_or(0.0);
                Tick { value, text: labelled.contains(&times).then(|| format_value(value)) }
            })
            .filter(|tick| self.holds(tick.value))
            .collect()
    }

    fn steps(&self, most: usize) -> Vec<Tick> {
        let rough = (self.high - self.low) / most.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(power * 10.0);
        let decimals = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
        let mut at = (self.low / step - 1e-9).ceil();
        let mut ticks = Vec::new();
        while self.holds(at * step) && ticks.len() < 100 {
            let value = at * step;
            // Zero has no sign.
            let text = format!("{:.decimals$}", value + 0.0);
            ticks.push(Tick { value, text: Some(grouped(&text)) });
            at += 1.0;
        }
        ticks
    }

    fn holds(&self, value: f64) -> bool {
        self.share(value).is_some_and(|share| (-1e-9..=1.0 + 1e-9).contains(&share))
    }
}

/// A value with no more digits than it needs.
fn format_value(value: f64) -> String {
    if (1e-4..1e6).contains(&value.abs()) { grouped(&value.to_string()) } else { format!("{value:e}") }
}

/// Thousands of the whole part apart.
fn grouped(text: &str) -> String {
    let (whole, rest) = text.find('.').map_or((text, ""), |dot| text.split_at(dot));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut groups = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 && digits.len() > 4 {
            groups.push(',');
        }
        groups.push(digit);
    }
    format!("{sign}{groups}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis, values: &[f64], most: usize) -> Vec<String> {
        axis.scale(values.iter().copied()).ticks(most).into_iter().filter_map(|tick| tick.text).collect()
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(texts(&Axis::linear("").range(0.0, 1.0), &[], 5), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(texts(&Axis::linear(""), &[12.0, 59_000.0], 4), ["0", "20,000", "40,000", "60,000"]);
        assert_eq!(texts(&Axis::linear("").range(-0.2, 0.2), &[], 4), ["-0.2", "-0.1", "0.0", "0.1", "0.2"]);
        assert_eq!(texts(&Axis::log("").range(0.9, 110.0), &[], 9), ["1", "2", "5", "10", "20", "50", "100"]);
        assert_eq!(texts(&Axis::log("").range(0.001, 1e6), &[], 4), ["0.001", "1", "1000", "1e6"]);
        assert_eq!(texts(&Axis::log("").range(2.0, 9.0), &[], 4), ["2", "4", "6", "8"]);
    }

    #[test]
    fn any_values_have_a_scale() {
        for values in [&[][..], &[0.0], &[5.0, 5.0], &[f64::NAN, -1.0, 1e300]] {
            for axis in [Axis::linear("x"), Axis::log("x"), Axis::log("x").range(0.0, 0.0)] {
                let scale = axis.scale(values.iter().copied());
                assert!(scale.low < scale.high, "{scale:?}");
                assert!(scale.ticks(6).len() < 500);
            }
        }
    }

    #[test]
    fn equal_ratios_are_equally_long() {
        let scale = Axis::log("").range(1.0, 100.0).scale([].into_iter());
        assert!((scale.share(10.0).expect("inside") - 0.5).abs() < 1e-12);
        assert_eq!(scale.share(0.0), None);
        assert_eq!(scale.share(-3.0), None);
    }
}
