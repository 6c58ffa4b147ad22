//! How good detections are: average precision.
//!
//! A detection hits if it overlaps a labelled thing of its class, that no better detection took, by at least some IoU. AP
//! is the area under the precision-recall curve with precision made monotone, all points (PASCAL VOC 2010); AP50 asks
//! for an IoU of 0.5, AP50:95 is the mean over 0.50, 0.55 … 0.95 (COCO).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::vision::answer::{BBox, Detection};

/// A score of a detector on labelled pictures. All in 0..=1.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct DetectionScore {
    /// Average precision at IoU 0.5, the mean over the classes.
    pub ap50: f64,
    /// The mean of the average precisions at IoU 0.50, 0.55 … 0.95.
    pub ap50_95: f64,
    /// Where F1 is best.
    pub best: Operating,
    /// At the score that the manifest asks for.
    pub shipped: Operating,
    /// Each class that is labelled in these pictures.
    pub classes: Vec<ClassAp>,
    /// Precision at recall 0.00, 0.01 … 1.00, all classes together.
    pub precision_at_recall: Vec<f64>,
}

/// What one class scores.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct ClassAp {
    /// Its name.
    pub label: String,
    /// How many were labelled.
    pub labelled: usize,
    /// Average precision at IoU 0.5.
    pub ap50: f64,
}

/// What a detector is worth when everything below a score is left out.
#[derive(Debug, Clone, Copy, Default, Serialize, PartialEq)]
pub struct Operating {
    /// The score.
    pub min_score: f32,
    /// The share of detections that hit.
    pub precision: f64,
    /// The share of things that were hit.
    pub recall: f64,
    /// Their harmonic mean.
    pub f1: f64,
}

/// What was found in a picture and what is truly there, in the same unit.
#[derive(Debug, Clone, Default)]
pub(super) struct Compared {
    pub found: Vec<Detection>,
    pub truth: Vec<(usize, BBox)>,
}

/// Scores and hits of all detections of a kind, best first, and how many there were to hit.
#[derive(Debug, Clone, Default)]
struct Ranked {
    hits: Vec<(f32, bool)>,
    labelled: usize,
}

/// What was found of a class and what there is of it, with the number of the picture.
#[derive(Debug, Default)]
struct OfClass {
    found: Vec<(usize, Detection)>,
    truth: BTreeMap<usize, Vec<BBox>>,
}

/// Scores what was found in all pictures. Classes that are nowhere labelled do not count.
pub(super) fn score(pictures: &[Compared], labels: &[String], min_score: f32) -> DetectionScore {
    let mut classes: BTreeMap<usize, OfClass> = BTreeMap::new();
    for (at, picture) in pictures.iter().enumerate() {
        for (class, bbox) in picture.truth.iter().filter(|(class, _)| *class < labels.len()) {
            classes.entry(*class).or_default().truth.entry(at).or_default().push(*bbox);
        }
    }
    for (at, picture) in pictures.iter().enumerate() {
        for found in &picture.found {
            classes.entry(found.class_id).and_modify(|class| class.found.push((at, *found)));
        }
    }
    let (mut all, mut named, mut strict) = (Ranked::default(), Vec::new(), 0.0);
    for (class, mut of_class) in classes {
        of_class.found.sort_by(|a, b| b.1.score.total_cmp(&a.1.score));
        let ranked = of_class.ranked(0.5);
        let overlaps = (0..10).map(|step| 0.5 + 0.05 * step as f32);
        strict += overlaps.map(|overlap| of_class.ranked(overlap).average_precision()).sum::<f64>() / 10.0;
        let (label, ap50) = (labels[class].clone(), ranked.average_precision());
        named.push(ClassAp { label, labelled: ranked.labelled, ap50 });
        all.labelled += ranked.labelled;
        all.hits.extend(ranked.hits);
    }
    all.hits.sort_by(|a, b| b.0.total_cmp(&a.0));
    let count = named.len().max(1) as f64;
    DetectionScore {
        ap50: named.iter().map(|class| class.ap50).sum::<f64>() / count,
        ap50_95: strict / count,
        best: all.best(),
        shipped: all.at(min_score),
        classes: named,
        precision_at_recall: all.precision_at_recall(),
    }
}

impl OfClass {
    /// Which detections hit, at that IoU.
    fn ranked(&self, overlap: f32) -> Ranked {
        let mut free = self.truth.clone();
        let hits = self.found.iter().map(|(at, found)| {
            let things = free.entry(*at).or_default();
            let overlaps = things.iter().enumerate().map(|(thing, bbox)| (found.bbox.iou(bbox), thing));
            let best = overlaps.max_by(|a, b| a.0.total_cmp(&b.0)).filter(|(iou, _)| *iou >= overlap);
            if let Some((_, thing)) = best {
                things.swap_remove(thing);
            }
            (found.score, best.is_some())
        });
        Ranked { hits: hits.collect(), labelled: self.truth.values().map(Vec::len).sum() }
    }
}

impl Ranked {
    /// Recall and precision after each detection.
    fn curve(&self) -> impl Iterator<Item = (f64, f64)> {
        let mut hits = 0.0;
        let labelled = self.labelled.max(1) as f64;
        self.hits.iter().enumerate().map(move |(at, (_, hit))| {
            hits += f64::from(u8::from(*hit));
            (hits / labelled, hits / (at + 1) as f64)
        })
    }

