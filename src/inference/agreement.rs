//! How far two predictions for the same image agree.

use crate::vision::answer::{Class, Detection, Prediction};

/// Boxes that overlap by less are not of the same thing.
const SAME_THING: f32 = 0.5;

/// How far two answers agree: for boxes, twice those that match over all (the F1 of one by the other; 1 where neither
/// found anything), greedily by score, of one class and with an IoU of at least one half; for classes, 1 where the best
/// is the same, else 0.
pub(super) fn agreement(one: &Prediction, other: &Prediction) -> f64 {
    match (one, other) {
        (Prediction::Detections(one), Prediction::Detections(other)) => {
            let mut free: Vec<_> = other.iter().collect();
            let mut matched = 0;
            for found in one {
                let overlap = |candidate: &&Detection| candidate.bbox.iou(&found.bbox);
                let best = free
                    .iter()
                    .enumerate()
                    .filter(|(_, candidate)| candidate.class_id == found.class_id)
                    .max_by(|a, b| overlap(a.1).total_cmp(&overlap(b.1)));
                if let Some((place, _)) = best.filter(|(_, candidate)| overlap(candidate) >= SAME_THING) {
                    free.swap_remove(place);
                    matched += 1;
                }
            }
            let all = one.len() + other.len();
            #[expect(clippy::cast_precision_loss, reason = "few")]
            if all == 0 { 1.0 } else { 2.0 * f64::from(matched) / all as f64 }
        }
        (Prediction::Classes(one), Prediction::Classes(other)) => {
            let best = |classes: &[Class]| classes.first().map(|class| class.class_id);
            f64::from(u8::from(best(one) == best(other)))
        }
        (Prediction::Detections(_), Prediction::Classes(_)) | (Prediction::Classes(_), Prediction::Detections(_)) => {
            0.0
        }
    }
}
