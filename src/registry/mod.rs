//! The model folder: a folder a model, each with its manifest and its files.
//!
//! ```text
//! models/pedestrian/model.toml            the manifest
//! models/pedestrian/1/int8.onnx.zst       version 1; without numbered folders the files stand beside the manifest
//! ```
//!
//! This room reads and checks files; it does not know what runs them.

pub mod file;
pub mod folder;
pub mod manifest;

use std::path::Path;

/// Why a model cannot be served: which one, and one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{reason}", .model.as_ref().map(|name| format!("model `{name}`: ")).unwrap_or_default())]
pub struct ModelError {
    /// The model's name, which is its folder's; none where the reason holds for all.
    pub model: Option<String>,
    /// What is wrong, where, and what would be right.
    pub reason: String,
}

/// Every model below `root`, by name; a folder without a `model.toml` is none.
///
/// # Errors
/// When `root` itself cannot be read. What is wrong with a single model is that model's own error.
pub fn scan(root: &Path) -> Result<Vec<Result<folder::ModelFolder, ModelError>>, String> {
    let entries = std::fs::read_dir(root).map_err(|error| {
        format!(
            "the models folder {} cannot be read: {error}; name another with --models or OUNCE_MODELS",
            root.display()
        )
    })?;
    let mut folders: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.join(folder::MANIFEST).is_file()).collect();
    folders.sort();
    Ok(folders.iter().map(|path| folder::read(path)).collect())
}
