//! What a picture's answer is made of.

use crate::manifest::OutputSpec;

/// A rectangle. Its unit (pixels of the picture, of the network's input, …) is its holder's to say.
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
    /// From its centre and its size.
    #[must_use]
    pub fn centred(cx: f32, cy: f32, width: f32, height: f32) -> Self {
        Self { x1: cx - width / 2.0, y1: cy - height / 2.0, x2: cx + width / 2.0, y2: cy + height / 2.0 }
    }

    /// Width times height; 0 when inside out.
    #[must_use]
    pub fn area(&self) -> f32 {
        (self.x2 - self.x1).max(0.0) * (self.y2 - self.y1).max(0.0)
    }

    /// Intersection over union, 0 (apart) to 1 (the same).
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

    /// Whether it is a rectangle at all: four finite numbers, right side right of the left, bottom below the top.
    #[must_use]
    pub fn is_proper(&self) -> bool {
        [self.x1, self.y1, self.x2, self.y2].iter().all(|side| side.is_finite())
            && self.x2 > self.x1
            && self.y2 > self.y1
    }
}

/// One thing that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Its class: an index into the labels. Graphs that output indices may say one that has no label.
    pub class_id: usize,
    /// How sure the network is, 0 to 1.
    pub score: f32,
    /// Where: pixels of the picture, clipped to it.
    pub bbox: BBox,
}

/// One thing the picture may show.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Class {
    /// An index into the labels.
    pub class_id: usize,
    /// How sure the network is, 0 to 1.
    pub score: f32,
}

/// What a model says about a picture.
#[derive(Debug, Clone, PartialEq)]
pub enum Prediction {
    /// Things and where they are, best first.
    Detections(Vec<Detection>),
    /// What the picture shows, best first.
    Classes(Vec<Class>),
}

/// What of the outputs is worth answering: the manifest's word, or the request's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PostprocessOptions {
    /// Detections below this score are left out. Classes are not: the best of them is an answer at any score.
    pub min_score: f32,
    /// Of two boxes of a class that overlap by more than this IoU, the weaker is left out.
    pub iou: f32,
    /// The most detections.
    pub max_detections: usize,
    /// The most classes.
    pub top_k: usize,
}

impl From<&OutputSpec> for PostprocessOptions {
    fn from(spec: &OutputSpec) -> Self {
        Self {
            min_score: spec.min_score.get(),
            iou: spec.iou.get(),
            max_detections: spec.max_detections.get(),
            top_k: spec.top_k.get(),
        }
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
