//! DecodedImage work, pure: bytes → pixels → tensor, and a graph's outputs → boxes or classes. No tokio, no axum, no ort.
//!
//! # Layout, in the order a request meets it
//!
//! - [`sniff`]: which format a body is, by its first bytes.
//! - [`decode`](mod@decode): body → [`decode::DecodedImage`], within limits that are checked before a pixel is decoded.
//! - [`geometry`]: where a picture lands on the network's input, and the way back for boxes.
//! - [`prepare`]: picture → the graph's input tensors.
//! - [`outputs`]: the graph's outputs → [`answer::Prediction`], a file for each family of layouts.
//! - [`nms`]: of overlapping boxes of a class, keep the best.
//! - [`draw`](mod@draw): the answer painted onto the picture, for eyes.
//!
//! Everything here is a function of its arguments: same bytes, same answer.

pub mod answer;
pub mod decode;
pub mod draw;
pub mod geometry;
mod jpeg;
pub mod nms;
pub mod outputs;
pub mod prepare;
pub mod sniff;
pub mod tensor;
