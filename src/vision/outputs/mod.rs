//! A graph's outputs → an answer.
//!
//! [`Postprocessor::new`] settles once, at load, which output is what and refuses what does not fit, with the shapes it
//! saw and the shapes it wants; [`Postprocessor::read`] then reads one picture's outputs. A file for each family:
//!
//! | file | decodings | outputs |
//! |---|---|---|
//! | `yolo` | `yolox`, `yolov5`, `yolov8` | one, a row or a column an anchor |
//! | `nanodet` | `nanodet` | classes and distance distributions a stride |
//! | `fastestdet` | `fastestdet` | one grid, channels first |
//! | `boxes` | `boxes-scores` | boxes and class scores before NMS |
//! | `listed` | `ssd`, `detr`, `nms-in-graph` | finished boxes, scores, labels |
//! | `classes` | `softmax`, `logits`, `sigmoid` | a score a class |
//!
//! Each anchor answers with its best class only, as YOLOX and Ultralytics do when they predict; FastestDet's cells answer
//! with all that are sure enough.

mod activate;
mod boxes;
mod candidates;
mod classes;
mod fastestdet;
mod listed;
mod nanodet;
mod ports;
mod values;
mod yolo;

use self::{
    boxes::BoxesScores, classes::Classes, fastestdet::Fastestdet, listed::Listed, nanodet::Nanodet, ports::Ports,
    values::Quantisation, yolo::Yolo,
};
use super::{
    answer::{PostprocessOptions, Prediction},
    geometry::Placement,
    tensor::{Port, Tensor},
};
use crate::manifest::{Decoding, OutputSpec};

/// Reads one graph's outputs.
#[derive(Debug, Clone)]
pub struct Postprocessor {
    family: Family,
    quantisation: Quantisation,
}

#[derive(Debug, Clone)]
enum Family {
    Yolo(Yolo),
    Nanodet(Nanodet),
    Fastestdet(Fastestdet),
    Boxes(BoxesScores),
    Listed(Listed),
    Classes(Classes),
}

impl Postprocessor {
    /// Refused at load, with the shapes it saw and the shapes it wants, when the decoding does not fit the graph's
    /// outputs or the number of labels. Free dimensions pass here and are checked when outputs are read.
    pub fn new(
        spec: &OutputSpec,
        label_count: usize,
        input_size: (u32, u32),
        outputs: &[Port],
    ) -> Result<Self, String> {
        if label_count == 0 {
            return Err("the model has no labels; wanted: a name for each class".to_owned());
        }
        let ports = Ports { spec, outputs };
        let family = match spec.decode {
            Decoding::Yolox | Decoding::Yolov5 | Decoding::Yolov8 => {
                Family::Yolo(Yolo::new(&ports, label_count, input_size)?)
            }
            Decoding::Nanodet => Family::Nanodet(Nanodet::new(&ports, label_count, input_size)?),
            Decoding::Fastestdet => Family::Fastestdet(Fastestdet::new(&ports, label_count)?),
            Decoding::BoxesScores => Family::Boxes(BoxesScores::new(&ports, label_count)?),
            Decoding::Ssd | Decoding::Detr | Decoding::NmsInGraph => Family::Listed(Listed::new(&ports)?),
            Decoding::Softmax | Decoding::Logits | Decoding::Sigmoid => {
                Family::Classes(Classes::new(&ports, label_count)?)
            }
        };
        let quantisation = Quantisation { scale: spec.scale, zero_point: spec.zero_point };
        if !quantisation.scale.is_finite() || !quantisation.zero_point.is_finite() {
            return Err("output.scale and output.zero_point must be finite".to_owned());
        }
        Ok(Self { family, quantisation })
    }

    /// `outputs` in the graph's order, for one picture (batch axis 1 where there is one).
    pub fn read(
        &self,
        outputs: &[Tensor],
        placement: &Placement,
        options: &PostprocessOptions,
    ) -> Result<Prediction, String> {
        let quantisation = self.quantisation;
        match &self.family {
            Family::Yolo(yolo) => yolo.read(outputs, quantisation, placement, options).map(Prediction::Detections),
            Family::Nanodet(nanodet) => {
                nanodet.read(outputs, quantisation, placement, options).map(Prediction::Detections)
            }
            Family::Fastestdet(grid) => {
                grid.read(outputs, quantisation, placement, options).map(Prediction::Detections)
            }
            Family::Boxes(boxes) => boxes.read(outputs, quantisation, placement, options).map(Prediction::Detections),
            Family::Listed(listed) => {
                listed.read(outputs, quantisation, placement, options).map(Prediction::Detections)
            }
            Family::Classes(classes) => classes.read(outputs, quantisation, options.top_k).map(Prediction::Classes),
        }
    }
}

#[cfg(test)]
mod tests;
