//! The front doors: the only room that knows axum and status codes. They translate a protocol to a call of the inference room, and its
//! response or error back to the protocol.
//!
//! A request goes through the layers of `middleware`, a route of `routes` and one of the handlers:
//!
//! - `rest`: `/v1`, images in, boxes or classes out.
//! - `oip_rest`, `oip_grpc`: the Open Inference Protocol over HTTP (`/v2`) and over gRPC, on the same port.
//! - `admin`: health, metrics, and loading of models.
//! - `docs`: the description of all that, and the front page.
//!
//! What goes wrong is a `problem`, of one of its kinds. Bodies are read by `body`, with limits.

mod admin;
mod body;
mod client_address;
mod compressed;
mod docs;
mod host;
mod middleware;
mod oip_grpc;
mod oip_rest;
mod path;
mod peer;
mod problem;
mod rest;
mod routes;

use std::sync::Arc;

use axum::http::Extensions;

use self::{body::Upload, middleware::request_info::RequestInfo, problem::Problem};
pub use self::{
    host::wrong_host,
    peer::Peer,
    rest::wire::AnswerBody,
    routes::{admin, app, app_with},
};
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub use self::{oip_grpc::fuzzing as grpc_fuzzing, rest::fuzzing};
use crate::{
    auth::Identity,
    cost::Tenant,
    inference::{Inference, Target},
    models::Model,
};

/// The tenant whose request it is, as the layer `auth` has found out.
fn tenant(request: &Extensions) -> Tenant {
    request.get::<Identity>().map(|identity| identity.tenant).unwrap_or_default()
}

/// The model of that name, whatever its task; the log and the metrics hear which it is.
fn find_model(inference: &Inference, info: &RequestInfo, name: String) -> Result<Arc<Model>, Problem> {
    let model = inference.find(&Target::Model { name, task: None })?;
    info.set_model(&model.info.name);
    Ok(model)
}

/// Reads on after a refusal, so that the client sees it. Where the body comes to its end all the same, its client did want an answer.
async fn drain(inference: &Inference, info: &RequestInfo, upload: &mut Upload, refusal: &Problem) {
    let came = upload.drain(refusal).await;
    if let (true, Some(model), Some(reason)) = (came, info.model(), refusal.refusal()) {
        inference.count_refused_body(model, reason);
    }
}

/// The size of an input, in bytes or elements, from which on work is done off the threads that serve sockets.
const HEAVY: usize = 256 << 10;

/// Does work whose time grows with its input: when the input is large, on another thread, so that other requests go on.
async fn heavy<T: Send + 'static>(
    inference: &Inference,
    size: usize,
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    if size < HEAVY {
        return work();
    }
    inference.spawn_cpu(work).await.unwrap_or_else(|| Err(Problem::our_mistake()))
}
