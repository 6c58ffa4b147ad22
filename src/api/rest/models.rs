//! `/v1/models`: what is served, and how.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{Extension, Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    api::{
        find_model,
        middleware::request_info::RequestInfo,
        path::Path,
        problem::{Problem, ProblemBody},
    },
    config::{Provider, Task},
    error::Error,
    inference::Inference,
    lifecycle,
    manifest::Decoding,
    models::{BatchAxis, Model, Variant},
    scheduler::latency_profile::ProfilePoint,
    stats::round::places,
    vision::tensor::Port,
};

/// All models.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct ModelList {
    models: Vec<ModelBody>,
}

/// A model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Model)]
pub(in crate::api) struct ModelBody {
    /// What requests call it.
    #[schema(example = "pedestrian")]
    name: String,
    /// Its version.
    #[schema(example = "1")]
    version: String,
    /// What it answers.
    #[schema(value_type = String, example = "detect")]
    task: Task,
    /// `ready`, or `starting`.
    #[schema(example = "ready")]
    state: &'static str,
    /// Whether it answers now.
    ready: bool,
    /// Why what lies in its folder now is not what answers, when that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
    /// How many classes it knows.
    label_count: usize,
    /// Their names; only where one model is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    labels: Option<Vec<String>>,
    /// How its outputs are read.
    #[schema(value_type = String, example = "yolox")]
    decode: Decoding,
    /// What a picture becomes before the model sees it.
    input: InputBody,
    /// The graph's inputs.
    inputs: Vec<PortBody>,
    /// The graph's outputs.
    outputs: Vec<PortBody>,
    /// Settings of the manifest that it leaves out and that are not at ounce's defaults: they are what the model's file says of itself, or what is
    /// usual for such outputs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(example = json!(["labels", "input.scale"]))]
    inferred: Vec<&'static str>,
    /// What holds where a request says nothing.
    defaults: DefaultsBody,
    /// How requests are run together.
    batching: BatchingBody,
    /// The files that can answer.
    variants: Vec<VariantBody>,
}

/// What a picture becomes.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct InputBody {
    /// The input's name in the graph.
    name: String,
    /// Width and height in pixels.
    #[schema(example = json!([192, 192]))]
    size: [u32; 2],
    /// The type of its elements.
    #[schema(example = "FP32")]
    element: &'static str,
}

/// An input or output of the graph.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Port)]
pub(in crate::api) struct PortBody {
    /// Its name.
    pub name: String,
    /// The type of its elements, in the words of the Open Inference Protocol.
    #[schema(example = "FP32")]
    pub datatype: &'static str,
    /// Its dimensions; -1 is free.
    #[schema(example = json!([-1, 3, 192, 192]))]
    pub shape: Vec<i64>,
}

/// What holds where a request says nothing.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Defaults)]
pub(in crate::api) struct DefaultsBody {
    min_score: f64,
    iou: f64,
    max_detections: usize,
    top_k: usize,
}

/// How requests are run together.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Batching)]
pub(in crate::api) struct BatchingBody {
    /// The most requests that wait for a variant; one more is refused with 429.
    max_queue: usize,
    /// How many wait now.
    waiting: usize,
}

/// One file of a model.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Variant)]
pub(in crate::api) struct VariantBody {
    /// What requests call it.
    #[schema(example = "int8")]
    name: String,
    /// Whether it answers where a request names none.
    default: bool,
    /// The file.
    #[schema(example = "int8.onnx.zst")]
    file: String,
    /// Its size.
    size_bytes: u64,
    /// Measured quality, by metric.
    accuracy: BTreeMap<String, f64>,
    /// The execution providers in use, in order.
    #[schema(value_type = Vec<String>, example = json!(["cpu"]))]
    providers: Vec<Provider>,
    /// Sessions side by side.
    instances: usize,
    /// Threads a session.
    threads: usize,
    /// The most pictures in one run.
    max_batch: usize,
    /// `free`; `freed` where the file takes one picture at a time and its axis was freed when it was loaded; or `fixed`.
    #[schema(value_type = String, example = "free")]
    batch_axis: BatchAxis,
    /// Why the axis is fixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    why_fixed: Option<String>,
    /// What a run costs on this machine, by the pictures in it: measured before the first request, then from traffic.
    curve: Vec<ProfileBody>,
}

