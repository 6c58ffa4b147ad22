//! The model repository extension of the Open Inference Protocol: what there is, and loading and unloading it. Served
//! where `/metrics` is: on the admin listener when there is one.

use std::sync::Arc;

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Request, State},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::{
    api::{
        body::{BodyLimits, Upload},
        heavy,
        middleware::request_info::RequestInfo,
        path::Path,
        problem::{Problem, ProblemBody},
    },
    error::Error,
    inference::Inference,
    models::ModelStatus,
};

/// The largest body of these requests, which say next to nothing.
const MAX_BODY_BYTES: usize = 64 << 10;

/// A model of the repository.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RepositoryModel)]
pub(in crate::api) struct ModelEntry {
    pub name: String,
    #[schema(example = "1")]
    pub version: String,
    /// `READY` or `UNAVAILABLE`.
    pub state: &'static str,
    /// Why it is not served, or, beside `READY`, why its folder's newer version is not.
    pub reason: String,
}

impl From<ModelStatus> for ModelEntry {
    fn from(model: ModelStatus) -> Self {
        let state = if model.version.is_some() { "READY" } else { "UNAVAILABLE" };
        let (version, reason) = (model.version.unwrap_or_default(), model.trouble.unwrap_or_default());
        Self { name: model.name, version, state, reason }
    }
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct IndexRequest {
    #[serde(default)]
    ready: bool,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct LoadRequest {
    #[serde(default)]
    parameters: Map<String, Value>,
}

/// Every model of the repository. The body may be `{"ready": true}` for those that are served.
#[utoipa::path(post, path = "/v2/repository/index", tag = "open inference", responses(
    (status = 200, description = "The models", body = Vec<ModelEntry>),
))]
pub(in crate::api) async fn index(
    State(inference): State<Arc<Inference>>,
    request: Request,
) -> Result<Json<Vec<ModelEntry>>, Problem> {
    let IndexRequest { ready } = read(&inference, request).await?;
    entries(&inference, ready).await.map(Json)
}

/// Every model of the repository, or those that are served.
pub(in crate::api) async fn entries(inference: &Arc<Inference>, ready: bool) -> Result<Vec<ModelEntry>, Problem> {
    let asked = Arc::clone(inference);
    // It reads the folder, however few models there are.
    let statuses = heavy(inference, usize::MAX, move || Ok(asked.models().index()?)).await?;
    Ok(statuses.into_iter().filter(|model| !ready || model.version.is_some()).map(ModelEntry::from).collect())
}

/// Loads what lies in a model's folder, and serves it once it has been tried out; until then, and if it cannot be
/// served, what was served before still is.
#[utoipa::path(
    post, path = "/v2/repository/models/{model}/load", tag = "open inference",
    params(("model" = String, Path, description = "The name of the model's folder")),
    responses(
        (status = 200, description = "It is served"),
        (status = 400, description = "It cannot be served, and why", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "There is no such folder", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(in crate::api) async fn load(
    State(inference): State<Arc<Inference>>,
    Extension(info): Extension<RequestInfo>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    know_model(&inference, &info, &name);
    let LoadRequest { parameters } = read(&inference, request).await?;
    change(inference, parameters.keys(), move |inference| inference.models().load(&name)).await?;
    Ok(Json(Value::Object(Map::new())))
}

/// Stops serving a model; requests in flight are answered. It stays away until it is loaded, or its folder changes.
#[utoipa::path(
    post, path = "/v2/repository/models/{model}/unload", tag = "open inference",
    params(("model" = String, Path, description = "The model's name")),
    responses(
        (status = 200, description = "It is no longer served"),
        (status = 404, description = "It is not served", body = ProblemBody, content_type = "application/problem+json"),
    ),
)]
pub(in crate::api) async fn unload(
    State(inference): State<Arc<Inference>>,
    Extension(info): Extension<RequestInfo>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Value>, Problem> {
    know_model(&inference, &info, &name);
    let LoadRequest { parameters } = read(&inference, request).await?;
    change(inference, parameters.keys(), move |inference| inference.models().unload(&name)).await?;
    Ok(Json(Value::Object(Map::new())))
}

/// Says which model is meant, if it is one that is served.
pub(in crate::api) fn know_model(inference: &Inference, info: &RequestInfo, name: &str) {
    if let Ok(model) = inference.models().model(name) {
        info.set_model(&model.info.name);
    }
}

/// Changes what is served, when it is this call's turn. The only parameter that is taken asks for what happens anyway.
pub(in crate::api) async fn change(
    inference: Arc<Inference>,
    mut parameters: impl Iterator<Item = &String>,
    change: impl FnOnce(&Inference) -> Result<(), Error> + Send + 'static,
) -> Result<(), Problem> {
    if let Some(name) = parameters.find(|name| *name != "unload_dependents") {
        let why = "is not taken: a model is what lies in its folder; change it there, then load it";
        return Err(Problem::bad_parameter(name, why));
    }
    // Loading takes as long as it takes, on a thread beside those for images; who waits for another's load takes none.
    let turn = inference.models().turn_to_change().await;
    let changed = tokio::task::spawn_blocking(move || {
        // Held by the work: a client that goes away does not let the next one in.
        let _turn = turn;
        change(&inference)
    });
    let changed = changed.await;
    Ok(changed.map_err(|_| Problem::our_mistake())??)
}

/// Reads the body as JSON; an empty body is as good as `{}`.
async fn read<T: for<'de> Deserialize<'de> + Default>(inference: &Inference, request: Request) -> Result<T, Problem> {
    let (head, body) = request.into_parts();
    let mut upload = Upload::new(&head.headers, body);
    let read = upload.read(MAX_BODY_BYTES, BodyLimits::of(inference.config()).pace, &|_| Ok(())).await;
    let bytes: Bytes = match read {
        Ok(bytes) => bytes,
        Err(problem) => {
            upload.drain(&problem).await;
            return Err(problem);
        }
    };
    if bytes.is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(&bytes).map_err(|error| Problem::bad_body(format!("the JSON cannot be read: {error}")))
}
