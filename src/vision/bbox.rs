//! A rectangle, and how far two of them overlap.

/// A rectangle with sides along the axes. What its numbers are counted in (pixels of the image, pixels of the network's
/// input, …) is said where one is kept.
///
/// ```
/// use ounce::vision::bbox::BBox;
///
/// let cat = BBox { x1: 0.0, y1: 0.0, x2: 20.0, y2: 10.0 };
/// let its_right_half = BBox { x1: 10.0, ..cat };
/// assert_eq!(cat.iou(&its_right_half), 0.5);
/// assert_eq!(cat.iou(&BBox::centred(100.0, 100.0, 20.0, 10.0)), 0.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct BBox {
    /// Left.
    pub x1: f32,
    /// Top.
    pub y1: f32,
    /// Right.
    pub x2: f32,
    /// Bottom.
    pub y2: f32,
}

impl BBox {
    /// The rectangle with this centre, width and height.
    #[must_use]
    pub fn centred(cx: f32, cy: f32, width: f32, height: f32) -> Self {
        Self { x1: cx - width / 2.0, y1: cy - height / 2.0, x2: cx + width / 2.0, y2: cy + height / 2.0 }
    }

    /// Width times height; 0 when the right side is left of the left one or the bottom above the top.
    #[must_use]
    pub fn area(&self) -> f32 {
        (self.x2 - self.x1).max(0.0) * (self.y2 - self.y1).max(0.0)
    }

    /// Intersection over union: from 0 (the two do not touch) to 1 (they are the same).
    #[must_use]
    pub fn iou(&self, other: &Self) -> f32 {
        let common = Self {
            x1: self.x1.max(other.x1),
            y1: self.y1.max(other.y1),
            x2: self.x2.min(other.x2),
            y2: self.y2.min(other.y2),
        }
        .area();
        let union = self.area() + other.area() - common;
        if union > 0.0 { common / union } else { 0.0 }
    }

    /// Whether this is a rectangle at all: four finite numbers, the right side right of the left, the bottom below the top.
    #[must_use]
    pub fn is_proper(&self) -> bool {
        [self.x1, self.y1, self.x2, self.y2].iter().all(|side| side.is_finite())
            && self.x2 > self.x1
            && self.y2 > self.y1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlap_is_shared_over_joint_area() {
        let a = BBox { x1: 0.0, y1: 0.0, x2: 2.0, y2: 2.0 };
        let b = BBox { x1: 1.0, y1: 0.0, x2: 3.0, y2: 2.0 };
        let far = BBox { x1: 9.0, y1: 9.0, x2: 10.0, y2: 10.0 };
        assert!((a.iou(&b) - 1.0 / 3.0).abs() < 1e-6);
        assert_eq!((a.iou(&a), a.iou(&far)), (1.0, 0.0));
        assert_eq!(BBox::default().iou(&BBox::default()), 0.0);
    }

    #[test]
    fn only_rectangles_are_proper() {
        let good = BBox { x1: 0.0, y1: 0.0, x2: 1.0, y2: 1.0 };
        assert!(good.is_proper());
        for bad in [BBox { x1: 1.0, ..good }, BBox { y2: f32::NAN, ..good }, BBox { x2: f32::INFINITY, ..good }] {
            assert!(!bad.is_proper());
        }
    }
}
