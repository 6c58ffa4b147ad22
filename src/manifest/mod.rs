//! The manifest of a model, `model.toml`: what the model's graph does not say about itself.
//!
//! The types are read by serde and do not allow invalid values: scores lie in 0..=1, sizes are not zero, and unknown keys
//! are refused. Three lines are a valid manifest (`task`, `labels`, `output.decode`).

use std::{
    num::{NonZeroU32, NonZeroUsize},
    path::PathBuf,
};

use serde::Deserialize;

mod output;
mod routing;
mod variant_id;

pub use self::{
    output::{Activation, BoxFormat, BoxUnit, Decoding, OutputNames, OutputSpec},
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
    /// Names of the classes, in the order of the graph's outputs.
    pub labels: Labels,
    /// Variant that answers a request that names none: its name, or `auto` for the router's choice.
    #[serde(default = "auto")]
    pub default_variant: String,
    /// How an image becomes the graph's input.
    #[serde(default)]
    pub input: InputSpec,
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

/// How an image becomes the graph's input: it is decoded to RGB and fitted to `size`, and then
/// `value = (pixel · scale − mean) / std`, with pixels in 0..=255.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InputSpec {
    /// Width and height in pixels, for graphs that leave them free.
    pub size: Option<[NonZeroU32; 2]>,
    /// Position of the channels. Without it, it is read from the graph's shape.
    pub layout: Option<Layout>,
    /// Order of the channels.
    pub color: Color,
    /// How an image of another aspect ratio is fitted into the input.
    pub fit: Fit,
    /// Share of the short side that `crop` keeps (0.875 stands for a resize to 256 and a crop of 224).
    pub crop_ratio: Ratio,
    /// Resize filter that the network was trained with.
    pub resize: Resize,
    /// Grey (0..=255) of the bars around a letterboxed image.
    pub pad: u8,
    /// Factor of every pixel, which is applied first.
    pub scale: f32,
    /// Mean of each channel in the order of `color`, which is subtracted next.
    pub mean: [f32; 3],
    /// Divisor of each channel in the order of `color`, which is applied last.
    pub std: [f32; 3],
    /// Name of a second input that takes the image's size (`orig_target_sizes` in DETR exports). Without it, the input is
    /// found by its shape (`[N, 2]`).
    pub size_input: Option<String>,
    /// Order of the numbers in that second input.
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

/// Position of the channels in the input's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// The shape is `[batch, channel, height, width]`.
    Nchw,
    /// The shape is `[batch, height, width, channel]`.
    Nhwc,
}

/// Order of the colour channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// Red comes first (most networks).
    Rgb,
    /// Blue comes first (networks trained with OpenCV).
    Bgr,
}

/// How an image of another aspect ratio is fitted into the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// Width and height are scaled independently.
    Stretch,
    /// The aspect ratio is kept, the image is centred, and the rest is `pad` (YOLOv5, YOLOv8).
    Letterbox,
    /// The aspect ratio is kept, the image is at the top left, and the rest is `pad` (YOLOX).
    LetterboxTopLeft,
    /// The short side is scaled to `size / crop_ratio`, and the centre is cropped (ImageNet classifiers).
    Crop,
}

/// Filter that resizes an image. It should be the one of the training, since each filter makes other pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// Bilinear over four neighbours without anti-aliasing (OpenCV's `INTER_LINEAR`).
    Bilinear,
    /// Bilinear with anti-aliasing (Pillow's `BILINEAR`, torchvision with `antialias=True`).
    BilinearAntialias,
    /// Bicubic with anti-aliasing (Pillow's `BICUBIC`).
    BicubicAntialias,
    /// Lanczos with anti-aliasing (Pillow's `LANCZOS`).
    Lanczos,
    /// The mean of the covered pixels (OpenCV's `INTER_AREA`).
    Area,
    /// The nearest pixel.
    Nearest,
}

/// Order of the numbers in the image-size input of a DETR-like graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum SizeOrder {
    /// The input is `[width, height]` (exports of RT-DETR and D-FINE).
    #[serde(rename = "wh")]
    WidthHeight,
    /// The input is `[height, width]` (exports of Hugging Face).
    #[serde(rename = "hw")]
    HeightWidth,
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
