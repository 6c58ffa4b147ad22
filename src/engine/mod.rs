//! ONNX Runtime: its library, its execution providers and its sessions. No other room imports `ort`.
//!
//! Tensors go into an [`Engine`], and tensors come out. A [`session::OrtEngine`] is owned by one worker thread, since a
//! session needs `&mut` to run. The rooms above use the trait, so that tests can put another engine in its place.
//!
//! - [`library`]: finds and loads ONNX Runtime.
//! - [`provider`]: registers execution providers.
//! - [`session`]: a session as an engine.
//! - [`thread_plan`]: how many sessions and threads fit this machine.
//! - [`free_axis`]: edits a graph so that its batch axis is free.

pub mod free_axis;
pub mod library;
pub mod provider;
pub mod session;
pub mod thread_plan;

use crate::vision::tensor::Tensor;

/// Something that runs a graph.
pub trait Engine: Send {
    /// Runs the graph once. Inputs and outputs are in the graph's order.
    ///
    /// # Errors
    /// The run fails. The message is the runtime's own and is meant for the log.
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String>;
}
