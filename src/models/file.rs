//! Reads a variant's file: checks it, unpacks it, and names other formats taken for ONNX.

use std::{
    fmt::Write as _,
    io::{self, ErrorKind},
    path::Path,
};

use sha2::{Digest, Sha256};

use super::folder::VariantFile;
use crate::{
    engine::session::GraphSource,
    files::{self, FileError, read_at_most},
};

/// The largest manifest, and the largest file of labels.
const MAX_TEXT_BYTES: u64 = 16 << 20;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Reads a variant's file: its checksum, its compression, and whether it can be a model at all. It has at most
/// `max_bytes`, packed and unpacked.
///
/// # Errors
/// With a sentence that names the file and what it seems to be instead.
pub fn open(variant: &VariantFile, max_bytes: u64) -> Result<GraphSource, String> {
    let bytes = read(&variant.path, max_bytes)?;
    if let Some(pinned) = &variant.sha256 {
        let found = hex(&Sha256::digest(&bytes));
        if !found.eq_ignore_ascii_case(pinned) {
            let shown = variant.path.display();
            return Err(format!("{shown} has the SHA-256 {found}, but the manifest says {pinned}: it is another file"));
        }
    }
    if bytes.starts_with(&ZSTD_MAGIC) {
        return unpack(&bytes, &variant.path, max_bytes).map(GraphSource::Bytes);
    }
    refuse_others(&bytes, &variant.path)?;
    Ok(GraphSource::Path(variant.path.clone()))
}

/// Reads a model file of at most `max_bytes`.
///
/// # Errors
/// With a sentence: it is not there, no regular file, or too large.
pub(super) fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, String> {
    files::read(path, max_bytes).map_err(|error| match error {
        FileError::TooLarge { bytes, .. } => {
            let shown = path.display();
            format!("{shown} has {bytes} bytes, but a model file may have {max_bytes} (setting `loading.max_bytes`)")
        }
        other => cannot_be_read(path, &other),
    })
}

/// Reads a manifest or a file of labels.
///
/// # Errors
/// With a sentence: it is not there, no regular file, no text, or too large.
pub(super) fn read_text(path: &Path) -> Result<String, String> {
    files::read_text(path, MAX_TEXT_BYTES).map_err(|error| cannot_be_read(path, &error))
}

fn cannot_be_read(path: &Path, error: &FileError) -> String {
    let shown = path.display();
    match error {
        FileError::Unreadable(error) if error.kind() == ErrorKind::NotFound => format!("{shown} does not exist"),
        FileError::NotRegular => {
            format!("{shown} is no regular file, but a folder, a pipe or a device: put the file itself there")
        }
        FileError::TooLarge { max_bytes, .. } => {
            format!("{shown} has more than the {max_bytes} bytes that a text may have here")
        }
        FileError::NoText => format!("{shown} is no text in UTF-8"),
        FileError::Unreadable(_) | FileError::TooSlow => format!("{shown} cannot be read: {error}"),
    }
}

fn unpack(bytes: &[u8], path: &Path, max_bytes: u64) -> Result<Vec<u8>, String> {
    let broken = |error: io::Error| format!("{} is broken zstd: {error}", path.display());
    let reader = zstd::Decoder::new(bytes).map_err(broken)?;
    let unpacked = read_at_most(reader, max_bytes, 0).map_err(broken)?;
    if unpacked.len() as u64 > max_bytes {
        let bound = format!("a model file may have {max_bytes} (setting `loading.max_bytes`)");
        return Err(format!("{} unpacks to more: {bound}", path.display()));
    }
    refuse_others(&unpacked, path)?;
    Ok(unpacked)
}

