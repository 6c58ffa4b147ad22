//! The wire: the only room that knows axum and status codes.
//!
//! A request comes in through `observe` (its id, its trace, its line in the log), a route of `routes` and one of the handlers
//! of `v1`, `v2`, `models` or `health`. What goes wrong is a `problem`, of one of the `kinds`.

mod accept;
mod body;
mod docs;
mod formats;
mod frontier;
mod health;
mod kinds;
mod models;
mod multipart;
mod observe;
mod params;
mod path;
mod pictures;
mod problem;
mod routes;
mod trace;
mod v1;
mod v2;
mod wire;

pub use self::{
    routes::{admin, app},
    wire::AnswerBody,
};

use axum::http::HeaderMap;

use self::problem::Problem;
use crate::{
    inference::{Pipeline, Tenant},
    stats::round,
};

/// Counts a request that this room refuses. The pipeline counts its own refusals.
fn refused(pipeline: &Pipeline, model: &str, problem: &Problem) {
    pipeline.metrics().refused(model, problem.kind.reason);
}

/// Whose request it is: by `Authorization: Bearer KEY` or `x-api-key: KEY`, or by the header that the operator names.
fn tenant(pipeline: &Pipeline, headers: &HeaderMap) -> Tenant {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let bearer = text("authorization").and_then(|value| value.split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, key)| key.trim());
    pipeline.tenant([bearer, text("x-api-key")], |name| text(name).map(ToOwned::to_owned))
}

/// Input from which on work is done off the threads that serve sockets.
const HEAVY: usize = 256 << 10;

/// Work whose time grows with its input: when the input is large, on a thread of its own, so that other requests go on.
async fn heavy<T: Send + 'static>(
    pipeline: &Pipeline,
    size: usize,
    work: impl FnOnce() -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    if size < HEAVY {
        return work();
    }
    pipeline.aside(work).await.unwrap_or_else(|| Err(Problem::our_mistake()))
}
