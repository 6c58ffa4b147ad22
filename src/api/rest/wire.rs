//! The JSON of an answer. Numbers are rounded to what they are worth, so that people can read them.

use axum::http::{HeaderName, HeaderValue};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::problem::{Problem, ProblemBody},
    cost::RequestCost,
    inference::{ImageOutput, Response, Timing},
    stats::round::{places, significant},
    tasks::PredictionBody,
    telemetry::Stage,
};

/// An answer. `detections` or `classes`, by the model's task.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Answer)]
pub struct AnswerBody<'a> {
    /// The request's id, as in `x-request-id`.
    #[schema(example = "01KG3W4V8D0Q6ZJ7T5X2M9N1RB")]
    id: &'a str,
    /// The name the picture came with, in an answer to several.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'a str>,
    /// The model that answered.
    #[schema(example = "pedestrian")]
    model: &'a str,
    /// Its version.
    #[schema(example = "1")]
    version: &'a str,
    /// The variant of it that answered.
    #[schema(example = "int8")]
    variant: &'a str,
    /// Why that one.
    routed: RoutedBody<'a>,
    /// The picture, as a person sees it.
    image: ImageSize,
    /// What the model says: `detections` or `classes`.
    #[serde(flatten)]
    #[schema(inline)]
    prediction: PredictionBody,
    /// Where the time went.
    timing_ms: TimingBody,
    /// How many pictures were computed together.
    #[schema(example = 3)]
    batch_size: usize,
    /// What the answer cost.
    cost: CostBody<'a>,
}

/// The router's choice.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Routed)]
pub(super) struct RoutedBody<'a> {
    /// The variant that answered.
    #[schema(example = "int8")]
    variant: &'a str,
    /// Why this one: `requested`, `only`, `default`, the objective (`cost`, `latency` or `accuracy`), or what stood in the way
    /// of a better one: `deadline`, `load` or `budget`.
    #[schema(example = "cost")]
    reason: &'static str,
}

/// A picture's size in pixels, after its EXIF orientation was applied.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub(super) struct ImageSize {
    /// Pixels.
    #[schema(example = 810)]
    pub width: u32,
    /// Pixels.
    #[schema(example = 1080)]
    pub height: u32,
}

/// Milliseconds a stage; `total` is from the request's arrival to the answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Timing)]
pub(super) struct TimingBody {
    /// Bytes to pixels.
    #[schema(example = 4.1)]
    decode: f64,
    /// Pixels to the model's input.
    #[schema(example = 0.3)]
    preprocess: f64,
    /// Waiting for a worker.
    #[schema(example = 0.4)]
    queue: f64,
    /// In the model, for the whole batch.
    #[schema(example = 2.4)]
    inference: f64,
    /// The model's output to the answer.
    #[schema(example = 0.1)]
    postprocess: f64,
    /// All of it.
    #[schema(example = 7.5)]
    total: f64,
}

/// What an answer cost, by the price that the operator set.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Cost)]
pub(super) struct CostBody<'a> {
    /// Dollars.
    #[schema(example = 1.7e-7)]
    usd: f64,
    /// The same in the operator's currency, where that is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<f64>,
    /// That currency (ISO 4217).
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<&'a str>,
    /// Seconds of one CPU.
    #[schema(example = 0.0071)]
    cpu_seconds: f64,
    /// Seconds of the GPU, where one ran it.
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu_seconds: Option<f64>,
    /// Joules; null where the machine does not tell.
    energy_joules: Option<f64>,
}

/// What became of one of several images.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum ImageResult<T> {
    /// The image was answered.
    Answered(T),
    /// The image was refused.
    Refused(RefusedImage),
}

/// Why one of several pictures has no answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Refused)]
pub(in crate::api) struct RefusedImage {
    /// The name the picture came with.
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    /// Why.
    error: ProblemBody,
}

/// The answers to several pictures, in the order they were sent: each an answer, or `{"error": …}` of its own.
#[derive(Debug, Serialize)]
pub(super) struct ImageResults<T> {
    /// One for each picture.
    pub results: Vec<ImageResult<T>>,
}

impl RefusedImage {
    /// An image that was refused because of `problem`.
    pub(super) fn new(file: Option<String>, problem: &Problem, request_id: &str) -> Self {
        Self { file, error: problem.body(Some(request_id)) }
    }
}

impl<'a> AnswerBody<'a> {
    /// The answer to one picture.
    #[must_use]
    pub fn new(id: &'a str, file: Option<&'a str>, answer: &'a Response<ImageOutput>) -> Self {
        let (model, output) = (&answer.model.info, &answer.output);
        let variant = &answer.variant().info.name;
        Self {
            id,
            file,
            model: &model.name,
            version: &model.version,
            variant,
            routed: RoutedBody { variant, reason: answer.reason.name() },
            image: ImageSize { width: output.image.width, height: output.image.height },
            prediction: output.prediction.body(&model.labels),
            timing_ms: TimingBody::from(&answer.timing),
            batch_size: answer.batch_size,
            cost: CostBody::from(&answer.cost),
        }
    }
}

impl From<&Timing> for TimingBody {
    fn from(timing: &Timing) -> Self {
        let ms = |stage| places(timing.stages.get(stage).as_secs_f64() * 1e3, 3);
        Self {
            decode: ms(Stage::Decode),
            preprocess: ms(Stage::Preprocess),
            queue: ms(Stage::Queue),
            inference: ms(Stage::Inference),
            postprocess: ms(Stage::Postprocess),
            total: places(timing.total.as_secs_f64() * 1e3, 3),
        }
    }
}

impl<'a> From<&'a RequestCost> for CostBody<'a> {
    fn from(cost: &'a RequestCost) -> Self {
        Self {
            usd: significant(cost.usd, 4),
            amount: cost.converted.map(|(amount, _)| significant(amount, 4)),
            currency: cost.converted.as_ref().map(|(_, currency)| currency.code()),
            cpu_seconds: places(cost.cpu_seconds, 6),
            gpu_seconds: cost.gpu_seconds.map(|seconds| places(seconds, 6)),
            energy_joules: cost.energy_joules.map(|joules| significant(joules, 4)),
        }
    }
}

/// The `Server-Timing` header, which browsers show in their network panel: the stages, and what the answer cost.
pub(in crate::api) fn server_timing(timing: &Timing, cost: Option<&RequestCost>) -> [(HeaderName, HeaderValue); 1] {
    let times = timing.stages.iter().map(|(stage, time)| (stage.name(), time)).chain([("total", timing.total)]);
    let times: Vec<_> =
        times.map(|(name, time)| format!("{name};dur={}", places(time.as_secs_f64() * 1e3, 3))).collect();
    let cost = cost.map(|cost| format!(", cost;desc=\"{:e} USD\"", significant(cost.usd, 4))).unwrap_or_default();
    let text = times.join(", ") + &cost;
    let value = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("total"));
    [(HeaderName::from_static("server-timing"), value)]
}
