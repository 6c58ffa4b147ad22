//! One grid, channels first: `example/onnx-runtime/runtime.py` of github.com/dog-qiuqiu/FastestDet.
//!
//! Channels are objectness, dx, dy, w, h, classes. `score = objectness^0.6 · class^0.4`;
//! `cx = (column + tanh dx) / columns`, `w = sigmoid w`, all in 0..1 of the input. A cell answers with every class that is
//! sure enough: the powers flatten scores so much that the second one often is.

use super::{DetectionDecoder, candidates::Candidates};
use crate::{
    manifest::BoxUnit,
    tasks::{
        PostprocessOptions,
        detect::Detection,
        outputs::{OutputPorts, OutputValues, activate::sigmoid},
    },
    vision::{bbox::BBox, geometry::Placement},
};

const OBJECTNESS_POWER: f32 = 0.6;
const CLASS_POWER: f32 = 0.4;

/// Reads FastestDet outputs.
#[derive(Debug, Clone)]
pub(super) struct Fastestdet {
    index: usize,
    classes: usize,
}

impl Fastestdet {
    pub(super) fn new(ports: &OutputPorts<'_>, classes: usize) -> Result<Self, String> {
        let channels = 5 + classes;
        let wants = format!("one output [N, {channels}, rows, columns] (5 + {classes} labels)");
        Ok(Self { index: ports.single(&[Some(channels), None, None], &wants)?, classes })
    }
}

impl DetectionDecoder for Fastestdet {
    fn read(
        &self,
        outputs: &OutputValues<'_>,
        placement: &Placement,
        options: &PostprocessOptions,
    ) -> Result<Vec<Detection>, String> {
        let values = outputs.floats(self.index, &[Some(5 + self.classes), None, None])?;
        let &[.., rows, columns] = outputs.tensor(self.index)?.shape() else { return Ok(Vec::new()) };
        let mut candidates = Candidates::new(options);
        let n = rows * columns;
        if n == 0 {
            return Ok(Vec::new());
        }
        let channels: Vec<&[f32]> = values.chunks_exact(n).collect();
        let [objectness, dx, dy, w, h, classes @ ..] = channels.as_slice() else { return Ok(Vec::new()) };
        for (i, &objectness) in objectness.iter().enumerate() {
            let sure = objectness.powf(OBJECTNESS_POWER);
            if !candidates.wants(sure) {
                continue;
            }
            let (row, column) = (i / columns, i % columns);
            let cx = (column as f32 + dx[i].tanh()) / columns as f32;
            let cy = (row as f32 + dy[i].tanh()) / rows as f32;
            let bbox = BBox::centred(cx, cy, sigmoid(w[i]), sigmoid(h[i]));
            for (class_id, scores) in classes.iter().enumerate() {
                candidates.push(class_id, sure * scores[i].powf(CLASS_POWER), bbox);
            }
        }
        Ok(candidates.suppressed(placement, BoxUnit::Unit, options))
    }
}
