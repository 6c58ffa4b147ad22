//! `model.toml`: what a model's graph does not say about itself.
//!
//! Every type here is what serde reads, and cannot hold a value that makes no sense: scores lie in 0..=1, sizes are
//! not zero, unknown keys are refused. Three lines are a valid manifest (`task`, `labels`, `output.decode`).

use std::{
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

mod routing;
mod variant_id;

pub use self::{
    routing::{RoutingSection, ShadowSection},
    variant_id::VariantId,
};
pub use crate::config::Task;
use crate::config::{Auto, Provider, Ratio};

/// A whole `model.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What the model answers.
    pub task: Task,
    /// The names of the classes, in the order of the graph's outputs.
    pub labels: Labels,
    /// The variant that answers when a request names none: a variant's name, or `auto`: the router's choice.
    #[serde(default = "auto")]
    pub default_variant: String,
    /// How an image becomes the graph's input.
    #[serde(default)]
    pub input: InputSpec,
    /// How the graph's outputs become an answer.
    pub output: OutputSpec,
    /// The files to serve; when there is none, every `.onnx` and `.onnx.zst` beside the manifest is one.
    #[serde(default, rename = "variant")]
    pub variants: Vec<VariantSpec>,
    /// How requests are run together.
    #[serde(default)]
    pub batching: Batching,
    /// Where and on how many threads the model runs.
    #[serde(default)]
    pub execution: Execution,
    /// Which variant answers, where a request does not say.
    #[serde(default)]
    pub routing: RoutingSection,
}

fn auto() -> String {
    "auto".to_owned()
}

/// Class names: a list, or a text file with one name a line.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Labels {
    /// Written in the manifest.
    List(Vec<String>),
    /// A file, its path relative to the manifest.
    File(PathBuf),
}

/// How an image becomes the graph's input: decoded to RGB, fitted to `size`, then
/// `value = (pixel · scale − mean) / std`, with pixels in 0..=255.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InputSpec {
    /// Width and height, for graphs that leave them free.
    pub size: Option<[NonZeroU32; 2]>,
    /// Where the channels stand; read from the graph's shape when left out.
    pub layout: Option<Layout>,
    /// The order of the channels.
    pub color: Color,
    /// How an image of another shape is fitted into the input.
    pub fit: Fit,
    /// For `crop`: the part of the short side that is kept (0.875: resize to 256, cut 224).
    pub crop_ratio: Ratio,
    /// The resize filter the network was trained behind.
    pub resize: Resize,
    /// The grey (0..=255) of the bars around a letterboxed image.
    pub pad: u8,
    /// Multiplied with every pixel first.
    pub scale: f32,
    /// Subtracted next, a value a channel, in the order of `color`.
    pub mean: [f32; 3],
    /// Divided by last, a value a channel, in the order of `color`.
    pub std: [f32; 3],
    /// The name of a second input that wants the image's size (DETR exports: `orig_target_sizes`); found by its
    /// shape (`[N, 2]`) when left out.
    pub size_input: Option<String>,
    /// What that second input holds.
    pub size_order: SizeOrder,
}

impl Default for InputSpec {
    fn default() -> Self {
        Self {
            size: None,
            layout: None,
            color: Color::Rgb,
            fit: Fit::Stretch,
            crop_ratio: Ratio::clamped(0.875),
            resize: Resize::Bilinear,
            pad: 114,
            scale: 1.0,
            mean: [0.0; 3],
            std: [1.0; 3],
            size_input: None,
            size_order: SizeOrder::WidthHeight,
        }
    }
}

/// Where the channels stand in the input's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `[batch, channel, height, width]`.
    Nchw,
    /// `[batch, height, width, channel]`.
    Nhwc,
}

/// The order of the colour channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// Red first (most networks).
    Rgb,
    /// Blue first (networks trained behind OpenCV).
    Bgr,
}

/// How an image of another shape is fitted into the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Width and height are scaled apart.
    Stretch,
    /// The ratio is kept, the image is centred, the rest is `pad` (YOLOv5, YOLOv8).
    Letterbox,
    /// The ratio is kept, the image stands top left, the rest is `pad` (YOLOX).
    LetterboxTopLeft,
    /// The short side is scaled to `size / crop_ratio`, then the centre is cut out (ImageNet classifiers).
    Crop,
}

