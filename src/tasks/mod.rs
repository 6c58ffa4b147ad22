//! Tasks: what models answer. A graph's outputs go in; a [`Prediction`] comes out, which can be written as JSON, drawn onto
//! its image, printed, compared with another one and scored against labelled images.
//!
//! This room is pure but for [`dataset`], which reads label files: it imports no tokio, no axum and no ort, and
//! knows nothing of models, requests or the front doors. Pixels and tensors come from [`vision`](crate::vision).
//!
//! # What a task provides
//!
//! A task is a folder with the same parts for each:
//!
//! | file | what it does |
//! |---|---|
//! | `mod.rs` | the type of one item of an answer |
//! | `decoder.rs`, `decoders/` | outputs → items, best first; refuses at load what does not fit |
//! | `json.rs` | items → ounce's own JSON and the forms of other tools (Roboflow, Ultralytics, COCO) |
//! | `draw.rs` | items → frames and labels on a canvas |
//! | `table.rs` | items → lines for the terminal |
//! | `compare.rs` | how far two answers to one image agree |
//! | `labels.rs` | a labelled data set → what is true of each image |
//! | `score.rs`, `report.rs` | answers and what is true → a score; the score in words |
//!
//! This file is the only one that tells tasks apart: each `enum` here has a variant a task, and each function passes on to
//! the task's own. [`PredictionBody`] has a field a task.
//!
//! # To add a task
//!
//! 1. A folder here with the parts above.
//! 2. A variant of each `enum` in this file and a field of [`PredictionBody`]; the compiler then names the functions that
//!    want an arm.
//! 3. A variant of [`Task`] and the words of its decodings in [`Decoding`](crate::manifest::Decoding).
//! 4. Its route beside `/v1/detect` in `api`.
//! 5. `docs/models.md` and `docs/http.md`.

pub mod classify;
pub mod dataset;
pub mod detect;
mod outputs;
mod postprocess;
mod ranking;
#[cfg(test)]
mod testing;
mod text;

use std::{path::Path, sync::Arc};

use serde::Serialize;
use utoipa::ToSchema;

use self::{
    classify::{Class, decoder::ClassDecoder},
    detect::{Detection, decoders::DetectionDecoder},
    outputs::{OutputPorts, OutputValues},
};
pub use self::{
    dataset::{Dataset, LabelledImage},
    postprocess::{PostprocessOptions, Postprocessor},
    ranking::OperatingPoint,
};
use crate::{
    config::Task,
    vision::{
        decode::DecodedImage,
        draw::{Canvas, DrawOptions, EncodedCanvas},
        geometry::Placement,
    },
};

/// What a model says about an image.
#[derive(Debug, Clone, PartialEq)]
pub enum Prediction {
    /// Things and where they are, best first.
    Detections(Vec<Detection>),
    /// What the image shows, best first.
    Classes(Vec<Class>),
}

/// A prediction in ounce's own JSON: one of the fields, by its task.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct PredictionBody {
    /// What was found, best first (models that detect).
    #[serde(skip_serializing_if = "Option::is_none")]
    detections: Option<Vec<detect::DetectionBody>>,
    /// What the picture shows, best first (models that classify).
    #[serde(skip_serializing_if = "Option::is_none")]
    classes: Option<Vec<classify::ClassBody>>,
}

/// A prediction as Roboflow Inference writes it.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum RoboflowBody {
    /// Boxes by centre and size.
    Detections(detect::RoboflowDetections),
    /// Classes, the best of them once more on top.
    Classes(classify::RoboflowClasses),
}

/// A prediction as Ultralytics' `to_json` writes it: a list.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum UltralyticsBody {
    /// A box each.
    Detections(Vec<detect::UltralyticsDetection>),
    /// A class each.
    Classes(Vec<classify::UltralyticsClass>),
}

/// What is true of an image, by its labels.
#[derive(Debug, Clone, PartialEq)]
pub enum GroundTruth {
    /// Things and where they are.
    Boxes(Vec<detect::TrueBox>),
    /// One class, by the name of its folder.
    Class(String),
}

/// Collects a model's predictions for labelled images, to score them in the end.
#[derive(Debug)]
pub enum Scorer {
    /// Of a detector.
    Detect(detect::DetectionScorer),
    /// Of a classifier.
    Classify(classify::ClassScorer),
}

