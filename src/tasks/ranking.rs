//! Ranked answers and whether each is right: precision, recall, and what is computed from them.
//!
//! Average precision is the area under the precision-recall curve with precision made monotone, over all points (PASCAL
//! VOC 2010).

use serde::Serialize;

/// What a model is worth when everything below a score is left out.
#[derive(Debug, Clone, Copy, Default, Serialize, PartialEq)]
pub struct OperatingPoint {
    /// The score.
    pub min_score: f32,
    /// The share of answers that hit.
    pub precision: f64,
    /// The share of things that were hit.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
}

/// Answers of a kind with their scores, best first, and whether each hit; and how many there were to hit.
#[derive(Debug, Clone, Default)]
pub(super) struct RankedAnswers {
    pub(super) hits: Vec<(f32, bool)>,
    pub(super) labelled: usize,
}

impl RankedAnswers {
    /// Recall and precision after each answer.
    fn curve(&self) -> impl Iterator<Item = (f64, f64)> {
        let mut hits = 0.0;
        let labelled = self.labelled.max(1) as f64;
        self.hits.iter().enumerate().map(move |(at, (_, hit))| {
            hits += f64::from(u8::from(*hit));
            (hits / labelled, hits / (at + 1) as f64)
        })
    }

    /// Score, recall and precision where a threshold can be: behind the last of equal scores.
    fn thresholds(&self) -> impl Iterator<Item = (f32, f64, f64)> {
        let next = self.hits.iter().skip(1).map(|(score, _)| Some(*score)).chain([None]);
        let points = self.curve().zip(&self.hits).zip(next);
        points
            .filter(|((_, (score, _)), next)| Some(*score) != *next)
            .map(|(((recall, precision), (score, _)), _)| (*score, recall, precision))
    }

    /// The area under the precision-recall curve.
    pub(super) fn average_precision(&self) -> f64 {
        let mut before = 0.0;
        monotone(self.curve().collect()).into_iter().fold(0.0, |area, (recall, precision)| {
            let step = recall - before;
            before = recall;
            area + step * precision
        })
    }

    /// Precision at recall 0.00, 0.01 … 1.00.
    pub(super) fn precision_at_recall(&self) -> Vec<f64> {
        let curve = monotone(self.thresholds().map(|(_, recall, precision)| (recall, precision)).collect());
        (0..=100)
            .map(|percent| {
                let wanted = f64::from(percent) / 100.0;
                let at = curve.partition_point(|(recall, _)| *recall < wanted);
                curve.get(at).map_or(0.0, |(_, precision)| *precision)
            })
            .collect()
    }

    /// Where F1 is best.
    pub(super) fn best(&self) -> OperatingPoint {
        let all = self.thresholds().map(|(score, recall, precision)| operating(score, precision, recall));
        all.max_by(|a, b| a.f1.total_cmp(&b.f1)).unwrap_or_default()
    }

    /// Where everything below a score is left out.
    pub(super) fn at(&self, min_score: f32) -> OperatingPoint {
        let last = self.thresholds().take_while(|(score, ..)| *score >= min_score).last();
        let (_, recall, precision) = last.unwrap_or((min_score, 0.0, 0.0));
        operating(min_score, precision, recall)
    }
}

/// Recall and precision, with precision made the best that is reached at this recall or a higher one.
fn monotone(mut curve: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let mut best = 0.0_f64;
    for (_, precision) in curve.iter_mut().rev() {
        best = best.max(*precision);
        *precision = best;
    }
    curve
}

fn operating(min_score: f32, precision: f64, recall: f64) -> OperatingPoint {
    OperatingPoint { min_score, precision, recall, f1: harmonic(precision, recall) }
}

/// The harmonic mean; 0 where both are.
pub(super) fn harmonic(precision: f64, recall: f64) -> f64 {
    if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
}
