//! Non-maximum suppression: of boxes of one class that overlap, only the best is kept.

use std::cmp::Ordering;

use super::Detection;

/// Only so many of the best boxes are looked at, which is as many as Ultralytics' `max_nms`.
const MOST_CANDIDATES: usize = 30_000;

/// Orders by score, the best first; at equal scores the lower class comes first, so that answers do not depend on chance.
pub(super) fn best_first(a: &Detection, b: &Detection) -> Ordering {
    b.score.total_cmp(&a.score).then(a.class_id.cmp(&b.class_id))
}

/// Sorts best first, then drops each box that overlaps a kept one of its class by more than `iou`; stops at `most`.
///
/// It costs `O(kept · n)` after the sort. It works in any unit whose two axes are each scaled evenly, so it can run before
/// boxes are mapped back to the image.
pub(super) fn suppress(mut found: Vec<Detection>, iou: f32, most: usize) -> Vec<Detection> {
    found.sort_by(best_first);
    // A request may ask for every score and every overlap; without a bound all boxes would be compared with all.
    found.truncate(MOST_CANDIDATES);
    let mut kept: Vec<Detection> = Vec::with_capacity(most.min(found.len()));
    for candidate in found {
        if kept.len() == most {
            break;
        }
        let hidden = kept.iter().any(|k| k.class_id == candidate.class_id && k.bbox.iou(&candidate.bbox) > iou);
        if !hidden {
            kept.push(candidate);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::vision::bbox::BBox;

    fn detection(class_id: usize, score: f32, x: f32) -> Detection {
        Detection { class_id, score, bbox: BBox { x1: x, y1: 0.0, x2: x + 10.0, y2: 10.0 } }
    }

    #[test]
    fn the_better_of_two_that_overlap_stays() {
        let kept = suppress(vec![detection(0, 0.5, 0.0), detection(0, 0.9, 1.0), detection(0, 0.4, 50.0)], 0.5, 10);
        assert_eq!(kept, [detection(0, 0.9, 1.0), detection(0, 0.4, 50.0)]);
    }

    #[test]
    fn classes_do_not_hide_each_other() {
        assert_eq!(suppress(vec![detection(0, 0.5, 0.0), detection(1, 0.9, 0.0)], 0.5, 10).len(), 2);
    }

    #[test]
    fn at_most_as_many_as_asked_for() {
        let many = (0..5).map(|i| detection(0, 0.9, 100.0 * i as f32)).collect::<Vec<_>>();
        assert_eq!(suppress(many.clone(), 0.5, 3).len(), 3);
        assert_eq!(suppress(many, 0.5, 0), []);
    }

    proptest! {
        #[test]
        fn no_two_kept_boxes_of_a_class_overlap_and_scores_fall(
            boxes in proptest::collection::vec((0usize..3, 0.0f32..1.0, 0.0f32..60.0), 0..60), iou in 0.0f32..1.0
        ) {
            let found: Vec<_> = boxes.iter().map(|&(class, score, x)| detection(class, score, x)).collect();
            let kept = suppress(found.clone(), iou, 100);
            prop_assert!(kept.is_sorted_by(|a, b| a.score >= b.score));
            for (i, a) in kept.iter().enumerate() {
                prop_assert!(kept[..i].iter().all(|b| a.class_id != b.class_id || a.bbox.iou(&b.bbox) <= iou));
            }
            // Whatever was left out overlaps something that stayed.
            for lost in found.iter().filter(|lost| !kept.contains(lost)) {
                prop_assert!(kept.iter().any(|k| k.class_id == lost.class_id && k.bbox.iou(&lost.bbox) > iou));
            }
        }
    }
}
