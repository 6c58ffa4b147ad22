//! Answers in the shapes that other tools read (`?format=`), with those tools' own field names.

use serde::Serialize;

use super::wire::{AnswerBody, ImageSize};
use crate::{
    api::problem::Problem,
    config::Task,
    inference::{ImageOutput, Response},
    stats::round::places,
    tasks::{self, RoboflowBody, UltralyticsBody, detect::CocoItem},
};

/// The shape of an answer's JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum AnswerShape {
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

impl AnswerShape {
    /// The words for the shapes.
    pub(super) const WORDS: [&'static str; 4] = ["default", "roboflow", "ultralytics", "coco"];

    /// The shape of that word.
    pub(super) fn parse(word: &str) -> Option<Self> {
        match word {
            "default" => Some(Self::Default),
            "roboflow" => Some(Self::Roboflow),
            "ultralytics" => Some(Self::Ultralytics),
            "coco" => Some(Self::Coco),
            _ => None,
        }
    }

    /// Refuses a task whose answers have no such shape.
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
pub(super) enum ShapedAnswer<'a> {
    /// [`AnswerShape::Default`]
    Default(Box<AnswerBody<'a>>),
    /// [`AnswerShape::Roboflow`]
    Roboflow(RoboflowAnswer<'a>),
    /// [`AnswerShape::Ultralytics`]
    Ultralytics(UltralyticsBody),
    /// [`AnswerShape::Coco`]
    Coco(Vec<CocoItem>),
}

/// Roboflow Inference's answer.
#[derive(Debug, Serialize)]
pub(super) struct RoboflowAnswer<'a> {
    inference_id: &'a str,
    time: f64,
    image: ImageSize,
    #[serde(flatten)]
    prediction: RoboflowBody,
}

/// An answer in the shape asked for. `place` is the image's among those of the request.
pub(super) fn shape<'a>(
    shape: AnswerShape,
    id: &'a str,
    place: usize,
    file: Option<&'a str>,
    answer: &'a Response<ImageOutput>,
) -> ShapedAnswer<'a> {
    let (prediction, labels) = (&answer.output.prediction, &answer.model.info.labels);
    match shape {
        AnswerShape::Default => ShapedAnswer::Default(Box::new(AnswerBody::new(id, file, answer))),
        AnswerShape::Roboflow => ShapedAnswer::Roboflow(roboflow(id, place, answer)),
        AnswerShape::Ultralytics => ShapedAnswer::Ultralytics(prediction.ultralytics(labels)),
        AnswerShape::Coco => ShapedAnswer::Coco(prediction.coco(place)),
    }
}

fn roboflow<'a>(id: &'a str, place: usize, answer: &Response<ImageOutput>) -> RoboflowAnswer<'a> {
    RoboflowAnswer {
        inference_id: id,
        time: places(answer.timing.total.as_secs_f64(), 6),
        image: ImageSize { width: answer.output.image.width, height: answer.output.image.height },
        prediction: answer.output.prediction.roboflow(&answer.model.info.labels, &format!("{id}-{place}")),
    }
}
