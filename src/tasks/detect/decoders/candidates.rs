//! What the decoders of detections share: collecting candidates, and taking them back to the image.

use crate::{
    manifest::{BoxFormat, BoxUnit},
    tasks::{
        PostprocessOptions,
        detect::{Detection, nms},
    },
    vision::{bbox::BBox, geometry::Placement},
};

/// Detections that may become part of the answer, their boxes in the graph's own unit.
#[derive(Debug)]
pub(super) struct Candidates {
    min_score: f32,
    list: Vec<Detection>,
}

impl Candidates {
    pub(super) fn new(options: &PostprocessOptions) -> Self {
        Self { min_score: options.min_score, list: Vec::new() }
    }

    /// Whether a score is high enough to look at its box. No NaN is, and no infinity.
    pub(super) fn wants(&self, score: f32) -> bool {
        (self.min_score..f32::INFINITY).contains(&score)
    }

    /// Keeps a candidate that scores enough and is a rectangle.
    pub(super) fn push(&mut self, class_id: usize, score: f32, bbox: BBox) {
        if self.wants(score) && bbox.is_proper() {
            self.list.push(Detection { class_id, score, bbox });
        }
    }

    /// The answer, for decodings whose boxes still overlap: after non-maximum suppression.
    pub(super) fn suppressed(
        mut self,
        placement: &Placement,
        unit: BoxUnit,
        options: &PostprocessOptions,
    ) -> Vec<Detection> {
        self.drop_unseen(placement, unit);
        on_image(nms::suppress(self.list, options.iou, options.max_detections), placement, unit)
    }

    /// The answer, for decodings whose boxes are final.
    pub(super) fn sorted(
        mut self,
        placement: &Placement,
        unit: BoxUnit,
        options: &PostprocessOptions,
    ) -> Vec<Detection> {
        self.drop_unseen(placement, unit);
        self.list.sort_by(nms::best_first);
        self.list.truncate(options.max_detections);
        on_image(self.list, placement, unit)
    }

    /// Boxes that lie wholly beside the image (on the bars) are left out before the best are counted.
    fn drop_unseen(&mut self, placement: &Placement, unit: BoxUnit) {
        self.list.retain(|detection| placement.to_image_from(detection.bbox, unit).is_proper());
    }
}

fn on_image(mut list: Vec<Detection>, placement: &Placement, unit: BoxUnit) -> Vec<Detection> {
    list.iter_mut().for_each(|detection| detection.bbox = placement.to_image_from(detection.bbox, unit));
    list
}

/// The box that four numbers mean in this format.
pub(super) fn bbox([a, b, c, d]: [f32; 4], format: BoxFormat) -> BBox {
    match format {
        BoxFormat::Xyxy => BBox { x1: a, y1: b, x2: c, y2: d },
        BoxFormat::Yxyx => BBox { x1: b, y1: a, x2: d, y2: c },
        BoxFormat::Cxcywh => BBox::centred(a, b, c, d),
    }
}