/// The filter that makes an image smaller. Networks see other pixels behind another filter: take the one of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// Four neighbours, no anti-aliasing: OpenCV's `INTER_LINEAR`.
    Bilinear,
    /// Support widens with the scale: Pillow's `BILINEAR`, torchvision with `antialias=True`.
    BilinearAntialias,
    /// Support widens with the scale: Pillow's `BICUBIC`.
    BicubicAntialias,
    /// Support widens with the scale: Pillow's `LANCZOS`.
    Lanczos,
    /// The mean of the covered pixels: OpenCV's `INTER_AREA`.
    Area,
    /// The nearest pixel.
    Nearest,
}

/// What the image-size input of a DETR-like graph holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum SizeOrder {
    /// `[width, height]` (RT-DETR, D-FINE exports).
    #[serde(rename = "wh")]
    WidthHeight,
    /// `[height, width]` (Hugging Face style).
    #[serde(rename = "hw")]
    HeightWidth,
}

/// How the graph's outputs become an answer.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// The layout of the outputs.
    pub decode: Decoding,
    /// Grid strides, for the decodings that have grids.
    #[serde(default = "default_strides")]
    pub strides: Vec<NonZeroU32>,
    /// Detections below this score are left out.
    #[serde(default = "default_min_score")]
    pub min_score: Ratio,
    /// Of two boxes of a class that overlap by more than this IoU, the weaker is left out.
    #[serde(default = "default_iou")]
    pub iou: Ratio,
    /// The most detections in an answer.
    #[serde(default = "default_max_detections")]
    pub max_detections: NonZeroUsize,
    /// The most classes in an answer.
    #[serde(default = "default_top_k")]
    pub top_k: NonZeroUsize,
    /// For integer outputs: `value = (stored − zero_point) · scale`.
    #[serde(default = "one")]
    pub scale: f32,
    /// See `scale`.
    #[serde(default)]
    pub zero_point: f32,
    /// How a box's four numbers are meant (`boxes-scores`, `detr`, `nms-in-graph`).
    #[serde(default)]
    pub box_format: BoxFormat,
    /// The unit of a box's numbers (`boxes-scores`, `detr`, `nms-in-graph`); by the decoding when left out.
    pub box_unit: Option<BoxUnit>,
    /// Applied to class scores before they are read (`boxes-scores`, `logits`); by the decoding when left out.
    pub activation: Option<Activation>,
    /// The class that means "nothing here", which is never answered (`boxes-scores`).
    pub background: Option<usize>,
    /// Which output is which, where shapes and usual names do not tell.
    #[serde(default)]
    pub names: OutputNames,
}

/// Names of outputs, for decodings that read several.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutputNames {
    /// The boxes.
    pub boxes: Option<String>,
    /// Their scores.
    pub scores: Option<String>,
    /// Their classes.
    pub labels: Option<String>,
    /// How many there are.
    pub count: Option<String>,
}

/// The layout of a graph's outputs. `docs/models.md` has a line and a shape for each.
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
    /// The task that such outputs answer.
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

/// How a box's four numbers are meant.
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

/// The unit of a box's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BoxUnit {
    /// 0..1 of the network's input.
    Unit,
    /// Pixels of the network's input.
    Input,
    /// Pixels of the image (graphs that are given its size).
    #[serde(rename = "picture")]
    Image,
}

/// What turns a raw class score into a probability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// Scores are probabilities already.
    None,
    /// Over all classes.
    Softmax,
    /// Each class alone.
    Sigmoid,
}

/// One file of a model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantSpec {
    /// What requests call it.
    pub name: String,
    /// The `.onnx` or `.onnx.zst` file, relative to the version's folder.
    pub file: PathBuf,
    /// The SHA-256 of that file, checked at load.
    pub sha256: Option<String>,
    /// Measured quality, by metric (`ap50`, `accuracy`, …), shown in `/v1/models`.
    #[serde(default)]
    pub accuracy: std::collections::BTreeMap<String, f64>,
}

/// How requests are run together.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Batching {
    /// The most images in one run; `auto` is 32, of which the curve chooses. Graphs that take one image run them one
    /// by one.
    pub max_batch: Auto,
    /// The longest that a request may be made to wait for others while a session is free, counted from its arrival. Left
    /// out: as long as waiting pays and its deadline is safe; 0: not at all.
    pub max_delay_ms: Option<u64>,
    /// The most requests that wait for a variant; one more is refused with 429.
    pub max_queue: NonZeroUsize,
    /// The sizes that a run may have; fewer images are padded. Left out: any size, on TensorRT powers of two.
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

/// Where and on how many threads a model runs.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Execution {
    /// Execution providers in order of preference; the server's own list when left out.
    pub providers: Option<Vec<Provider>>,
    /// Sessions side by side.
    pub instances: Auto,
    /// Intra-op threads a session.
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
