//! `/v1`: images in, boxes or classes out, and what is served.
//!
//! A body becomes images in `images` (raw bytes, base64 in JSON) or `multipart` (a form); the query becomes `params`. `predict` hands
//! each image to the inference room; the answer is written by `wire` (ounce's own JSON) or `formats` (that of other tools).

mod accept;
mod formats;
pub(super) mod frontier;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
mod images;
pub(super) mod models;
mod multipart;
mod params;
pub(super) mod predict;
pub(super) mod wire;
