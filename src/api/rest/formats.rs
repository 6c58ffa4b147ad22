//! Answers in the shapes that other tools read (`?format=`), with those tools' own field names.

use serde::Serialize;

use super::{
    problem::Problem,
    round::places,
    wire::{AnswerBody, ImageSize},
};
use crate::{
    config::Task,
    inference::PictureAnswer,
    tasks::{self, RoboflowBody, UltralyticsBody, detect::CocoItem},
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
        match tasks::without_coco(task) {
            Some(items) if self == Self::Coco => Err(Problem::bad_parameter(
                "format",
                format!("`coco` has no shape for {items}; take default, roboflow or ultralytics"),
            )),
            _ => Ok(()),
        }
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
    Ultralytics(UltralyticsBody),
    /// [`Shape::Coco`]
    Coco(Vec<CocoItem>),
}

/// Roboflow Inference's answer.
#[derive(Debug, Serialize)]
pub(super) struct Roboflow {
    inference_id: String,
    time: f64,
    image: ImageSize,
    #[serde(flatten)]
    prediction: RoboflowBody,
}

/// An answer in the shape asked for. `place` is the picture's among those of the request.
pub(super) fn shape(shape: Shape, id: &str, place: usize, file: Option<String>, answer: &PictureAnswer) -> Shaped {
    match shape {
        Shape::Default => Shaped::Default(Box::new(AnswerBody::new(id, file, answer))),
        Shape::Roboflow => Shaped::Roboflow(roboflow(id, place, answer)),
        Shape::Ultralytics => Shaped::Ultralytics(answer.answer.ultralytics(&answer.model.labels)),
        Shape::Coco => Shaped::Coco(answer.answer.coco(place)),
    }
}

fn roboflow(id: &str, place: usize, answer: &PictureAnswer) -> Roboflow {
    Roboflow {
        inference_id: id.to_owned(),
        time: places(answer.timing.total_ms / 1e3, 6),
        image: ImageSize { width: answer.picture.width, height: answer.picture.height },
        prediction: answer.answer.roboflow(&answer.model.labels, &format!("{id}-{place}")),
    }
}
