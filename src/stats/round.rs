//! Rounds numbers for output, so that a reader sees 0.91 and not 0.9100000262260437.

/// Rounds to a number of decimal places.
#[must_use]
pub fn places(value: impl Into<f64>, places: i32) -> f64 {
    let value = value.into();
    let unit = 10f64.powi(places);
    // Adding 0 turns -0 into 0.
    let rounded = (value * unit).round() / unit + 0.0;
    if rounded.is_finite() { rounded } else { value }
}

/// Rounds to a number of significant digits, for numbers of any size such as the price of a request.
#[must_use]
pub fn significant(value: f64, digits: usize) -> f64 {
    format!("{value:.*e}", digits.saturating_sub(1)).parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_float_shows_its_binary_tail() {
        assert_eq!(places(0.91f32, 4), 0.91);
        assert_eq!(places(39.700_4f32, 2), 39.7);
        assert_eq!(places(-0.000_04, 4).to_string(), "0");
        assert_eq!(places(f64::MAX, 2), f64::MAX);
        assert!(places(f64::NAN, 2).is_nan());
    }

    #[test]
    fn small_prices_keep_their_digits() {
        assert_eq!(significant(1.700_000_000_3e-7, 4), 1.7e-7);
        assert_eq!(significant(0.0, 4), 0.0);
        assert_eq!(significant(12_345.678, 4), 12_350.0);
    }
}
