//! The wire: the only room that knows axum and status codes.
//!
//! A request comes in through [`observe`] (its id, its line in the log), a route of [`routes`] and one of the handlers
//! of [`v1`], [`models`] or [`health`]. What goes wrong is a [`problem`], of one of the [`kinds`].

mod accept;
mod body;
mod docs;
mod formats;
mod health;
mod kinds;
mod models;
mod multipart;
mod observe;
mod params;
mod pictures;
mod problem;
mod round;
mod routes;
mod v1;
mod wire;

pub use self::routes::{admin, app};

use self::problem::Problem;
use crate::pipeline::Pipeline;

/// Counts a request that this room refuses. The pipeline counts its own refusals.
fn refused(pipeline: &Pipeline, model: &str, problem: &Problem) {
    pipeline.metrics().refused(model, problem.kind.reason);
}
