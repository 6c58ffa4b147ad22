//! Files that are read whole. In: a path, and how much may be in it. Out: what is in it, or why it cannot be used.
//!
//! Only regular files are read, and no more of them than a bound: a pipe would block, a device may never end. Links are followed.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::mpsc::{RecvTimeoutError, sync_channel},
    thread,
    time::Duration,
};

use rustix::fs::OFlags;

/// The longest time that [`soon`] waits.
const SOON: Duration = Duration::from_secs(10);

/// Why a file cannot be used. Each message goes on after the file's name.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is not there, may not be read, or its disk fails.
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    /// It is a folder, a pipe or a device.
    #[error("it is no regular file")]
    NotRegular,
    /// It has more bytes than may be read.
    #[error("it has more than {max_bytes} bytes")]
    TooLarge {
        /// How many it has, as far as that is known.
        bytes: u64,
        /// How many it may have.
        max_bytes: u64,
    },
    /// It is no text.
    #[error("it is no text in UTF-8")]
    NoText,
    /// Nothing came within the time that there is.
    #[error("it could not be read within {} s; does it lie where nobody answers?", SOON.as_secs())]
    TooSlow,
}

/// Reads a file of at most `max_bytes`. Blocks, for as long as the disk does.
///
/// # Errors
/// [`FileError`] says why it cannot be used.
pub fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, FileError> {
    let (file, size) = open_regular(path)?;
    if size > max_bytes {
        return Err(FileError::TooLarge { bytes: size, max_bytes });
    }
    // It may grow while it is read.
    let bytes = read_at_most(file, max_bytes, size)?;
    match bytes.len() as u64 {
        read if read > max_bytes => Err(FileError::TooLarge { bytes: read, max_bytes }),
        _ => Ok(bytes),
    }
}

/// Reads a text of at most `max_bytes`. Blocks, for as long as the disk does.
///
/// # Errors
/// These are the errors of [`read`], and [`FileError::NoText`].
pub fn read_text(path: &Path, max_bytes: u64) -> Result<String, FileError> {
    String::from_utf8(read(path, max_bytes)?).map_err(|_| FileError::NoText)
}

/// Does work that reads files, for the start, and gives it up after ten seconds: a start that hangs tells nobody why.
///
/// # Errors
/// [`FileError::TooSlow`], or the system has no thread for it.
pub fn soon<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, FileError> {
    let (done, result) = sync_channel(1);
    // A thread that hangs cannot be ended; it is left.
    thread::Builder::new().name("file".to_owned()).spawn(move || drop(done.send(work())))?;
    result.recv_timeout(SOON).map_err(|error| match error {
        RecvTimeoutError::Timeout => FileError::TooSlow,
        RecvTimeoutError::Disconnected => {
            FileError::Unreadable(io::Error::other("reading it ended by a mistake of ours"))
        }
    })
}

/// Opens a regular file and says how large it is. It is asked what it is once it is open, so that it cannot become something
/// else in between; and opened in a way that does not wait for a pipe's other end.
fn open_regular(path: &Path) -> Result<(File, u64), FileError> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let about = file.metadata()?;
    if about.is_file() { Ok((file, about.len())) } else { Err(FileError::NotRegular) }
}

/// Reads at most one byte more than `max_bytes`, which tells that there are more.
///
/// # Errors
/// Those of the reader.
pub fn read_at_most(from: impl Read, max_bytes: u64, expected: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(usize::try_from(expected.min(max_bytes)).unwrap_or_default());
    from.take(max_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::{fs, process::Command};

    use super::*;

    #[test]
    fn what_would_block_or_never_end_is_refused_at_once() {
        let folder = tempfile::tempdir().expect("tempdir");
        let at = |name: &str| folder.path().join(name);
        assert!(Command::new("mkfifo").arg(at("pipe")).status().expect("mkfifo runs").success());
        std::os::unix::fs::symlink("/dev/zero", at("zeros")).expect("a link");
        fs::create_dir(at("folder")).expect("mkdir");
        for name in ["pipe", "zeros", "folder"] {
            assert!(matches!(read(&at(name), 9), Err(FileError::NotRegular)), "{name}");
        }
    }

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("file");
        fs::write(&path, "nine char").expect("write");
        assert_eq!(read(&path, 9).expect("read"), b"nine char");
        assert_eq!(read(&path, 8).expect_err("too large").to_string(), "it has more than 8 bytes");
        assert!(matches!(soon(|| read_text(Path::new("/nowhere"), 9)), Ok(Err(FileError::Unreadable(_)))));
    }
}
