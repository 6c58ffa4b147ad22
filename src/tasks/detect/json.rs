//! Detections as JSON: in ounce's own form and in those of other tools, with those tools' own field names. Numbers are
//! rounded to what they are worth, so that people can read them.

use serde::Serialize;
use utoipa::ToSchema;

use super::Detection;
use crate::{
    stats::round::places,
    tasks::text::{label, score},
    vision::bbox::BBox,
};

/// One thing that was found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Detection)]
pub struct DetectionBody {
    /// What it is.
    #[schema(example = "person")]
    label: String,
    /// The label's place in the model's list.
    class_id: usize,
    /// How sure the model is, 0 to 1.
    #[schema(example = 0.91)]
    score: f64,
    /// Where it is.
    #[serde(rename = "box")]
    bounds: BoxBody,
}

/// A box in pixels of the picture as a person sees it, its origin top left.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Box)]
pub struct BoxBody {
    /// Left.
    #[schema(example = 39.7)]
    x1: f64,
    /// Top.
    #[schema(example = 395.9)]
    y1: f64,
    /// Right.
    #[schema(example = 194.1)]
    x2: f64,
    /// Bottom.
    #[schema(example = 503.6)]
    y2: f64,
}

/// The part of Roboflow Inference's answer that holds detections.
#[derive(Debug, Serialize)]
pub struct RoboflowDetections {
    predictions: Vec<RoboflowDetection>,
}

/// One detection of Roboflow Inference's answer: a box by centre and size.
#[derive(Debug, Serialize)]
pub struct RoboflowDetection {
    x: f64,
    y: f64,
    width: f64,
    height: f64,
    confidence: f64,
    class: String,
    class_id: usize,
    detection_id: String,
}

/// One line of Ultralytics' answer.
#[derive(Debug, Serialize)]
pub struct UltralyticsDetection {
    name: String,
    class: usize,
    confidence: f64,
    #[serde(rename = "box")]
    bounds: BoxBody,
}

/// One line of COCO's result file: a box by corner and size.
#[derive(Debug, Serialize)]
pub struct CocoItem {
    image_id: usize,
    category_id: usize,
    bbox: [f64; 4],
    score: f64,
}

impl From<&BBox> for BoxBody {
    fn from(bbox: &BBox) -> Self {
        Self { x1: places(bbox.x1, 2), y1: places(bbox.y1, 2), x2: places(bbox.x2, 2), y2: places(bbox.y2, 2) }
    }
}

pub(in crate::tasks) fn body(found: &[Detection], labels: &[String]) -> Vec<DetectionBody> {
    let item = |detection: &Detection| DetectionBody {
        label: label(labels, detection.class_id),
        class_id: detection.class_id,
        score: score(detection.score),
        bounds: BoxBody::from(&detection.bbox),
    };
    found.iter().map(item).collect()
}

pub(in crate::tasks) fn roboflow(found: &[Detection], labels: &[String], id: &str) -> RoboflowDetections {
    let item = |(place, detection): (usize, &Detection)| {
        let BBox { x1, y1, x2, y2 } = detection.bbox;
        RoboflowDetection {
            x: places((x1 + x2) / 2.0, 2),
            y: places((y1 + y2) / 2.0, 2),
            width: places(x2 - x1, 2),
            height: places(y2 - y1, 2),
            confidence: score(detection.score),
            class: label(labels, detection.class_id),
            class_id: detection.class_id,
            detection_id: format!("{id}-{place}"),
        }
    };
    RoboflowDetections { predictions: found.iter().enumerate().map(item).collect() }
}

pub(in crate::tasks) fn ultralytics(found: &[Detection], labels: &[String]) -> Vec<UltralyticsDetection> {
    let item = |detection: &Detection| UltralyticsDetection {
        name: label(labels, detection.class_id),
        class: detection.class_id,
        confidence: score(detection.score),
        bounds: BoxBody::from(&detection.bbox),
    };
    found.iter().map(item).collect()
}

pub(in crate::tasks) fn coco(found: &[Detection], image_id: usize) -> Vec<CocoItem> {
    let item = |detection: &Detection| {
        let BBox { x1, y1, x2, y2 } = detection.bbox;
        CocoItem {
            image_id,
            category_id: detection.class_id,
            bbox: [x1, y1, x2 - x1, y2 - y1].map(|side| places(side, 2)),
            score: score(detection.score),
        }
    };
    found.iter().map(item).collect()
}
