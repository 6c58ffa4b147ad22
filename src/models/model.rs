//! A model that is loaded: what it is ([`ModelInfo`], [`VariantInfo`]), what runs it, and the live state that the rooms below
//! keep for it.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use crate::{
    capacity::{Footprint, Tally},
    config::{Provider, Task},
    manifest::{Decoding, VariantId},
    routing::RoutingState,
    scheduler::{latency_profile::ProfilePoint, queue::Queue, stats::VariantStats},
    tasks::{PostprocessOptions, Postprocessor},
    telemetry::metrics::VariantSeries,
    vision::{prepare::Preprocessor, tensor::Port},
};

/// A loaded model. When the last request that holds it has ended, its workers end, too.
#[derive(Debug)]
pub struct Model {
    /// What it is.
    pub info: ModelInfo,
    /// Its variants, the default first; there is at least one.
    pub variants: Vec<Variant>,
    /// What is known about its traffic, for the choice of a variant.
    pub(crate) routing: RoutingState,
    /// What its requests asked for since the last estimate of the replica's load.
    pub(crate) tally: Tally,
}

/// One file of a model with the queue before the sessions that run it.
#[derive(Debug)]
pub struct Variant {
    /// What it is.
    pub info: VariantInfo,
    pub(crate) preprocessor: Arc<Preprocessor>,
    pub(crate) postprocessor: Arc<Postprocessor>,
    pub(crate) queue: Arc<Queue>,
    /// Its time series in the metrics.
    pub(crate) series: VariantSeries,
}

/// The facts about a model. They do not change while it is loaded.
#[derive(Debug, Clone)]
pub struct ModelInfo {
    /// Its folder's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it answers.
    pub task: Task,
    /// The names of its classes.
    pub labels: Vec<String>,
    /// How its outputs are decoded.
    pub decoding: Decoding,
    /// Postprocessing options where a request sets none.
    pub defaults: PostprocessOptions,
    /// Width and height of its input in pixels.
    pub input_size: (u32, u32),
    /// The graph's inputs.
    pub inputs: Vec<Port>,
    /// The graph's outputs.
    pub outputs: Vec<Port>,
    /// Which of the inputs takes the image.
    pub image_input: usize,
    /// The most requests that may wait for a variant.
    pub max_queue: usize,
    /// The metric by which variants are compared, one that all of them have if there is one.
    pub metric: Option<String>,
    /// What the manifest leaves out and was taken from elsewhere.
    pub inferred: Vec<InferredSetting>,
}

/// A setting of the manifest that was left out, and what holds instead of ounce's default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InferredSetting {
    /// The setting, as in `input.scale`.
    pub key: &'static str,
    /// Its value, as a manifest would have it.
    pub value: String,
    /// Where the value is from: "Ultralytics 8.3.40", "usual for `yolox`".
    pub origin: String,
}

impl InferredSetting {
    /// Several in one line: `labels = the file's 80 names, input.fit = "letterbox" (Ultralytics 8.3.40)`.
    #[must_use]
    pub fn in_words(settings: &[Self]) -> String {
        let of_one_origin = settings.chunk_by(|one, next| one.origin == next.origin).map(|settings| {
            let values: Vec<_> = settings.iter().map(|it| format!("{} = {}", it.key, it.value)).collect();
            let origin = settings.first().map_or("", |setting| &setting.origin);
            format!("{} ({origin})", values.join(", "))
        });
        of_one_origin.collect::<Vec<_>>().join(", ")
    }
}

/// The facts about a variant. They do not change while it is loaded.
#[derive(Debug, Clone)]
pub struct VariantInfo {
    /// Its place among the model's variants.
    pub id: VariantId,
    /// What requests call it.
    pub name: String,
    /// The file's name.
    pub file: String,
    /// The file's size.
    pub size_bytes: u64,
    /// Its measured quality, by metric.
    pub accuracy: BTreeMap<String, f64>,
    /// The execution providers in use, in order of preference.
    pub providers: Vec<Provider>,
    /// The execution providers that were asked for and are not available.
    pub missing_providers: Vec<Provider>,
    /// Sessions side by side.
    pub instances: usize,
    /// Intra-op threads of each session.
    pub threads: usize,
    /// Whether several images can share a run.
    pub batch_axis: BatchAxis,
    /// Why they cannot, where the batch axis is fixed.
    pub why_fixed: Option<String>,
    /// The most images in a run.
    pub max_batch: usize,
    /// The graph's inputs.
    pub inputs: Vec<Port>,
    /// The graph's outputs.
    pub outputs: Vec<Port>,
}

