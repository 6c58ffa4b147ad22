//! Detection: where things are in an image, what they are, and how sure the model is.

pub(super) mod compare;
pub(super) mod decoders;
pub(super) mod draw;
pub(super) mod json;
pub(super) mod labels;
mod nms;
pub(super) mod report;
mod score;
pub(super) mod table;

pub use self::{
    json::{BoxBody, CocoItem, DetectionBody, RoboflowDetection, RoboflowDetections, UltralyticsDetection},
    labels::TrueBox,
    score::{ClassAp, DetectionScore, DetectionScorer},
};
use crate::vision::bbox::BBox;

/// One thing that was found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detection {
    /// Its class: an index into the labels. Graphs that output indices may say one that has no label.
    pub class_id: usize,
    /// How sure the network is, 0 to 1.
    pub score: f32,
    /// Where it is, in pixels of the image, clipped to the image.
    pub bbox: BBox,
}
