//! A file that is read again when it has changed.
//!
//! It is looked at again and again, since nothing else works everywhere: a Kubernetes secret changes by a symbolic link that is
//! swapped two folders up. What cannot be used is told once, and changes nothing.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

/// A file, and what was found at the last look.
#[derive(Debug)]
pub(super) struct WatchedFile {
    path: PathBuf,
    seen: Mutex<Seen>,
}

/// What was found at the last look.
#[derive(Debug, Default)]
struct Seen {
    /// The file that is in force.
    fingerprint: Option<FileFingerprint>,
    /// What was wrong, so that it is told once.
    trouble: Option<String>,
}

/// What a look has found.
#[derive(Debug)]
pub(super) enum FileChange<T> {
    /// What was in the file at the first look.
    First(T),
    /// What is in the file now.
    New(T),
    /// Why the file cannot be used.
    Trouble(String),
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

impl WatchedFile {
    /// A file that was read just now. The first look reads it once more, so that no change in between is missed.
    pub fn new(path: PathBuf) -> Self {
        Self { path, seen: Mutex::default() }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Looks whether the file has changed, and if so reads it. Blocks.
    pub fn look<T>(&self, read: impl FnOnce(&Path) -> Result<T, String>) -> Option<FileChange<T>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = FileFingerprint::of(&self.path);
        if before.is_some() && before == seen.fingerprint {
            return None;
        }
        let read = read(&self.path);
        if FileFingerprint::of(&self.path) != before {
            // It is being written. The next look finds it whole.
            return None;
        }
        match read {
            Ok(content) => {
                let first = seen.fingerprint.is_none() && seen.trouble.is_none();
                *seen = Seen { fingerprint: before, trouble: None };
                Some(if first { FileChange::First(content) } else { FileChange::New(content) })
            }
            // A file that cannot be read may be readable the next time without having changed, so it is tried again.
            Err(why) if seen.trouble.as_ref() == Some(&why) => None,
            Err(why) => {
                seen.trouble = Some(why.clone());
                Some(FileChange::Trouble(why))
            }
        }
    }
}
