//! The folder of model folders: which models there are, and whether their files have changed.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    path::{Path, PathBuf},
};

use super::{
    ModelError,
    folder::{self, MANIFEST, ModelFolder},
};

/// Every model below `root`, by name; a folder without a `model.toml` is skipped.
///
/// # Errors
/// When `root` itself cannot be read. What is wrong with a single model is that model's own error.
pub fn scan(root: &Path) -> Result<Vec<Result<ModelFolder, ModelError>>, String> {
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
        entries.flatten().map(|entry| entry.path()).filter(|path| path.join(MANIFEST).exists()).collect();
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
