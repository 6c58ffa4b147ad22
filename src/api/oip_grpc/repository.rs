//! What models there are, and loading and unloading them.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
    response::Response,
};

use super::{
    frames,
    messages::{ModelIndex, Nothing, RepositoryIndexRequest, RepositoryIndexResponse, RepositoryModelRequest},
    metadata::read,
};
use crate::{
    api::{
        admin::repository::{self, ModelEntry},
        middleware::request_info::RequestInfo,
        problem::Problem,
    },
    error::Error,
    inference::Inference,
};

/// Every model of the repository, or those that are served.
pub(super) async fn index(State(inference): State<Arc<Inference>>, request: Request) -> Result<Response, Problem> {
    let RepositoryIndexRequest { ready, .. } = read(&inference, request).await?;
    let entry =
        |ModelEntry { name, version, state, reason }| ModelIndex { name, version, state: String::from(state), reason };
    let models = repository::entries(&inference, ready).await?.into_iter().map(entry).collect();
    Ok(frames::reply(&RepositoryIndexResponse { models }))
}

/// Loads what lies in a model's folder.
pub(super) async fn load(
    State(inference): State<Arc<Inference>>,
    Extension(info): Extension<RequestInfo>,
    request: Request,
) -> Result<Response, Problem> {
    change(inference, &info, request, |inference, name| inference.models().load(name)).await
}

/// Stops serving a model.
pub(super) async fn unload(
    State(inference): State<Arc<Inference>>,
    Extension(info): Extension<RequestInfo>,
    request: Request,
) -> Result<Response, Problem> {
    change(inference, &info, request, |inference, name| inference.models().unload(name)).await
}

/// Changes what is served of the model that the request names.
async fn change(
    inference: Arc<Inference>,
    info: &RequestInfo,
    request: Request,
    change: fn(&Inference, &str) -> Result<(), Error>,
) -> Result<Response, Problem> {
    let RepositoryModelRequest { model_name: name, parameters, .. } = read(&inference, request).await?;
    repository::know_model(&inference, info, &name);
    repository::change(inference, parameters.keys(), move |inference| change(inference, &name)).await?;
    Ok(frames::reply(&Nothing {}))
}
