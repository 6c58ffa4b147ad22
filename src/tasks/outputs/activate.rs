//! Turns raw scores into probabilities.

use crate::manifest::Activation;

pub(in crate::tasks) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Softmax, in place. The largest value is subtracted first, so that nothing overflows.
pub(in crate::tasks) fn softmax(values: &mut [f32]) {
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut sum = 0.0;
    for value in values.iter_mut() {
        *value = (*value - largest).exp();
        sum += *value;
    }
    values.iter_mut().for_each(|value| *value /= sum);
}

/// Applies an activation to one row of class scores, in place.
pub(in crate::tasks) fn activate(values: &mut [f32], activation: Activation) {
    match activation {
        Activation::None => {}
        Activation::Softmax => softmax(values),
        Activation::Sigmoid => values.iter_mut().for_each(|value| *value = sigmoid(*value)),
    }
}

/// The mean of the indices 0, 1, 2, … weighted by the softmax of `values`: what a distance distribution means
/// (generalised focal loss).
pub(in crate::tasks) fn expectation(values: &[f32]) -> f32 {
    let largest = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (mut sum, mut weighted) = (0.0, 0.0);
    for (index, value) in values.iter().enumerate() {
        let weight = (value - largest).exp();
        sum += weight;
        weighted += weight * index as f32;
    }
    weighted / sum
}

/// The largest value and its index; `None` when there is none (all NaN, or no values).
pub(in crate::tasks) fn best(values: &[f32]) -> Option<(usize, f32)> {
    let mut best: Option<(usize, f32)> = None;
    for (index, &value) in values.iter().enumerate() {
        if value > best.map_or(f32::NEG_INFINITY, |(_, most)| most) {
            best = Some((index, value));
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_add_up_even_for_huge_scores() {
        let mut values = [1000.0, 1000.0, -1000.0];
        softmax(&mut values);
        assert_eq!(values, [0.5, 0.5, 0.0]);
        assert_eq!(sigmoid(0.0), 0.5);
    }

    #[test]
    fn an_even_distribution_means_its_middle() {
        assert!((expectation(&[2.0; 8]) - 3.5).abs() < 1e-6);
        assert!((expectation(&[0.0, 0.0, 50.0]) - 2.0).abs() < 1e-6);
    }

    #[test]
    fn the_best_ignores_nan() {
        assert_eq!(best(&[f32::NAN, 1.0, 3.0, 3.0]), Some((2, 3.0)));
        assert_eq!(best(&[f32::NAN]), None);
        assert_eq!(best(&[]), None);
    }
}
