//! `[input]` of a manifest: how an image becomes the graph's input.
//!
//! [`InputSection`] is what a manifest says, with nothing where it is silent. [`InputSpec`] is what holds in the end.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::config::Ratio;

/// What a manifest says in `[input]`. A key that it leaves out is none here, so that it can be told from one that is said.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InputSection {
    /// See [`InputSpec::size`].
    pub size: Option<[NonZeroU32; 2]>,
    /// See [`InputSpec::layout`].
    pub layout: Option<Layout>,
    /// See [`InputSpec::color`].
    pub color: Option<Color>,
    /// See [`InputSpec::fit`].
    pub fit: Option<Fit>,
    /// See [`InputSpec::crop_ratio`].
    pub crop_ratio: Option<Ratio>,
    /// See [`InputSpec::resize`].
    pub resize: Option<Resize>,
    /// See [`InputSpec::pad`].
    pub pad: Option<u8>,
    /// See [`InputSpec::scale`].
    pub scale: Option<f32>,
    /// See [`InputSpec::mean`].
    pub mean: Option<[f32; 3]>,
    /// See [`InputSpec::std`].
    pub std: Option<[f32; 3]>,
    /// See [`InputSpec::size_input`].
    pub size_input: Option<String>,
    /// See [`InputSpec::size_order`].
    pub size_order: Option<SizeOrder>,
}

impl InputSection {
    /// Whether it says how pixels become numbers: `scale`, `mean` or `std`.
    #[must_use]
    pub fn says_normalisation(&self) -> bool {
        self.scale.is_some() || self.mean.is_some() || self.std.is_some()
    }
}

/// How an image becomes the graph's input: it is decoded to RGB and fitted to `size`, and then
/// `value = (pixel · scale − mean) / std`, with pixels in 0..=255.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "InputSection")]
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

impl From<InputSection> for InputSpec {
    /// Takes the documented default for each key that the manifest leaves out.
    fn from(said: InputSection) -> Self {
        let default = Self::default();
        Self {
            size: said.size,
            layout: said.layout,
            color: said.color.unwrap_or(default.color),
            fit: said.fit.unwrap_or(default.fit),
            crop_ratio: said.crop_ratio.unwrap_or(default.crop_ratio),
            resize: said.resize.unwrap_or(default.resize),
            pad: said.pad.unwrap_or(default.pad),
            scale: said.scale.unwrap_or(default.scale),
            mean: said.mean.unwrap_or(default.mean),
            std: said.std.unwrap_or(default.std),
            size_input: said.size_input,
            size_order: said.size_order.unwrap_or(default.size_order),
        }
    }
}

/// Position of the channels in the input's shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// The shape is `[batch, channel, height, width]`.
    Nchw,
    /// The shape is `[batch, height, width, channel]`.
    Nhwc,
}

/// Order of the colour channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Color {
    /// Red comes first (most networks).
    Rgb,
    /// Blue comes first (networks trained with OpenCV).
    Bgr,
}

/// How an image of another aspect ratio is fitted into the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