/// How good a model is, by its task.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum TaskScore {
    /// Of boxes.
    Detection(detect::DetectionScore),
    /// Of classes.
    Classification(classify::ClassificationScore),
}

/// A score in words and numbers, as reports show it.
#[derive(Debug)]
pub struct ScoreSummary<'a> {
    /// The names of the columns that only this task has.
    pub columns: &'static str,
    /// The score in those columns.
    pub cells: String,
    /// The share of answers that are right.
    pub precision: f64,
    /// The share of true things that were answered.
    pub recall: f64,
    /// The harmonic mean of precision and recall.
    pub f1: f64,
    /// What the numbers mean.
    pub key: &'static str,
    /// What does not fit into a row: lines of text, or nothing.
    pub details: String,
    /// The name of the metric that stands beside the curve.
    pub metric: &'static str,
    /// Its value.
    pub value: f64,
    /// Precision at recall 0.00, 0.01 … 1.00; empty where there is no such curve.
    pub precision_at_recall: &'a [f64],
}

/// Reads the outputs of one graph.
#[derive(Debug)]
enum Decoder {
    Detect(Box<dyn DetectionDecoder>),
    Classify(ClassDecoder),
}

impl Decoder {
    fn new(ports: &OutputPorts<'_>, label_count: usize, input_size: (u32, u32)) -> Result<Self, String> {
        Ok(match ports.spec.decode.task() {
            Task::Detect => Self::Detect(detect::decoders::decoder(ports, label_count, input_size)?),
            Task::Classify => Self::Classify(ClassDecoder::new(ports, label_count)?),
        })
    }

    fn read(
        &self,
        outputs: &OutputValues<'_>,
        placement: &Placement,
        options: &PostprocessOptions,
    ) -> Result<Prediction, String> {
        match self {
            Self::Detect(decoder) => decoder.read(outputs, placement, options).map(Prediction::Detections),
            Self::Classify(decoder) => decoder.read(outputs, options.top_k).map(Prediction::Classes),
        }
    }

    fn why_single(&self) -> Option<&'static str> {
        match self {
            Self::Detect(decoder) => decoder.why_single(),
            Self::Classify(_) => None,
        }
    }
}

impl Prediction {
    /// In ounce's own JSON, with the names of the classes.
    #[must_use]
    pub fn body(&self, labels: &[String]) -> PredictionBody {
        let none = PredictionBody::default();
        match self {
            Self::Detections(found) => PredictionBody { detections: Some(detect::json::body(found, labels)), ..none },
            Self::Classes(classes) => PredictionBody { classes: Some(classify::json::body(classes, labels)), ..none },
        }
    }

    /// As Roboflow Inference writes it. Items that have an id get `id`, a dash and their place.
    #[must_use]
    pub fn roboflow(&self, labels: &[String], id: &str) -> RoboflowBody {
        match self {
            Self::Detections(found) => RoboflowBody::Detections(detect::json::roboflow(found, labels, id)),
            Self::Classes(classes) => RoboflowBody::Classes(classify::json::roboflow(classes, labels)),
        }
    }

    /// As Ultralytics' `to_json` writes it.
    #[must_use]
    pub fn ultralytics(&self, labels: &[String]) -> UltralyticsBody {
        match self {
            Self::Detections(found) => UltralyticsBody::Detections(detect::json::ultralytics(found, labels)),
            Self::Classes(classes) => UltralyticsBody::Classes(classify::json::ultralytics(classes, labels)),
        }
    }

    /// As lines of COCO's result file; none for tasks that [`without_coco`] names.
    #[must_use]
    pub fn coco(&self, image_id: usize) -> Vec<detect::CocoItem> {
        match self {
            Self::Detections(found) => detect::json::coco(found, image_id),
            Self::Classes(_) => Vec::new(),
        }
    }

    /// The image with the prediction drawn on it, encoded. Nothing of a file but its pixels is in it: no EXIF, no thumbnail.
    ///
    /// # Errors
    /// When the image has fewer pixels than it says, or cannot be encoded.
    pub fn draw(
        &self,
        image: Arc<DecodedImage>,
        labels: &[String],
        options: DrawOptions,
    ) -> Result<EncodedCanvas, String> {
        let mut canvas = Canvas::new(image)?;
        match self {
            Self::Detections(found) => {
                if let Some(how) = options.redaction {
                    detect::draw::redact(&mut canvas, found, how);
                }
                detect::draw::draw(&mut canvas, found, labels);
            }
            Self::Classes(classes) => classify::draw::draw(&mut canvas, classes, labels),
        }
        canvas.encode(options.format)
    }

