//! Classification: what an image shows, as classes with a score.

pub(super) mod compare;
pub(super) mod decoder;
pub(super) mod draw;
pub(super) mod json;
pub(super) mod labels;
pub(super) mod report;
mod score;
pub(super) mod table;

pub use self::{
    json::{ClassBody, RoboflowClass, RoboflowClasses, UltralyticsClass},
    score::{ClassScorer, ClassificationScore},
};

/// One class that the image may show.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Class {
    /// An index into the labels.
    pub class_id: usize,
    /// How sure the network is, 0 to 1.
    pub score: f32,
}
