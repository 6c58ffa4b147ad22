//! Classes as JSON: in ounce's own form and in those of other tools, with those tools' own field names.

use serde::Serialize;
use utoipa::ToSchema;

use super::Class;
use crate::tasks::text::{label, score};

/// One thing that the picture may show.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Class)]
pub struct ClassBody {
    /// What it is.
    #[schema(example = "tabby")]
    label: String,
    /// The label's place in the model's list.
    class_id: usize,
    /// How sure the model is, 0 to 1.
    #[schema(example = 0.91)]
    score: f64,
}

/// The part of Roboflow Inference's answer that holds classes.
#[derive(Debug, Serialize)]
pub struct RoboflowClasses {
    predictions: Vec<RoboflowClass>,
    /// The best class, once more.
    #[serde(skip_serializing_if = "Option::is_none")]
    top: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<f64>,
}

/// One class of Roboflow Inference's answer.
#[derive(Debug, Serialize)]
pub struct RoboflowClass {
    confidence: f64,
    class: String,
    class_id: usize,
}

/// One line of Ultralytics' answer.
#[derive(Debug, Serialize)]
pub struct UltralyticsClass {
    name: String,
    class: usize,
    confidence: f64,
}

pub(in crate::tasks) fn body(classes: &[Class], labels: &[String]) -> Vec<ClassBody> {
    let item = |class: &Class| ClassBody {
        label: label(labels, class.class_id),
        class_id: class.class_id,
        score: score(class.score),
    };
    classes.iter().map(item).collect()
}

pub(in crate::tasks) fn roboflow(classes: &[Class], labels: &[String]) -> RoboflowClasses {
    let item = |class: &Class| RoboflowClass {
        confidence: score(class.score),
        class: label(labels, class.class_id),
        class_id: class.class_id,
    };
    let predictions: Vec<_> = classes.iter().map(item).collect();
    let best = predictions.first();
    RoboflowClasses {
        top: best.map(|item| item.class.clone()),
        confidence: best.map(|item| item.confidence),
        predictions,
    }
}

pub(in crate::tasks) fn ultralytics(classes: &[Class], labels: &[String]) -> Vec<UltralyticsClass> {
    let item = |class: &Class| UltralyticsClass {
        name: label(labels, class.class_id),
        class: class.class_id,
        confidence: score(class.score),
    };
    classes.iter().map(item).collect()
}