    /// The same, only where a threshold can be: behind the last of equal scores.
    fn thresholds(&self) -> impl Iterator<Item = (f32, f64, f64)> {
        let next = self.hits.iter().skip(1).map(|(score, _)| Some(*score)).chain([None]);
        let points = self.curve().zip(&self.hits).zip(next);
        points
            .filter(|((_, (score, _)), next)| Some(*score) != *next)
            .map(|(((recall, precision), (score, _)), _)| (*score, recall, precision))
    }

    fn average_precision(&self) -> f64 {
        let mut before = 0.0;
        monotone(self.curve().collect()).into_iter().fold(0.0, |area, (recall, precision)| {
            let step = recall - before;
            before = recall;
            area + step * precision
        })
    }

    fn precision_at_recall(&self) -> Vec<f64> {
        let curve = monotone(self.thresholds().map(|(_, recall, precision)| (recall, precision)).collect());
        (0..=100)
            .map(|percent| {
                let wanted = f64::from(percent) / 100.0;
                let at = curve.partition_point(|(recall, _)| *recall < wanted);
                curve.get(at).map_or(0.0, |(_, precision)| *precision)
            })
            .collect()
    }

    fn best(&self) -> Operating {
        let all = self.thresholds().map(|(score, recall, precision)| operating(score, precision, recall));
        all.max_by(|a, b| a.f1.total_cmp(&b.f1)).unwrap_or_default()
    }

    fn at(&self, min_score: f32) -> Operating {
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

/// Precision at recall 0.00, 0.01 … 1.00 of answers with their scores, best first, and whether each was right.
pub(super) fn precision_at_recall(hits: Vec<(f32, bool)>) -> Vec<f64> {
    let labelled = hits.iter().filter(|(_, hit)| *hit).count();
    Ranked { hits, labelled }.precision_at_recall()
}

fn operating(min_score: f32, precision: f64, recall: f64) -> Operating {
    Operating { min_score, precision, recall, f1: harmonic(precision, recall) }
}

/// The harmonic mean; 0 where both are.
pub(super) fn harmonic(precision: f64, recall: f64) -> f64 {
    if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bbox(x: f32) -> BBox {
        BBox { x1: x, y1: 0.0, x2: x + 10.0, y2: 10.0 }
    }

    fn found(x: f32, score: f32) -> Detection {
        Detection { class_id: 0, score, bbox: bbox(x) }
    }

    #[test]
    fn a_thing_is_hit_once_and_misses_count() {
        // Best first: hit, the same thing again, a miss, hit; one thing is never found.
        let picture = Compared {
            found: vec![found(0.0, 0.9), found(1.0, 0.8), found(200.0, 0.7), found(101.0, 0.6)],
            truth: vec![(0, bbox(0.0)), (0, bbox(100.0)), (0, bbox(300.0))],
        };
        let score = score(&[picture], &["person".to_owned()], 0.75);
        // Recall 1/3 at precision 1, then 2/3 at 2/4.
        assert!((score.ap50 - (1.0 / 3.0 + 0.5 / 3.0)).abs() < 1e-9, "{score:?}");
        assert!((score.shipped.precision - 0.5).abs() < 1e-9 && (score.shipped.recall - 1.0 / 3.0).abs() < 1e-9);
        assert!((score.best.f1 - 4.0 / 7.0).abs() < 1e-9 && (score.best.min_score - 0.6).abs() < 1e-6);
        let at = &score.precision_at_recall;
        assert_eq!((at[0], at[33], at[34], at[66], at[67]), (1.0, 1.0, 0.5, 0.5, 0.0));
        // An overlap of 9 in 11 holds up to IoU 0.80: 0.5 of the thing at 100 is then lost.
        let strict = (7.0 * score.ap50 + 3.0 / 3.0) / 10.0;
        assert!((score.ap50_95 - strict).abs() < 1e-9, "{score:?} {strict}");
    }

    #[test]
    fn equal_scores_stand_or_fall_together() {
        let picture = Compared {
            found: vec![found(0.0, 0.5), found(100.0, 0.5), found(200.0, 0.5), found(300.0, 0.5)],
            truth: vec![(0, bbox(0.0)), (0, bbox(100.0))],
        };
        let score = score(&[picture], &["person".to_owned()], 0.5);
        assert_eq!((score.best.precision, score.best.recall), (0.5, 1.0));
        assert_eq!(score.shipped, score.best);
        assert_eq!((score.precision_at_recall[0], score.precision_at_recall[100]), (0.5, 0.5));
    }

    #[test]
    fn classes_that_nobody_labelled_do_not_count() {
        let other = Detection { class_id: 1, ..found(50.0, 0.99) };
        let picture = Compared { found: vec![other, found(0.0, 0.5)], truth: vec![(0, bbox(0.0)), (7, bbox(80.0))] };
        let score = score(&[picture], &["person".to_owned(), "dog".to_owned()], 0.3);
        assert_eq!((score.ap50, score.classes.len()), (1.0, 1));
    }

    #[test]
    fn nothing_found_is_zero_and_nothing_to_find_is_no_number_gone_wrong() {
        let lost = Compared { found: Vec::new(), truth: vec![(0, bbox(0.0))] };
        assert_eq!(score(&[lost], &["person".to_owned()], 0.3).ap50, 0.0);
        let empty = Compared { found: vec![found(0.0, 0.9)], truth: Vec::new() };
        assert_eq!(score(&[empty], &["person".to_owned()], 0.3).ap50, 0.0);
    }
}
