//! Boxes and a score a class for each, before NMS: `vision/ssd/mb_tiny_RFB_fd.py` of
//! github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB, and the raw heads of many DETR exports
//! (github.com/huggingface/transformers: `logits`, `pred_boxes`).

use super::{
    DetectionDecoder,
    candidates::{Candidates, bbox},
};
use crate::{
    manifest::{Activation, BoxFormat, BoxUnit},
    tasks::{
        PostprocessOptions,
        detect::Detection,
        outputs::{
            OutputPorts, OutputValues,
            activate::{activate, best},
        },
    },
    vision::geometry::Placement,
};

/// Reads boxes beside class scores.
#[derive(Debug, Clone)]
pub(super) struct BoxesScores {
    boxes_index: usize,
    scores_index: usize,
    /// How many scores each box has, the background's included.
    scores: usize,
    background: Option<usize>,
    /// Whether the background has no label, so that the classes after it move down by one.
    background_unlabelled: bool,
    activation: Activation,
    format: BoxFormat,
    unit: BoxUnit,
}

impl BoxesScores {
    pub(super) fn new(ports: &OutputPorts<'_>, labels: usize) -> Result<Self, String> {
        let spec = ports.spec;
        let names = &spec.names;
        let boxes = ports.boxes(&["boxes", "pred_boxes", "bboxes"])?;
        let scores = ports
            .named(names.scores.as_ref())?
            .or_else(|| ports.usual(&["scores", "logits", "pred_logits", "confidences"]))
            .or_else(|| ports.only(|index, port| Some(index) != boxes && port.shape.len() >= 2));
        // One label fewer than scores is allowed where the missing one is the background's.
        let with = |count: usize| scores.filter(|&index| ports.fits(index, &[None, Some(count)]));
        let unlabelled = with(labels).is_none() && spec.background.is_some();
        let count = if unlabelled { labels + 1 } else { labels };
        let (Some(boxes_index), Some(scores_index)) =
            (boxes.filter(|&index| ports.fits(index, &[None, Some(4)])), with(count))
        else {
            return Err(ports.refuse(&format!(
                "boxes [N, n, 4] and scores [N, n, {labels}] (a score a label; one more where output.background names \
                 a class without a label); where names and shapes do not tell, set output.names"
            )));
        };
        if let Some(background) = spec.background.filter(|&background| background >= count) {
            return Err(format!(
                "output.background is {background}, but there are only the classes 0 to {}",
                count - 1
            ));
        }
        Ok(Self {
            boxes_index,
            scores_index,
            scores: count,
            background: spec.background,
            background_unlabelled: unlabelled,
            activation: spec.activation.unwrap_or(Activation::None),
            format: spec.box_format,
            unit: spec.box_unit.unwrap_or(BoxUnit::Unit),
        })
    }
}

impl DetectionDecoder for BoxesScores {
    fn read(
        &self,
        outputs: &OutputValues<'_>,
        placement: &Placement,
        options: &PostprocessOptions,
    ) -> Result<Vec<Detection>, String> {
        let boxes = outputs.floats(self.boxes_index, &[None, Some(4)])?;
        let scores = outputs.floats(self.scores_index, &[None, Some(self.scores)])?;
        let (boxes, _) = boxes.as_chunks::<4>();
        if boxes.len() * self.scores != scores.len() {
            return Err(format!("{} boxes came back with {} scores", boxes.len(), scores.len() / self.scores));
        }
        let mut candidates = Candidates::new(options);
        let mut row = vec![0.0; self.scores];
        for (sides, scores) in boxes.iter().zip(scores.chunks_exact(self.scores)) {
            row.copy_from_slice(scores);
            activate(&mut row, self.activation);
            if let Some(background) = self.background {
                row[background] = f32::NEG_INFINITY;
            }
            if let Some((class, score)) = best(&row).filter(|(_, score)| candidates.wants(*score)) {
                let moved = self.background_unlabelled && self.background.is_some_and(|background| class > background);
                candidates.push(class - usize::from(moved), score, bbox(*sides, self.format));
            }
        }
        Ok(candidates.suppressed(placement, self.unit, options))
    }
}