/// The files that people take for models, told apart by their first bytes.
fn refuse_others(bytes: &[u8], path: &Path) -> Result<(), String> {
    let shown = path.display();
    if bytes.starts_with(b"version https://git-lfs") {
        Err(format!("{shown} is a Git LFS pointer, not the model: fetch it with `git lfs pull`"))
    } else if bytes.get(4..8) == Some(b"TFL3") {
        Err(format!("{shown} is a TensorFlow Lite model: convert it to ONNX (tf2onnx)"))
    } else if bytes.starts_with(b"PK\x03\x04") {
        Err(format!("{shown} is a zip archive (a PyTorch checkpoint?): export it to ONNX"))
    } else if bytes.len() < 16 {
        Err(format!("{shown} holds {} bytes, which is no ONNX model", bytes.len()))
    } else {
        Ok(())
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs, io::Read, process::Command};

    use super::*;

    const MAX_BYTES: u64 = 1 << 20;

    fn opened(bytes: &[u8], sha256: Option<&str>) -> Result<GraphSource, String> {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("m.onnx");
        fs::write(&path, bytes).expect("write");
        let variant = VariantFile { name: "m".into(), path, sha256: sha256.map(Into::into), accuracy: BTreeMap::new() };
        open(&variant, MAX_BYTES).map_err(|reason| reason.replace(&folder.path().display().to_string(), "models"))
    }

    #[test]
    fn a_packed_model_is_unpacked() {
        let model = vec![7u8; 1000];
        let packed = zstd::encode_all(model.as_slice(), 3).expect("zstd");
        assert!(matches!(opened(&packed, None), Ok(GraphSource::Bytes(bytes)) if bytes == model));
    }

    #[test]
    fn what_is_larger_than_it_may_be_is_not_read_to_its_end() {
        insta::assert_snapshot!(opened(&vec![0; 1 << 21], None).expect_err("refused"), @"models/m.onnx has 2097152 bytes, but a model file may have 1048576 (setting `loading.max_bytes`)");
        let zeros = io::repeat(0).take(1 << 25);
        let bomb = zstd::encode_all(zeros, 1).expect("zstd");
        assert!(bomb.len() < 1 << 16, "{}", bomb.len());
        insta::assert_snapshot!(opened(&bomb, None).expect_err("refused"), @"models/m.onnx unpacks to more: a model file may have 1048576 (setting `loading.max_bytes`)");
    }

    #[test]
    fn what_would_block_or_never_end_is_refused_at_once() {
        let folder = tempfile::tempdir().expect("tempdir");
        let at = |name: &str| folder.path().join(name);
        assert!(Command::new("mkfifo").arg(at("pipe")).status().expect("mkfifo runs").success());
        std::os::unix::fs::symlink("/dev/zero", at("zeros")).expect("a link");
        fs::create_dir(at("folder")).expect("mkdir");
        for name in ["pipe", "zeros", "folder"] {
            for reason in [read(&at(name), MAX_BYTES).expect_err("refused"), read_text(&at(name)).expect_err("refused")]
            {
                assert!(
                    reason.ends_with(&format!(
                        "{name} is no regular file, but a folder, a pipe or a device: put the file itself there"
                    )),
                    "{reason}"
                );
            }
        }
        fs::write(at("text"), "it is").expect("write");
        std::os::unix::fs::symlink(at("text"), at("link")).expect("a link");
        assert_eq!(
            read_text(&at("link")).as_deref(),
            Ok("it is"),
            "links to files are fine: so Kubernetes mounts them"
        );
    }

    #[test]
    fn another_file_than_the_pinned_one_is_refused() {
        let model = vec![7u8; 1000];
        let digest = hex(&Sha256::digest(&model));
        assert!(opened(&model, Some(&digest.to_uppercase())).is_ok());
        let reason = opened(&model, Some("00")).expect_err("refused");
        assert!(reason.contains("but the manifest says 00"), "{reason}");
    }

    #[test]
    fn what_is_no_model_is_named() {
        insta::assert_snapshot!(opened(b"version https://git-lfs.github.com/spec/v1\n", None).expect_err("refused"), @"models/m.onnx is a Git LFS pointer, not the model: fetch it with `git lfs pull`");
        insta::assert_snapshot!(opened(b"\x1c\0\0\0TFL3\0\0\0\0\0\0\0\0\0", None).expect_err("refused"), @"models/m.onnx is a TensorFlow Lite model: convert it to ONNX (tf2onnx)");
        insta::assert_snapshot!(opened(b"\n\n", None).expect_err("refused"), @"models/m.onnx holds 2 bytes, which is no ONNX model");
        insta::assert_snapshot!(opened(b"\x28\xb5\x2f\xfdxxxxx", None).expect_err("refused"), @"models/m.onnx is broken zstd: Unsupported frame parameter");
    }
}
