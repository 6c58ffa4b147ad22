//! From files on disk to models that run, and back when they change.
//!
//! ```text
//! models/pedestrian/model.toml            the manifest
//! models/pedestrian/1/int8.onnx.zst       version 1; without numbered folders the files stand beside the manifest
//! ```
//!
//! In: the folder of model folders, the settings. Out: [`Model`]s, each with its facts, its queues and the workers behind them.
//!
//! - [`catalog`]: which models there are.
//! - [`folder`]: one model's folder: its manifest, labels, version and files.
//! - [`file`](mod@file): a model's file, checked and unpacked.
//! - [`loader`]: folder to model; `opening` opens a file, `probe` tries the graph before it serves.
//! - `settle`: manifest and file held against each other; `ultralytics` reads the metadata of a file (`python_literal`), and
//!   `presets` knows what is usual for a family.
//! - [`model`]: what a loaded model is made of.
//! - [`repository`]: the models that are served, and how that changes while the server runs; `watcher` notices changes,
//!   `bounded` gives up what hangs.

mod bounded;
pub mod catalog;
pub mod file;
pub mod folder;
pub mod loader;
pub mod model;
mod opening;
mod presets;
mod probe;
mod python_literal;
pub mod repository;
mod settle;
mod ultralytics;
mod watcher;

pub use self::{
    loader::{LoadedModel, Loader, Selection},
    model::{BatchAxis, InferredSetting, Model, ModelInfo, Variant, VariantInfo},
    repository::{ModelStatus, Repository},
    watcher::FolderState,
};

/// Why a model cannot be served: which one, and one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", .model.as_ref().map(|name| format!("model `{name}`: ")).unwrap_or_default())]
pub struct ModelError {
    /// The model's name, which is its folder's; none where the reason holds for all.
    pub model: Option<String>,
    /// What is wrong, where, and what would be right.
    pub reason: String,
}
