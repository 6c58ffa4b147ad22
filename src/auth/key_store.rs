//! The keys as their file has them, also when it changes.
//!
//! The file is looked at again and again, since nothing else works everywhere: a Kubernetes secret changes by a symbolic link that is
//! swapped two folders up. A new file that cannot be used changes nothing: the keys from before stay, and the log says why.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use super::{KeyEntry, key_file, key_ring::KeyRing};
use crate::cost::Tenants;

/// The keys of a file.
#[derive(Debug)]
pub(super) struct KeyStore {
    path: PathBuf,
    tenants: Tenants,
    ring: RwLock<Arc<KeyRing>>,
    seen: Mutex<Seen>,
}

/// What was found at the last look.
#[derive(Debug, Default)]
struct Seen {
    /// The file whose keys are in force.
    fingerprint: Option<FileFingerprint>,
    /// What was wrong, so that it is logged once.
    trouble: Option<String>,
}

/// What changes when a file does: device, inode, size, and the times of its last changes in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileFingerprint([i128; 5]);

impl FileFingerprint {
    fn of(path: &Path) -> Option<Self> {
        let file = path.metadata().ok()?;
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        let (modified, changed) = (nanos(file.mtime(), file.mtime_nsec()), nanos(file.ctime(), file.ctime_nsec()));
        Some(Self([file.dev().into(), file.ino().into(), file.len().into(), modified, changed]))
    }
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
        // The first look reads the file once more, so that no change in between is missed.
        Ok(Self { path, tenants, ring: RwLock::new(Arc::new(ring)), seen: Mutex::default() })
    }

    /// The keys that are in force.
    pub(super) fn ring(&self) -> Arc<KeyRing> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Looks whether the file has changed, and if so takes its keys. Blocks.
    pub(super) fn reload(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = FileFingerprint::of(&self.path);
        if before.is_some() && before == seen.fingerprint {
            return;
        }
        let read = key_file::read(&self.path).and_then(|entries| KeyRing::new(entries, &self.tenants));
        if FileFingerprint::of(&self.path) != before {
            // It is being written. The next look finds it whole.
            return;
        }
        let file = self.path.display();
        match read {
            Ok(ring) => {
                ring.warn_of_strangers();
                let keys = ring.len();
                let first = seen.fingerprint.is_none() && seen.trouble.is_none();
                *self.ring.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(ring);
                *seen = Seen { fingerprint: before, trouble: None };
                match (keys, first) {
                    (0, _) => tracing::warn!(%file, "the file of keys has none any more: nobody is let in"),
                    (_, true) => {}
                    (_, false) => tracing::info!(%file, keys, "the file of keys has changed; its keys are in force"),
                }
            }
            // A file that cannot be read may be readable the next time without having changed, so it is tried again.
            Err(why) if seen.trouble.as_ref() == Some(&why) => {}
            Err(why) => {
                let keys = self.ring().len();
                tracing::error!(%file, keys, "the file of keys (auth.keys_file) cannot be used: {why}; the keys from before stay in force");
                seen.trouble = Some(why);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, time::SystemTime};

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
