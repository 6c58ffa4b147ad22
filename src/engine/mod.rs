//! The only room that knows ONNX Runtime: which library, which execution provider, how many threads.
//!
//! A [`session::OrtEngine`] is owned by one worker thread (`ort` wants `&mut` to run, and with reason). Everything
//! above speaks [`Engine`], so that tests can put a gate or a clock in its place.

pub mod free_axis;
pub mod library;
pub mod provider;
pub mod session;
pub mod thread_plan;

use crate::vision::tensor::Tensor;

/// Runs a graph.
pub trait Engine: Send {
    /// One run: the graph's inputs in its order, to its outputs in its order.
    ///
    /// # Errors
    /// With the runtime's own words, which are for the log.
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String>;
}