    /// A line for each item, below a line of headings: for the terminal.
    #[must_use]
    pub fn table(&self, labels: &[String]) -> String {
        match self {
            Self::Detections(found) => detect::table::table(found, labels),
            Self::Classes(classes) => classify::table::table(classes, labels),
        }
    }

    /// How far two predictions for the same image agree: from 0 (not at all) to 1 (wholly). Those of different tasks do
    /// not agree.
    #[must_use]
    pub fn agreement(&self, other: &Self) -> f64 {
        match (self, other) {
            (Self::Detections(one), Self::Detections(other)) => detect::compare::agreement(one, other),
            (Self::Classes(one), Self::Classes(other)) => classify::compare::agreement(one, other),
            (Self::Detections(_), Self::Classes(_)) | (Self::Classes(_), Self::Detections(_)) => 0.0,
        }
    }
}

impl Scorer {
    /// A scorer that has seen nothing yet, for a model with these class names.
    #[must_use]
    pub fn new(task: Task, labels: &[String]) -> Self {
        match task {
            Task::Detect => Self::Detect(detect::DetectionScorer::new(labels)),
            Task::Classify => Self::Classify(classify::ClassScorer::new(labels)),
        }
    }

    /// Takes in the prediction for one labelled image of that width and height.
    ///
    /// # Errors
    /// When the prediction cannot be compared with the labels.
    pub fn observe(
        &mut self,
        prediction: &Prediction,
        truth: &GroundTruth,
        image_size: (u32, u32),
    ) -> Result<(), String> {
        match (self, prediction, truth) {
            (Self::Detect(scorer), Prediction::Detections(found), GroundTruth::Boxes(boxes)) => {
                scorer.observe(found, boxes, image_size);
                Ok(())
            }
            (Self::Classify(scorer), Prediction::Classes(classes), GroundTruth::Class(folder)) => {
                scorer.observe(classes, folder)
            }
            _ => Err("the labels are for another task".to_owned()),
        }
    }

    /// The score of all that was taken in. Where models are compared, `class_count` is how many of the first classes all
    /// of them have. `min_score` is the threshold that the model is shipped with.
    #[must_use]
    pub fn score(&self, class_count: usize, min_score: f32) -> TaskScore {
        match self {
            Self::Detect(scorer) => TaskScore::Detection(scorer.score(class_count, min_score)),
            Self::Classify(scorer) => TaskScore::Classification(scorer.score()),
        }
    }
}

impl TaskScore {
    /// The score in words and numbers; `title` names the model where it is spoken of.
    #[must_use]
    pub fn summary(&self, title: &str) -> ScoreSummary<'_> {
        match self {
            Self::Detection(score) => detect::report::summary(score, title),
            Self::Classification(score) => classify::report::summary(score, title),
        }
    }
}

/// Whether what such a task answers has a place in the image, which can be made unrecognisable.
#[must_use]
pub fn has_places(task: Task) -> bool {
    match task {
        Task::Detect => true,
        Task::Classify => false,
    }
}

/// What such a task lists, where COCO's result file has no form for it.
#[must_use]
pub fn without_coco(task: Task) -> Option<&'static str> {
    match task {
        Task::Detect => None,
        Task::Classify => Some("classes"),
    }
}

/// The names of the elements of an output tensor: a classifier's are its labels, a detector's have none.
#[must_use]
pub fn output_labels(task: Task, labels: &[String]) -> &[String] {
    match task {
        Task::Detect => &[],
        Task::Classify => labels,
    }
}

/// Reads the labels that such a task is scored with.
fn read_labels(task: Task, folder: &Path) -> Result<Dataset, String> {
    match task {
        Task::Detect => detect::labels::read(folder),
        Task::Classify => classify::labels::read(folder),
    }
}

/// Whether a model with these labels can be scored on that data; what is left out is a remark.
fn check_labels(data: &Dataset, model: &str, labels: &[String]) -> Result<Option<String>, String> {
    match data.task {
        Task::Detect => detect::labels::check(data, model, labels),
        Task::Classify => classify::labels::check(data, model, labels),
    }
}
