//! The manifest of a model, `model.toml`: what the model's graph does not say about itself.
//!
//! The types are read by serde and do not allow invalid values: scores lie in 0..=1, sizes are not zero, and unknown keys
//! are refused. Three lines are a valid manifest (`task`, `labels`, `output.decode`).

use std::{
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

mod input;
mod routing;
mod variant_id;

pub use self::{
    input::{Color, Fit, InputSection, InputSpec, Layout, Resize, SizeOrder},
    routing::{RoutingSection, ShadowSection},
    variant_id::VariantId,
};
pub use crate::config::Task;
use crate::config::{Auto, Provider, Ratio};

/// A whole `model.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Task of the model.
    pub task: Task,
    /// Names of the classes, in the order of the graph's outputs. Without them, the names that the file itself gives.
    pub labels: Option<Labels>,
    /// Variant that answers a request that names none: its name, or `auto` for the router's choice.
    #[serde(default = "auto")]
    pub default_variant: String,
    /// How an image becomes the graph's input.
    #[serde(default)]
    pub input: InputSection,
    /// How the graph's outputs become a prediction.
    pub output: OutputSpec,
    /// The variants. Without any, every `.onnx` and `.onnx.zst` beside the manifest is a variant.
    #[serde(default, rename = "variant")]
    pub variants: Vec<VariantSpec>,
    /// How requests are batched.
    #[serde(default)]
    pub batching: Batching,
    /// Execution providers, sessions and threads.
    #[serde(default)]
    pub execution: Execution,
    /// How the router chooses a variant, where a request does not name one.
    #[serde(default)]
    pub routing: RoutingSection,
}

fn auto() -> String {
    "auto".to_owned()
}

/// Class names, as a list or as a text file with one name on each line.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Labels {
    /// The names are in the manifest.
    List(Vec<String>),
    /// The names are in a file, with its path relative to the manifest.
    File(PathBuf),
}

/// How the graph's outputs become a prediction.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// Layout of the outputs.
    pub decode: Decoding,
    /// Strides of the grids, for decodings that have grids.
    #[serde(default = "default_strides")]
    pub strides: Vec<NonZeroU32>,
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
    /// Meaning of a box's four numbers (`boxes-scores`, `detr`, `nms-in-graph`).
    #[serde(default)]
    pub box_format: BoxFormat,
    /// Unit of a box's numbers (`boxes-scores`, `detr`, `nms-in-graph`). Without it, the decoding decides.
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
            | Self::NmsInGraph => Task::Detect,
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

/// A variant of a model, which is one file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantSpec {
    /// Name that requests use.
    pub name: String,
    /// Path of the `.onnx` or `.onnx.zst` file, relative to the version's folder.
    pub file: PathBuf,
    /// SHA-256 of that file, which is checked when it is loaded.
    pub sha256: Option<String>,
    /// Measured accuracy by metric (`ap50`, `accuracy`, …), which `/v1/models` shows.
    #[serde(default)]
    pub accuracy: std::collections::BTreeMap<String, f64>,
}

/// How requests are batched.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Batching {
    /// Largest number of images in a run. `auto` is 32, below which the latency profile decides. Graphs with a fixed batch
    /// axis run images one by one.
    pub max_batch: Auto,
    /// Longest time that a request waits for others while a session is free, in milliseconds from its arrival. Without it,
    /// a request waits as long as that pays and its deadline is safe. With 0 it does not wait.
    pub max_delay_ms: Option<u64>,
    /// Largest number of requests that wait for a variant. One more is refused with 429.
    pub max_queue: NonZeroUsize,
    /// Batch sizes that may run; smaller batches are padded. Without it, every size may run (powers of two on TensorRT).
    pub sizes: Option<Vec<NonZeroUsize>>,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            max_batch: Auto::Auto,
            max_delay_ms: None,
            max_queue: NonZeroUsize::MIN.saturating_add(255),
            sizes: None,
        }
    }
}

/// Execution providers, sessions and threads of a model.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Execution {
    /// Execution providers in order of preference. Without them, the server's list is used.
    pub providers: Option<Vec<Provider>>,
    /// Number of sessions of each variant.
    pub instances: Auto,
    /// Number of intra-op threads of each session.
    pub threads: Auto,
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
