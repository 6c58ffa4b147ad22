//! How good detections are: average precision.
//!
//! A detection hits if it overlaps a labelled thing of its class, that no better detection took, by at least some IoU.
//! AP50 asks for an IoU of 0.5; AP50:95 is the mean over 0.50, 0.55 … 0.95 (COCO).

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Detection, TrueBox};
use crate::{
    tasks::{OperatingPoint, ranking::RankedAnswers},
    vision::bbox::BBox,
};

/// A score of a detector on labelled images. All in 0..=1.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct DetectionScore {
    /// Average precision at IoU 0.5, the mean over the classes.
    pub ap50: f64,
    /// The mean of the average precisions at IoU 0.50, 0.55 … 0.95.
    pub ap50_95: f64,
    /// At the score where F1 is best.
    pub best: OperatingPoint,
    /// At the score that the manifest asks for.
    pub shipped: OperatingPoint,
    /// Each class that is labelled in these images.
    pub classes: Vec<ClassAp>,
    /// Precision at recall 0.00, 0.01 … 1.00, all classes together.
    pub precision_at_recall: Vec<f64>,
}

/// The score of one class.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct ClassAp {
    /// Its name.
    pub label: String,
    /// How many things of it are labelled.
    pub labelled: usize,
    /// Average precision at IoU 0.5.
    pub ap50: f64,
}

/// Collects what a detector found in labelled images.
#[derive(Debug)]
pub struct DetectionScorer {
    labels: Vec<String>,
    images: Vec<ComparedImage>,
}

/// What was found in an image and what is truly there, in the same unit.
#[derive(Debug, Clone, Default)]
struct ComparedImage {
    found: Vec<Detection>,
    truth: Vec<(usize, BBox)>,
}

/// What was found of one class and what there is of it, each with the number of its image.
#[derive(Debug, Default)]
struct ComparedClass {
    found: Vec<(usize, Detection)>,
    truth: BTreeMap<usize, Vec<BBox>>,
}

impl DetectionScorer {
    /// A scorer that has seen nothing yet.
    #[must_use]
    pub(in crate::tasks) fn new(labels: &[String]) -> Self {
        Self { labels: labels.to_vec(), images: Vec::new() }
    }

    /// Takes in what was found in one image of that width and height.
    pub(in crate::tasks) fn observe(&mut self, found: &[Detection], truth: &[TrueBox], image_size: (u32, u32)) {
        let (width, height) = (image_size.0 as f32, image_size.1 as f32);
        let on_image = |thing: &TrueBox| {
            let [x1, y1, x2, y2] = thing.sides;
            (thing.class_id, BBox { x1: x1 * width, y1: y1 * height, x2: x2 * width, y2: y2 * height })
        };
        self.images.push(ComparedImage { found: found.to_vec(), truth: truth.iter().map(on_image).collect() });
    }

    /// The score over the first `class_count` classes.
    #[must_use]
    pub(in crate::tasks) fn score(&self, class_count: usize, min_score: f32) -> DetectionScore {
        score(&self.images, &self.labels[..class_count.min(self.labels.len())], min_score)
    }
}

/// Scores what was found in all images. Classes that are nowhere labelled do not count.
fn score(images: &[ComparedImage], labels: &[String], min_score: f32) -> DetectionScore {
    let mut classes: BTreeMap<usize, ComparedClass> = BTreeMap::new();
    for (at, image) in images.iter().enumerate() {
        for (class, bbox) in image.truth.iter().filter(|(class, _)| *class < labels.len()) {
            classes.entry(*class).or_default().truth.entry(at).or_default().push(*bbox);
        }
    }
    for (at, image) in images.iter().enumerate() {
        for found in &image.found {
            classes.entry(found.class_id).and_modify(|class| class.found.push((at, *found)));
        }
    }
    let (mut all, mut named, mut strict) = (RankedAnswers::default(), Vec::new(), 0.0);
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

impl ComparedClass {
    /// Ranks the detections, and says which of them hit at that IoU.
    fn ranked(&self, overlap: f32) -> RankedAnswers {
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
        RankedAnswers { hits: hits.collect(), labelled: self.truth.values().map(Vec::len).sum() }
    }
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
        let image = ComparedImage {
            found: vec![found(0.0, 0.9), found(1.0, 0.8), found(200.0, 0.7), found(101.0, 0.6)],
            truth: vec![(0, bbox(0.0)), (0, bbox(100.0)), (0, bbox(300.0))],
        };
        let score = score(&[image], &["person".to_owned()], 0.75);
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
        let image = ComparedImage {
            found: vec![found(0.0, 0.5), found(100.0, 0.5), found(200.0, 0.5), found(300.0, 0.5)],
            truth: vec![(0, bbox(0.0)), (0, bbox(100.0))],
        };
        let score = score(&[image], &["person".to_owned()], 0.5);
        assert_eq!((score.best.precision, score.best.recall), (0.5, 1.0));
        assert_eq!(score.shipped, score.best);
        assert_eq!((score.precision_at_recall[0], score.precision_at_recall[100]), (0.5, 0.5));
    }

    #[test]
    fn classes_that_nobody_labelled_do_not_count() {
        let other = Detection { class_id: 1, ..found(50.0, 0.99) };
        let image = ComparedImage { found: vec![other, found(0.0, 0.5)], truth: vec![(0, bbox(0.0)), (7, bbox(80.0))] };
        let score = score(&[image], &["person".to_owned(), "dog".to_owned()], 0.3);
        assert_eq!((score.ap50, score.classes.len()), (1.0, 1));
    }

    #[test]
    fn nothing_found_is_zero_and_nothing_to_find_is_no_number_gone_wrong() {
        let lost = ComparedImage { found: Vec::new(), truth: vec![(0, bbox(0.0))] };
        assert_eq!(score(&[lost], &["person".to_owned()], 0.3).ap50, 0.0);
        let empty = ComparedImage { found: vec![found(0.0, 0.9)], truth: Vec::new() };
        assert_eq!(score(&[empty], &["person".to_owned()], 0.3).ap50, 0.0);
    }
}
