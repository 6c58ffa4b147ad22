//! Decoders of detections: a graph's outputs become boxes on the image. There is a file for each family of layouts.
//!
//! | file | decodings | outputs |
//! |---|---|---|
//! | `yolo` | `yolox`, `yolov5`, `yolov8` | one, a row or a column an anchor |
//! | `nanodet` | `nanodet`, `picodet` | classes and distance distributions a stride |
//! | `nanodet_plus` | `nanodet-plus` | the same in one output |
//! | `fastestdet` | `fastestdet` | one grid, channels first |
//! | `fastestv2` | `yolo-fastestv2` | two grids, three anchors a cell |
//! | `boxes` | `boxes-scores` | boxes and class scores before NMS |
//! | `listed` | `ssd`, `detr`, `nms-in-graph` | finished boxes, scores, labels |
//! | `rows` | `end2end`, `yolov7-end2end`, `yolo-nas-flat`, `openvino-ssd`, `mmdeploy`, `paddle` | finished boxes, one a row |
//!
//! Each anchor answers with its best class only, as YOLOX and Ultralytics do when they predict; FastestDet's cells answer
//! with all that are sure enough.
//!
//! To add a decoder: a file here that implements [`DetectionDecoder`], its arm in [`decoder`], its word in
//! [`Decoding`], a test with hand-made outputs in `tests.rs`, and its line in `docs/models.md`.

mod boxes;
mod candidates;
mod fastestdet;
mod fastestv2;
mod listed;
mod nanodet;
mod nanodet_plus;
mod rows;
mod yolo;

use std::fmt;

use self::{
    boxes::BoxesScores, fastestdet::Fastestdet, fastestv2::FastestV2, listed::Listed, nanodet::Nanodet,
    nanodet_plus::NanodetPlus, rows::Rows, yolo::Yolo,
};
use super::Detection;
use crate::{
    manifest::Decoding,
    tasks::{
        PostprocessOptions,
        outputs::{OutputPorts, OutputValues},
    },
    vision::geometry::Placement,
};

/// Reads the outputs of one family of detectors.
pub(in crate::tasks) trait DetectionDecoder: fmt::Debug + Send + Sync {
    /// One image's detections, best first, in pixels of the image. `placement` says where the image lay on the
    /// network's input.
    ///
    /// # Errors
    /// When the outputs do not have the shapes that were found at load.
    fn read(
        &self,
        outputs: &OutputValues<'_>,
        placement: &Placement,
        options: &PostprocessOptions,
    ) -> Result<Vec<Detection>, String>;

    /// Why images cannot share a run: their rows would come back in one list.
    fn why_single(&self) -> Option<&'static str> {
        None
    }
}

/// The decoder that the manifest asks for, made for this graph's outputs.
///
/// # Errors
/// When the outputs do not fit it: with the shapes it saw and the shapes it wants.
pub(in crate::tasks) fn decoder(
    ports: &OutputPorts<'_>,
    label_count: usize,
    input_size: (u32, u32),
) -> Result<Box<dyn DetectionDecoder>, String> {
    Ok(match ports.spec.decode {
        Decoding::Yolox | Decoding::Yolov5 | Decoding::Yolov8 => Box::new(Yolo::new(ports, label_count, input_size)?),
        Decoding::Nanodet | Decoding::Picodet => Box::new(Nanodet::new(ports, label_count, input_size)?),
        Decoding::NanodetPlus => Box::new(NanodetPlus::new(ports, label_count, input_size)?),
        Decoding::YoloFastestV2 => Box::new(FastestV2::new(ports, label_count, input_size)?),
        Decoding::Fastestdet => Box::new(Fastestdet::new(ports, label_count)?),
        Decoding::BoxesScores => Box::new(BoxesScores::new(ports, label_count)?),
        Decoding::Ssd | Decoding::Detr | Decoding::NmsInGraph => Box::new(Listed::new(ports)?),
        Decoding::End2end
        | Decoding::Yolov7End2end
        | Decoding::YoloNasFlat
        | Decoding::OpenvinoSsd
        | Decoding::Mmdeploy
        | Decoding::Paddle => Box::new(Rows::new(ports, label_count, input_size)?),
        Decoding::Softmax | Decoding::Logits | Decoding::Sigmoid => return Err(ports.refuse("another task")),
    })
}

#[cfg(test)]
mod rows_tests;
#[cfg(test)]
mod tests;
