//! The keys as their file has them, also when it changes. A new file that cannot be used changes nothing: the keys from before stay, and
//! the log says why.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use super::{
    KeyEntry, key_file,
    key_ring::KeyRing,
    watched_file::{FileChange, WatchedFile},
};
use crate::cost::Tenants;

/// The keys of a file.
#[derive(Debug)]
pub(super) struct KeyStore {
    file: WatchedFile,
    tenants: Tenants,
    ring: RwLock<Arc<KeyRing>>,
}

impl KeyStore {
    /// The keys of a file that was read just now.
    ///
    /// # Errors
    /// When they cannot be used.
    pub(super) fn new(path: PathBuf, entries: Vec<KeyEntry>, tenants: Tenants) -> Result<Self, String> {
        let ring = KeyRing::new(entries, &tenants)?;
        if ring.len() == 0 {
            tracing::warn!(file = %path.display(), "the file of keys has none yet: nobody is let in");
        }
        Ok(Self { file: WatchedFile::new(path), tenants, ring: RwLock::new(Arc::new(ring)) })
    }

    /// The keys that are in force.
    pub(super) fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks whether the file has changed, and if so takes its keys. Blocks.
    pub(super) fn reload(&self) {
        let read = |path: &std::path::Path| KeyRing::new(key_file::read(path)?, &self.tenants);
        let Some(change) = self.file.look(read) else { return };
        let file = self.file.path().display();
        let (ring, first) = match change {
            FileChange::First(ring) => (ring, true),
            FileChange::New(ring) => (ring, false),
            FileChange::Trouble(why) => {
                let keys = self.ring().len();
                tracing::error!(%file, keys, "the file of keys (auth.keys_file) cannot be used: {why}; the keys from before stay in force");
                return;
            }
        };
        ring.warn_of_strangers();
        let keys = ring.len();
        *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
        match (keys, first) {
            (0, _) => tracing::warn!(%file, "the file of keys has none any more: nobody is let in"),
            (_, true) => {}
            (_, false) => tracing::info!(%file, keys, "the file of keys has changed; its keys are in force"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, path::Path, time::SystemTime};

    use super::{
        super::{ApiKey, Denied, KeyHash, Scope, Scopes},
        *,
    };
    use crate::config::Config;

    fn line(key: &str) -> String {
        let (hash, scopes) = (KeyHash::of(key), [Scope::Infer].into_iter().collect::<Scopes>());
        let entry = KeyEntry { name: "a".to_owned(), tenant: "default".to_owned(), scopes, hash, expires: None };
        entry.to_line() + "\n"
    }

    fn store(path: &Path) -> KeyStore {
        let tenants = Tenants::new(&Config::defaults().expect("valid"));
        KeyStore::new(path.to_owned(), key_file::read(path).expect("readable"), tenants).expect("usable")
    }

    fn known(store: &KeyStore, key: &str) -> bool {
        store.reload();
        match store.ring().find(key, SystemTime::now()) {
            Ok(_) => true,
            Err(denied) => {
                assert_eq!(denied, Denied::WrongKey);
                false
            }
        }
    }

    #[test]
    fn a_broken_file_leaves_the_keys_from_before() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("keys.jsonl");
        fs::write(&path, line("old")).expect("write");
        let store = store(&path);
        assert!(known(&store, "old") && !known(&store, "new"));

        fs::write(&path, line("new") + "{").expect("write");
        assert!(known(&store, "old") && !known(&store, "new"));
        fs::remove_file(&path).expect("remove");
        assert!(known(&store, "old"), "a file that is away takes no key back");
        fs::create_dir(&path).expect("mkdir");
        assert!(known(&store, "old"));
        fs::remove_dir(&path).expect("rmdir");

        fs::write(&path, line("new")).expect("write");
        assert!(known(&store, "new") && !known(&store, "old"));
        fs::write(&path, "").expect("write");
        assert!(!known(&store, "new"), "an empty file is one without keys");
    }

    #[test]
    fn a_secret_of_kubernetes_changes_by_a_link() {
        let folder = tempfile::tempdir().expect("tempdir");
        let at = |name: &str| folder.path().join(name);
        for (version, key) in [("..1", "old"), ("..2", "new")] {
            fs::create_dir(at(version)).expect("mkdir");
            fs::write(at(version).join("keys.jsonl"), line(key)).expect("write");
        }
        symlink("..1", at("..data")).and_then(|()| symlink("..data/keys.jsonl", at("keys.jsonl"))).expect("links");
        let store = store(&at("keys.jsonl"));
        assert!(known(&store, "old"));
        symlink("..2", at("..tmp")).and_then(|()| fs::rename(at("..tmp"), at("..data"))).expect("swapped");
        assert!(known(&store, "new") && !known(&store, "old"));
    }

    #[test]
    fn one_of_ten_thousand_keys_is_found() {
        let keys: Vec<_> = (0..10_000).map(|_| ApiKey::generate().expect("random")).collect();
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("keys.jsonl");
        fs::write(&path, keys.iter().map(|key| line(key.reveal())).collect::<String>()).expect("write");
        let store = store(&path);
        assert_eq!(store.ring().len(), 10_000);
        assert!(known(&store, keys[7_777].reveal()) && !known(&store, "ounce_other"));
        fs::write(&path, line("twice").repeat(2)).expect("write");
        assert!(known(&store, keys[0].reveal()), "a file with a key that stands there twice is not taken");
    }
}
