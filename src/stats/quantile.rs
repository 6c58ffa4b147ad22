//! A quantile of a sorted list by the nearest rank: always one of its values, never a mean of two.

/// The least value that a share `q` (0 to 1) of the ascending values does not exceed; none where there are no values.
///
/// ```
/// use ounce::stats::quantile;
///
/// assert_eq!(quantile(&[1, 2, 3, 4], 0.5), Some(2));
/// assert_eq!(quantile(&[1, 2, 3, 4], 0.99), Some(4));
/// assert_eq!(quantile::<u32>(&[], 0.5), None);
/// ```
#[must_use]
pub fn quantile<T: Copy>(ascending: &[T], q: f64) -> Option<T> {
    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "few")]
    let rank = (q * ascending.len() as f64).ceil() as usize;
    ascending.get(rank.max(1) - 1).copied()
}
