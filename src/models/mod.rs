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

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
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

/// Every model below `root`, by name; a folder without a `model.toml` is none.
///
/// # Errors
/// When `root` itself cannot be read. What is wrong with a single model is that model's own error.
pub fn scan(root: &Path) -> Result<Vec<Result<folder::ModelFolder, ModelError>>, String> {
    Ok(folders(root)?.iter().map(|path| folder::read(path)).collect())
}

/// The name of every model below `root`.
///
/// # Errors
/// When `root` itself cannot be read.
pub fn names(root: &Path) -> Result<Vec<String>, String> {
    Ok(folders(root)?.iter().map(|path| name(path)).collect())
}

fn name(folder: &Path) -> String {
    folder.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// For every model below `root` a number that changes when a file of its folder does.
///
/// # Errors
/// When `root` itself cannot be read.
pub fn fingerprints(root: &Path) -> Result<BTreeMap<String, u64>, String> {
    let print = |path: PathBuf| {
        let mut hasher = DefaultHasher::new();
        fingerprint(&path, 0, &mut hasher);
        (name(&path), hasher.finish())
    };
    Ok(folders(root)?.into_iter().map(print).collect())
}

fn folders(root: &Path) -> Result<Vec<PathBuf>, String> {
    let entries = std::fs::read_dir(root).map_err(|error| {
        format!(
            "the models folder {} cannot be read: {error}; name another with --models or OUNCE_MODELS",
            root.display()
        )
    })?;
    let mut folders: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.join(folder::MANIFEST).is_file()).collect();
    folders.sort();
    Ok(folders)
}

/// Names, sizes and times of all files, links followed. A model is two folders deep.
fn fingerprint(folder: &Path, depth: usize, hasher: &mut DefaultHasher) {
    let mut paths: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
    paths.sort();
    for path in paths {
        path.hash(hasher);
        match std::fs::metadata(&path) {
            Ok(file) if file.is_dir() && depth < 2 => fingerprint(&path, depth + 1, hasher),
            Ok(file) => (file.len(), file.modified().ok()).hash(hasher),
            Err(error) => error.kind().hash(hasher),
        }
    }
}
