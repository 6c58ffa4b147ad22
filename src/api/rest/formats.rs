//! Answers in the shapes that other tools read (`?format=`), with those tools' own field names.

use serde::Serialize;

use super::{
    problem::Problem,
    round::places,
    wire::{AnswerBody, BoxBody, ImageSize, label, score},
};
use crate::{
    inference::{PictureAnswer, Prediction},
    manifest::Task,
};

/// The shape of an answer's JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Shape {
    /// ounce's own.
    #[default]
    Default,
    /// Roboflow Inference's: boxes by centre and size.
    Roboflow,
    /// Ultralytics' `to_json`: a list.
    Ultralytics,
    /// COCO's result file: a list, boxes by corner and size.
    Coco,
}

impl Shape {
    /// The words for them.
    pub(super) const WORDS: [&'static str; 4] = ["default", "roboflow", "ultralytics", "coco"];

    /// By its word.
    pub(super) fn parse(word: &str) -> Option<Self> {
        match word {
            "default" => Some(Self::Default),
            "roboflow" => Some(Self::Roboflow),
            "ultralytics" => Some(Self::Ultralytics),
            "coco" => Some(Self::Coco),
            _ => None,
        }
    }

    /// Refuses what has no such shape.
    pub(super) fn check(self, task: Task) -> Result<(), Problem> {
        if self == Self::Coco && task == Task::Classify {
            return Err(Problem::bad_parameter(
                "format",
                "`coco` has no shape for classes; take default, roboflow or ultralytics",
            ));
        }
        Ok(())
    }
}

/// An answer in one of the shapes.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Shaped {
    /// [`Shape::Default`]
    Default(Box<AnswerBody>),
    /// [`Shape::Roboflow`]
    Roboflow(Roboflow),
    /// [`Shape::Ultralytics`]
    Ultralytics(Vec<UltralyticsItem>),
    /// [`Shape::Coco`]
    Coco(Vec<CocoItem>),
}

/// Roboflow Inference's answer.
#[derive(Debug, Serialize)]
pub(super) struct Roboflow {
    inference_id: String,
    time: f64,
    image: ImageSize,
    predictions: Vec<RoboflowItem>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<f64>,
}

#[derive(Debug, Serialize)]
struct RoboflowItem {
    #[serde(flatten)]
    centre: Option<Centre>,
    confidence: f64,
    class: String,
    class_id: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    detection_id: Option<String>,
}

#[derive(Debug, Serialize)]
struct Centre {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

/// One line of Ultralytics' answer.
#[derive(Debug, Serialize)]
pub(super) struct UltralyticsItem {
    name: String,
    class: usize,
    confidence: f64,
    #[serde(rename = "box", skip_serializing_if = "Option::is_none")]
    bounds: Option<BoxBody>,
}

/// One line of COCO's result file.
#[derive(Debug, Serialize)]
pub(super) struct CocoItem {
    image_id: usize,
    category_id: usize,
    bbox: [f64; 4],
    score: f64,
}

/// An answer in the shape asked for. `place` is the picture's among those of the request.
pub(super) fn shape(shape: Shape, id: &str, place: usize, file: Option<String>, answer: &PictureAnswer) -> Shaped {
    match shape {
        Shape::Default => Shaped::Default(Box::new(AnswerBody::new(id, file, answer))),
        Shape::Roboflow => Shaped::Roboflow(roboflow(id, place, answer)),
        Shape::Ultralytics => Shaped::Ultralytics(ultralytics(answer)),
        Shape::Coco => Shaped::Coco(coco(place, answer)),
    }
}

fn roboflow(id: &str, place: usize, answer: &PictureAnswer) -> Roboflow {
    let model = &answer.model;
    let item = |class_id, confidence, centre, detection_id| RoboflowItem {
        centre,
        confidence,
        class: label(model, class_id),
        class_id,
        detection_id,
    };
    let predictions: Vec<_> = match &answer.answer {
        Prediction::Detections(found) => found
            .iter()
            .enumerate()
            .map(|(i, d)| {
                let b = &d.bbox;
                let centre = Centre {
                    x: places((b.x1 + b.x2) / 2.0, 2),
                    y: places((b.y1 + b.y2) / 2.0, 2),
                    width: places(b.x2 - b.x1, 2),
                    height: places(b.y2 - b.y1, 2),
                };
                item(d.class_id, score(d.score), Some(centre), Some(format!("{id}-{place}-{i}")))
            })
            .collect(),
        Prediction::Classes(classes) => classes.iter().map(|c| item(c.class_id, score(c.score), None, None)).collect(),
    };
    let best = matches!(answer.answer, Prediction::Classes(_)).then(|| predictions.first()).flatten();
    Roboflow {
        inference_id: id.to_owned(),
        time: places(answer.timing.total_ms / 1e3, 6),
        image: ImageSize { width: answer.picture.width, height: answer.picture.height },
        top: best.map(|item| item.class.clone()),
        confidence: best.map(|item| item.confidence),
        predictions,
    }
}

fn ultralytics(answer: &PictureAnswer) -> Vec<UltralyticsItem> {
    let item =
        |class, confidence, bounds| UltralyticsItem { name: label(&answer.model, class), class, confidence, bounds };
    match &answer.answer {
        Prediction::Detections(found) => {
            found.iter().map(|d| item(d.class_id, score(d.score), Some(BoxBody::from(&d.bbox)))).collect()
        }
        Prediction::Classes(classes) => classes.iter().map(|c| item(c.class_id, score(c.score), None)).collect(),
    }
}

fn coco(place: usize, answer: &PictureAnswer) -> Vec<CocoItem> {
    let Prediction::Detections(found) = &answer.answer else { return Vec::new() };
    let item = |d: &crate::inference::Detection| {
        let b = &d.bbox;
        CocoItem {
            image_id: place,
            category_id: d.class_id,
            bbox: [b.x1, b.y1, b.x2 - b.x1, b.y2 - b.y1].map(|side| places(side, 2)),
            score: score(d.score),
        }
    };
    found.iter().map(item).collect()
}