/// What a run of so many pictures costs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CurvePoint)]
pub(in crate::api) struct ProfileBody {
    /// Pictures in the run.
    batch_size: usize,
    /// The latest runs, of which the quantiles are.
    runs: usize,
    /// Half of the runs took no longer.
    p50_ms: f64,
    /// Nine in ten took no longer.
    p90_ms: f64,
    /// 99 in 100 took no longer.
    p99_ms: f64,
}

impl From<ProfilePoint> for ProfileBody {
    fn from(point: ProfilePoint) -> Self {
        let ms = |time: Duration| places(time.as_secs_f64() * 1000.0, 3);
        Self {
            batch_size: point.rows,
            runs: point.runs,
            p50_ms: ms(point.p50),
            p90_ms: ms(point.p90),
            p99_ms: ms(point.p99),
        }
    }
}

/// Every model that is served.
#[utoipa::path(get, path = "/v1/models", tag = "models", responses((status = 200, description = "All models", body = ModelList)))]
pub(in crate::api) async fn list(State(inference): State<Arc<Inference>>) -> Result<Json<ModelList>, Problem> {
    if inference.lifecycle().state() == lifecycle::LifecycleState::Starting {
        return Err(Error::Starting.into());
    }
    let models = inference.models().models();
    let body = |model: &Arc<Model>| ModelBody::new(model, inference.models().trouble(&model.info.name), false);
    Ok(Json(ModelList { models: models.iter().map(body).collect() }))
}

/// One model, with its labels.
#[utoipa::path(
    get, path = "/v1/models/{model}", tag = "models",
    params(("model" = String, Path, description = "The model's name")),
    responses(
        (status = 200, description = "The model", body = ModelBody),
        (status = 404, description = "No such model", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(in crate::api) async fn one(
    State(inference): State<Arc<Inference>>,
    Extension(info): Extension<RequestInfo>,
    Path(name): Path<String>,
) -> Result<Json<ModelBody>, Problem> {
    let model = find_model(&inference, &info, name)?;
    Ok(Json(ModelBody::new(&model, inference.models().trouble(&model.info.name), true)))
}

impl ModelBody {
    fn new(model: &Model, trouble: Option<String>, with_labels: bool) -> Self {
        let (waiting, variants) = (model.waiting(), model.variants.iter().map(VariantBody::from).collect());
        let model = &model.info;
        let image = model.image_port();
        Self {
            name: model.name.clone(),
            version: model.version.clone(),
            task: model.task,
            // A model is only known once it is loaded and tried out.
            state: "ready",
            ready: true,
            trouble,
            label_count: model.labels.len(),
            labels: with_labels.then(|| model.labels.clone()),
            decode: model.decoding,
            input: InputBody {
                name: image.map(|port| port.name.clone()).unwrap_or_default(),
                size: [model.input_size.0, model.input_size.1],
                element: image.map_or("", |port| port.element.oip_name()),
            },
            inputs: model.inputs.iter().map(PortBody::from).collect(),
            outputs: model.outputs.iter().map(PortBody::from).collect(),
            inferred: model.inferred.iter().map(|setting| setting.key).collect(),
            defaults: DefaultsBody {
                min_score: places(model.defaults.min_score, 4),
                iou: places(model.defaults.iou, 4),
                max_detections: model.defaults.max_detections,
                top_k: model.defaults.top_k,
            },
            batching: BatchingBody { max_queue: model.max_queue, waiting },
            variants,
        }
    }
}

impl From<&Port> for PortBody {
    fn from(port: &Port) -> Self {
        let free_is_minus_one = |dim: &Option<usize>| dim.map_or(-1, |n| i64::try_from(n).unwrap_or(i64::MAX));
        Self {
            name: port.name.clone(),
            datatype: port.element.oip_name(),
            shape: port.shape.iter().map(free_is_minus_one).collect(),
        }
    }
}

impl From<&Variant> for VariantBody {
    fn from(variant: &Variant) -> Self {
        let curve = variant.latency_profile().into_iter().map(ProfileBody::from).collect();
        let variant = &variant.info;
        Self {
            name: variant.name.clone(),
            default: variant.is_default(),
            file: variant.file.clone(),
            size_bytes: variant.size_bytes,
            accuracy: variant.accuracy.clone(),
            providers: variant.providers.clone(),
            instances: variant.instances,
            threads: variant.threads,
            max_batch: variant.max_batch,
            batch_axis: variant.batch_axis,
            why_fixed: variant.why_fixed.clone(),
            curve,
        }
    }
}
