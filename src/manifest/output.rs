//! The `[output]` table of a manifest: how a graph's outputs are laid out, and which of what they say is an answer.
//!
//! TOML goes in; an [`OutputSpec`] comes out, of which a postprocessor is made.

use std::num::{NonZeroU32, NonZeroUsize};

use serde::{Deserialize, Serialize};

use crate::config::{Ratio, Task};

/// How the graph's outputs become a prediction.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// Layout of the outputs.
    pub decode: Decoding,
    /// Strides of the grids, for decodings that have grids.
    #[serde(default = "default_strides")]
    pub strides: Vec<NonZeroU32>,
    /// Widths and heights of the anchors in input pixels, three a stride (`yolo-fastestv2`). Without it, those of COCO.
    pub anchors: Option<[[f32; 2]; 6]>,
    /// Least score of a detection.
    #[serde(default = "default_min_score")]
    pub min_score: Ratio,
    /// IoU above which the weaker of two overlapping boxes of a class is left out.
    #[serde(default = "default_iou")]
    pub iou: Ratio,
    /// Largest number of detections in an answer.
    #[serde(default = "default_max_detections")]
    pub max_detections: NonZeroUsize,
    /// Largest number of classes in an answer.
    #[serde(default = "default_top_k")]
    pub top_k: NonZeroUsize,
    /// Scale of integer outputs: `value = (stored − zero_point) · scale`.
    #[serde(default = "one")]
    pub scale: f32,
    /// Zero point of integer outputs (see `scale`).
    #[serde(default)]
    pub zero_point: f32,
    /// Meaning of a box's four numbers (`boxes-scores`, `detr`, `nms-in-graph` and rows of finished boxes).
    #[serde(default)]
    pub box_format: BoxFormat,
    /// Unit of a box's numbers (`boxes-scores`, `detr`, `nms-in-graph` and rows of finished boxes). Without it, the decoding decides.
    pub box_unit: Option<BoxUnit>,
    /// Activation that is applied to class scores (`boxes-scores`, `logits`). Without it, the decoding decides.
    pub activation: Option<Activation>,
    /// Index of the background class, which is never part of an answer (`boxes-scores`).
    pub background: Option<usize>,
    /// Names of the outputs, where these cannot be found by their shapes and usual names.
    #[serde(default)]
    pub names: OutputNames,
}

/// Names of outputs, for decodings that read several.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutputNames {
    /// Output with the boxes.
    pub boxes: Option<String>,
    /// Output with the scores.
    pub scores: Option<String>,
    /// Output with the classes.
    pub labels: Option<String>,
    /// Output with the number of boxes.
    pub count: Option<String>,
}

/// Layout of a graph's outputs. `docs/models.md` describes each with its shapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decoding {
    /// `[N, Σ(S/s)², 5+C]`, raw grid offsets (Megvii YOLOX).
    Yolox,
    /// `[N, n, 5+C]`: centre, size, objectness, classes in input pixels (Ultralytics YOLOv5).
    Yolov5,
    /// `[N, 4+C, n]`: centre, size, classes in input pixels, channels first (Ultralytics YOLOv8 and later).
    Yolov8,
    /// A class output and a distance distribution a stride (RangiLyu NanoDet).
    Nanodet,
    /// `[N, 5+C, H, W]` (dog-qiuqiu FastestDet).
    Fastestdet,
    /// Boxes (ymin, xmin, ymax, xmax in 0..1), classes, scores, count (TensorFlow's detection post-process).
    Ssd,
    /// Boxes `[N, n, 4]` and class scores `[N, n, C]`, before NMS (UltraFace, raw DETR).
    BoxesScores,
    /// Boxes, scores and labels `[N, K, …]`, with the image's size as a second input (RT-DETR, D-FINE).
    Detr,
    /// Boxes `[K, 4]`, scores `[K]`, labels `[K]`, NMS done in the graph.
    NmsInGraph,
    /// `[N, K, 6]`: box, score, class; NMS done in the graph, or none needed (YOLOv10, YOLO26, Ultralytics' `nms=True`).
    End2end,
    /// `[K, 7]`: number of the picture, box, class, score (YOLOv7's end-to-end export).
    #[serde(rename = "yolov7-end2end")]
    Yolov7End2end,
    /// `[K, 7]`: number of the picture, box, score, class (YOLO-NAS, flat predictions).
    YoloNasFlat,
    /// `[1, 1, K, 7]`: number of the picture, class, score, box in 0..1 (OpenVINO's `DetectionOutput`).
    OpenvinoSsd,
    /// `dets` `[N, K, 5]` of box and score, `labels` `[N, K]` (MMDeploy).
    Mmdeploy,
    /// `[K, 6]`: class, score, box; and the number of rows (PaddleDetection).
    Paddle,
    /// As `nanodet`, with cells centred on their middle (PaddleDetection's PicoDet without its post-process).
    Picodet,
    /// `[N, Σ⌈S/s⌉², C+32]`: classes, distance distributions of 8 bins (RangiLyu NanoDet-Plus).
    NanodetPlus,
    /// `[n, 15+C]`, or two `[N, H, W, 15+C]`: three anchors a cell (dog-qiuqiu Yolo-FastestV2).
    #[serde(rename = "yolo-fastestv2")]
    YoloFastestV2,
    /// Class probabilities.
    Softmax,
    /// Class scores before softmax (or before `activation`).
    Logits,
    /// Independent probabilities; a single one is the second of two labels ("yes").
    Sigmoid,
}

impl Decoding {
    /// Task of a model with such outputs.
    #[must_use]
    pub fn task(self) -> Task {
        match self {
            Self::Softmax | Self::Logits | Self::Sigmoid => Task::Classify,
            Self::Yolox
            | Self::Yolov5
            | Self::Yolov8
            | Self::Nanodet
            | Self::Fastestdet
            | Self::Ssd
            | Self::BoxesScores
            | Self::Detr
            | Self::NmsInGraph
            | Self::End2end
            | Self::Yolov7End2end
            | Self::YoloNasFlat
            | Self::OpenvinoSsd
            | Self::Mmdeploy
            | Self::Paddle
            | Self::Picodet
            | Self::NanodetPlus
            | Self::YoloFastestV2 => Task::Detect,
        }
    }
}

/// Meaning of a box's four numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BoxFormat {
    /// Left, top, right, bottom.
    #[default]
    Xyxy,
    /// Top, left, bottom, right.
    Yxyx,
    /// Centre, width, height.
    Cxcywh,
}

/// Unit of a box's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BoxUnit {
    /// Share (0..1) of the width or height of the graph's input.
    Unit,
    /// Pixels of the graph's input.
    Input,
    /// Pixels of the image (graphs that are given its size).
    #[serde(rename = "picture")]
    Image,
}

/// Function that turns a raw class score into a probability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// The scores are probabilities already.
    None,
    /// Softmax over all classes.
    Softmax,
    /// Sigmoid of each class on its own.
    Sigmoid,
}

fn default_strides() -> Vec<NonZeroU32> {
    [8, 16, 32].into_iter().filter_map(NonZeroU32::new).collect()
}

fn default_min_score() -> Ratio {
    Ratio::clamped(0.3)
}

fn default_iou() -> Ratio {
    Ratio::clamped(0.5)
}

fn default_max_detections() -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(299)
}

fn default_top_k() -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(4)
}

fn one() -> f32 {
    1.0
}
