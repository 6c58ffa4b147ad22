//! Finished boxes beside their scores and labels; nothing is left to suppress.
//!
//! - `ssd`: `TFLite_Detection_PostProcess` of github.com/tensorflow/tensorflow (`lite/kernels`) and the exports of
//!   its object detection API: boxes as ymin, xmin, ymax, xmax in 0..1, classes, scores, count.
//! - `detr`: the ONNX exports of github.com/lyuwenyu/RT-DETR and github.com/Peterande/D-FINE: labels, boxes, scores
//!   in pixels of the size that the graph was told.
//! - `nms-in-graph`: boxes `[K, 4]`, scores `[K]`, labels `[K]` in input pixels, `K` differing by image, as
//!   torchvision's detectors and ONNX's `NonMaxSuppression` make them; or, with a batch axis and a count
//!   `[N, 1]`, those of TensorRT's EfficientNMS (github.com/NVIDIA/TensorRT): `num_dets`, `det_boxes`, `det_scores`,
//!   `det_classes`.

use super::{
    DetectionDecoder,
    candidates::{Candidates, bbox},
};
use crate::{
    manifest::{BoxFormat, BoxUnit, Decoding},
    tasks::{
        PostprocessOptions,
        detect::Detection,
        outputs::{OutputPorts, OutputValues},
    },
    vision::geometry::Placement,
};

/// Reads finished boxes.
#[derive(Debug, Clone)]
pub(super) struct Listed {
    boxes_index: usize,
    scores_index: usize,
    labels_index: usize,
    /// The output that says how many of the boxes count. Without it all of them do.
    count_index: Option<usize>,
    format: BoxFormat,
    unit: BoxUnit,
    /// Whether the boxes are `[K, 4]`.
    no_batch_axis: bool,
}

impl Listed {
    pub(super) fn new(ports: &OutputPorts<'_>) -> Result<Self, String> {
        let (spec, ssd) = (ports.spec, ports.spec.decode == Decoding::Ssd);
        let names = &spec.names;
        let boxes = ports.boxes(&["boxes", "detection_boxes", "det_boxes", "bboxes"])?;
        let mut count =
            ports.named(names.count.as_ref())?.or_else(|| ports.usual(&["num_detections", "num_dets", "count"]));
        let other = |index: usize| Some(index) != boxes && Some(index) != count;
        let mut labels = ports
            .named(names.labels.as_ref())?
            .or_else(|| ports.usual(&["labels", "classes", "detection_classes", "det_classes", "class_ids"]))
            .or_else(|| ports.only(|index, port| other(index) && !ssd && port.is_whole()));
        let mut scores = ports
            .named(names.scores.as_ref())?
            .or_else(|| ports.usual(&["scores", "detection_scores", "det_scores"]))
            .or_else(|| ports.only(|index, port| other(index) && !ssd && !port.is_whole()));
        // TensorFlow's post-process names nothing, but its order is fixed: boxes, classes, scores, count.
        if ssd && boxes == Some(0) && labels.is_none() && scores.is_none() && ports.outputs.len() >= 3 {
            (labels, scores) = (Some(1), Some(2));
            count = count.or_else(|| ports.outputs.get(3).map(|_| 3));
        }
        let list = |index: Option<usize>| index.filter(|&index| ports.fits(index, &[None]));
        let (Some(boxes_index), Some(labels_index), Some(scores_index)) =
            (boxes.filter(|&index| ports.fits(index, &[None, Some(4)])), list(labels), list(scores))
        else {
            return Err(ports.refuse(match spec.decode {
                Decoding::Ssd => {
                    "boxes [N, K, 4], classes [N, K], scores [N, K] and count [N], in this order or by output.names"
                }
                Decoding::Detr => {
                    "boxes [N, K, 4], scores [N, K] and labels [N, K], by output.names where usual names do not tell"
                }
                _ => "boxes [K, 4], scores [K] and whole labels [K], by output.names where usual names do not tell",
            }));
        };
        if let Some(port) = count.and_then(|index| ports.outputs.get(index)).filter(|port| !port.is_one()) {
            return Err(ports.refuse(&format!("the count {} to be [N] or [N, 1]", port.name)));
        }
        let (format, unit) = match spec.decode {
            Decoding::Ssd => (BoxFormat::Yxyx, BoxUnit::Unit),
            Decoding::Detr => (spec.box_format, spec.box_unit.unwrap_or(BoxUnit::Image)),
            _ => (spec.box_format, spec.box_unit.unwrap_or(BoxUnit::Input)),
        };
        let no_batch_axis = ports.outputs.get(boxes_index).is_some_and(|port| port.shape.len() == 2);
        Ok(Self { boxes_index, scores_index, labels_index, count_index: count, format, unit, no_batch_axis })
    }
}

impl DetectionDecoder for Listed {
    fn read(
        &self,
        outputs: &OutputValues<'_>,
        placement: &Placement,
        options: &PostprocessOptions,
    ) -> Result<Vec<Detection>, String> {
        let boxes = outputs.floats(self.boxes_index, &[None, Some(4)])?;
        let scores = outputs.floats(self.scores_index, &[None])?;
        let labels = outputs.numbers(self.labels_index, &[None])?;
        let (boxes, _) = boxes.as_chunks::<4>();
        if boxes.len() != scores.len() || boxes.len() != labels.len() {
            let (boxes, scores, labels) = (boxes.len(), scores.len(), labels.len());
            return Err(format!("{boxes} boxes came back with {scores} scores and {labels} labels"));
        }
        let count = match self.count_index {
            Some(index) => outputs.count(index)?,
            None => boxes.len(),
        };
        let mut candidates = Candidates::new(options);
        for ((sides, &score), &label) in boxes.iter().zip(scores.iter()).zip(labels.iter()).take(count) {
            // Negative labels are how some graphs fill up a fixed K.
            if label >= 0.0 {
                candidates.push(label.round() as usize, score, bbox(*sides, self.format));
            }
        }
        Ok(candidates.sorted(placement, self.unit, options))
    }

    fn why_single(&self) -> Option<&'static str> {
        self.no_batch_axis
            .then_some("its boxes have no axis of pictures, so that those of several could not be told apart")
    }
}
