//! How far two lists of detections for the same image agree.

use super::Detection;

/// Boxes that overlap by less are not of the same thing.
const SAME_THING: f32 = 0.5;

/// The F1 of one list by the other: twice the number of matches over the number of all boxes, and 1 where neither has
/// any. Boxes match greedily by score, within a class, from an IoU of one half on.
pub(in crate::tasks) fn agreement(one: &[Detection], other: &[Detection]) -> f64 {
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
    if all == 0 { 1.0 } else { 2.0 * f64::from(matched) / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vision::bbox::BBox;

    fn found(class_id: usize, x: f32) -> Detection {
        Detection { class_id, score: 0.9, bbox: BBox { x1: x, y1: 0.0, x2: x + 10.0, y2: 10.0 } }
    }

    #[test]
    fn agreement_is_the_f1_of_one_list_by_the_other() {
        assert_eq!(agreement(&[], &[]), 1.0);
        assert_eq!(agreement(&[found(0, 0.0)], &[]), 0.0);
        assert_eq!(agreement(&[found(0, 0.0), found(1, 50.0)], &[found(1, 51.0), found(0, 1.0)]), 1.0);
        // Another class, too far away, and a thing that only one has.
        assert_eq!(agreement(&[found(0, 0.0)], &[found(1, 0.0)]), 0.0);
        assert_eq!(agreement(&[found(0, 0.0)], &[found(0, 6.0)]), 0.0);
        assert_eq!(agreement(&[found(0, 0.0)], &[found(0, 0.0), found(0, 90.0), found(0, 200.0)]), 0.5);
    }
}
