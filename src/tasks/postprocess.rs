//! A graph's outputs become a prediction.
//!
//! [`Postprocessor::new`] settles once, at load, which output is what, and refuses what does not fit, with the shapes it
//! saw and the shapes it wants. [`Postprocessor::read`] then reads one image's outputs.

use super::{
    Decoder, Prediction,
    outputs::{OutputPorts, OutputValues, Quantisation},
};
use crate::{
    manifest::OutputSpec,
    vision::{
        geometry::Placement,
        tensor::{Port, Tensor},
    },
};

/// What is left out of an answer, and how long it may be. The manifest says it; a request may say otherwise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PostprocessOptions {
    /// Detections below this score are left out. Classes are not: the best of them is an answer at any score.
    pub min_score: f32,
    /// Of two boxes of a class that overlap by more than this IoU, the weaker is left out.
    pub iou: f32,
    /// The IoU that the request itself names. Decodings whose boxes are final suppress overlapping ones only then.
    pub asked_iou: Option<f32>,
    /// The most detections that an answer has.
    pub max_detections: usize,
    /// The most classes that an answer has.
    pub top_k: usize,
}

impl From<&OutputSpec> for PostprocessOptions {
    fn from(spec: &OutputSpec) -> Self {
        Self {
            min_score: spec.min_score.get(),
            iou: spec.iou.get(),
            asked_iou: None,
            max_detections: spec.max_detections.get(),
            top_k: spec.top_k.get(),
        }
    }
}

/// Reads one graph's outputs.
///
/// ```
/// use ounce::{
///     manifest::{InputSpec, OutputSpec},
///     tasks::{PostprocessOptions, Postprocessor, Prediction},
///     vision::{
///         decode::{DecodedImage, Pixels, SourceFormat},
///         prepare::Preprocessor,
///         tensor::{ElementType, Port, Tensor},
///     },
/// };
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let port = |name: &str, shape: &[usize]| Port {
///     name: name.to_owned(),
///     element: ElementType::F32,
///     shape: shape.iter().copied().map(Some).collect(),
/// };
/// let preprocessor = Preprocessor::new(&InputSpec::default(), &[port("images", &[1, 3, 32, 32])])?;
/// let spec: OutputSpec = toml::from_str("decode = 'softmax'")?;
/// let postprocessor = Postprocessor::new(&spec, 2, preprocessor.input_size(), &[port("probabilities", &[1, 2])])?;
///
/// let pixels = Pixels { width: 64, height: 48, rgb: vec![0; 64 * 48 * 3] };
/// let image = DecodedImage { width: 64, height: 48, pixels, format: SourceFormat::Png, orientation: 1 };
/// let preprocessed = preprocessor.preprocess(&image)?;
/// // Here a graph runs on `preprocessed.inputs`; this is what it says:
/// let outputs = [Tensor::from(ndarray::arr2(&[[0.1_f32, 0.9]]).into_dyn())];
/// let prediction = postprocessor.read(&outputs, &preprocessed.placement, &PostprocessOptions::from(&spec))?;
///
/// let labels = ["dog", "cat"].map(str::to_owned);
/// let json = serde_json::to_string(&prediction.body(&labels))?;
/// assert!(json.starts_with(r#"{"classes":[{"label":"cat","class_id":1,"score":0.9}"#));
/// assert!(matches!(prediction, Prediction::Classes(classes) if classes.len() == 2));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Postprocessor {
    decoder: Decoder,
    quantisation: Quantisation,
}

impl Postprocessor {
    /// The postprocessor that the manifest asks for, made for this graph's outputs. Free dimensions pass here and are
    /// checked when outputs are read.
    ///
    /// # Errors
    /// When the decoding does not fit the graph's outputs or the number of labels: with the shapes that it saw and those
    /// that it wants.
    pub fn new(
        spec: &OutputSpec,
        label_count: usize,
        input_size: (u32, u32),
        outputs: &[Port],
    ) -> Result<Self, String> {
        if label_count == 0 {
            return Err("the model has no labels; wanted: a name for each class".to_owned());
        }
        let decoder = Decoder::new(&OutputPorts { spec, outputs }, label_count, input_size)?;
        let quantisation = Quantisation { scale: spec.scale, zero_point: spec.zero_point };
        if !quantisation.scale.is_finite() || !quantisation.zero_point.is_finite() {
            return Err("output.scale and output.zero_point must be finite".to_owned());
        }
        Ok(Self { decoder, quantisation })
    }

    /// Reads the outputs for one image, which are in the graph's order, with a batch axis of 1 where there is one.
    ///
    /// # Errors
    /// When the outputs do not have the shapes that the graph promised.
    pub fn read(
        &self,
        outputs: &[Tensor],
        placement: &Placement,
        options: &PostprocessOptions,
    ) -> Result<Prediction, String> {
        let values = OutputValues { tensors: outputs, quantisation: self.quantisation };
        self.decoder.read(&values, placement, options)
    }

    /// Why images cannot share a run, where the outputs of several could not be told apart.
    #[must_use]
    pub fn why_single(&self) -> Option<&'static str> {
        self.decoder.why_single()
    }
}
