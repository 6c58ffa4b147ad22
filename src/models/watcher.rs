//! Notices changes of the model folder: what has changed is loaded, what has gone is unloaded.

use std::collections::BTreeMap;

use super::repository::{Entry, Repository};

/// What the model folder looked like at the last check: a fingerprint for each model.
#[derive(Debug, Default)]
pub struct FolderState(BTreeMap<String, u64>);

impl FolderState {
    /// Compares the model folder with the last check. What has changed, and then stayed as it is from one check to the next,
    /// is loaded; what has gone is unloaded. Blocks.
    pub fn check(&mut self, repository: &Repository) {
        let Ok(_changing) = repository.changing_while_ready() else { return };
        let folders = match repository.fingerprints() {
            Ok(folders) => folders,
            Err(error) => return tracing::warn!("{error}"),
        };
        for (name, &fingerprint) in &folders {
            if repository.is_draining() {
                return;
            }
            let settled = self.0.get(name) == Some(&fingerprint);
            let seen = repository.entries().get(name).and_then(|entry| entry.seen);
            if settled && seen != Some(fingerprint) {
                // The reason of a failure has been logged, and is told by the index.
                let _ = repository.load_one(name, fingerprint);
            }
        }
        let gone = |(name, entry): (&String, &Entry)| {
            let gone = entry.serving.is_some() && !folders.contains_key(name) && !self.0.contains_key(name);
            gone.then(|| name.clone())
        };
        let gone: Vec<String> = repository.entries().iter().filter_map(gone).collect();
        for name in gone {
            tracing::warn!(model = name, "its folder has gone; it is no longer served");
            repository.change(&name, |entry| std::mem::take(entry).serving);
        }
        self.0 = folders;
    }
}
