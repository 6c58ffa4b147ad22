//! Pure image work: bytes become pixels, pixels become the tensors that a network takes, and pixels can be drawn on.
//! This room knows no task, and imports no tokio, no axum and no ort.
//!
//! # Layout, in the order a request meets it
//!
//! - [`sniff`]: which format a body has, by its first bytes.
//! - [`header`]: how large an image is, before it is decoded.
//! - [`decode`](mod@decode): a body becomes a [`decode::DecodedImage`], within limits that are checked before a pixel is
//!   decoded.
//! - `footprint`: what decoding takes of memory, by an image's header.
//! - [`jpeg`]: the decoders of JPEG, and which one is used.
//! - [`geometry`]: where an image lands on the network's input, and the way back for boxes ([`bbox`]).
//! - [`prepare`]: an image becomes the graph's input tensors ([`tensor`]).
//! - [`draw`](mod@draw): a canvas with the image on it, for frames and labels.
//!
//! Everything here is a function of its arguments: the same bytes give the same result.

pub mod bbox;
pub mod decode;
pub mod draw;
mod footprint;
pub mod geometry;
pub mod header;
pub mod jpeg;
pub mod prepare;
pub mod sniff;
pub mod tensor;
mod webp;