/// Whether a graph takes several images at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BatchAxis {
    /// The graph takes one image a run.
    Fixed,
    /// The file says one image, but the axis was freed when it was loaded: any number.
    Freed,
    /// The graph takes any number.
    Free,
}

impl BatchAxis {
    /// Free when all inputs and outputs have a free first dimension. That dimension may mean something else (the boxes
    /// of one image), so it must be tried.
    pub(super) fn declared(inputs: &[Port], outputs: &[Port]) -> Self {
        let free = inputs.iter().chain(outputs).all(|port| matches!(port.shape.first(), Some(None)));
        if free { Self::Free } else { Self::Fixed }
    }

    /// Whether images can share a run.
    #[must_use]
    pub fn is_free(self) -> bool {
        self != Self::Fixed
    }
}

impl Model {
    /// A variant by its number; the default one where there is none with that number.
    #[must_use]
    pub fn variant(&self, id: VariantId) -> &Variant {
        // A model always has a variant.
        self.variants.get(id.index()).unwrap_or(&self.variants[0])
    }

    /// A variant by its name.
    #[must_use]
    pub fn variant_named(&self, name: &str) -> Option<&Variant> {
        self.variants.iter().find(|variant| variant.info.name == name)
    }

    /// How many requests wait for its variants.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.variants.iter().map(|variant| variant.queue.len()).sum()
    }

    /// Ends the workers: at once with `abandon`, else when all that waits is done.
    pub(super) fn close(&self, abandon: bool) {
        self.variants.iter().for_each(|variant| variant.queue.close(abandon));
    }
}

impl Drop for Variant {
    /// When the last request that holds the model has ended, nobody can queue anything any more; nor when the model
    /// never came to be, since another of its variants could not start. The workers end, and with them their sessions.
    fn drop(&mut self) {
        self.queue.close(false);
    }
}

impl ModelInfo {
    /// The input that takes the image.
    #[must_use]
    pub fn image_port(&self) -> Option<&Port> {
        self.inputs.get(self.image_input)
    }

    /// What the manifest says about the quality of a variant, by the metric by which this model's variants are compared.
    #[must_use]
    pub fn quality(&self, variant: &VariantInfo) -> Option<f64> {
        variant.accuracy.get(self.metric.as_ref()?).copied()
    }
}

impl Variant {
    /// How long runs take, by the number of images in them.
    #[must_use]
    pub fn latency_profile(&self) -> Vec<ProfilePoint> {
        self.queue.profile()
    }

    /// What has been run so far.
    #[must_use]
    pub fn stats(&self) -> VariantStats {
        self.queue.stats()
    }
}

impl VariantInfo {
    /// Whether it is the model's default variant.
    #[must_use]
    pub fn is_default(&self) -> bool {
        self.id == VariantId::DEFAULT
    }

    /// What its runs occupy of the machine.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        let on_device = matches!(self.providers.first(), Some(Provider::Cuda | Provider::Tensorrt));
        Footprint { instances: self.instances, threads: self.threads, on_device }
    }
}

#[cfg(test)]
impl ModelInfo {
    /// A classifier without inputs and outputs.
    pub(crate) fn for_tests() -> Self {
        Self {
            name: String::new(),
            version: String::new(),
            task: Task::Classify,
            labels: Vec::new(),
            decoding: Decoding::Softmax,
            defaults: PostprocessOptions { min_score: 0.3, iou: 0.5, asked_iou: None, max_detections: 300, top_k: 5 },
            input_size: (1, 1),
            inputs: Vec::new(),
            outputs: Vec::new(),
            image_input: 0,
            max_queue: 1,
            metric: None,
            inferred: Vec::new(),
        }
    }
}
