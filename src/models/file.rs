//! Reads a variant's file: checks it, unpacks it, and names other formats taken for ONNX.

use std::{
    fmt::Write as _,
    fs,
    io::{ErrorKind, Read},
    path::Path,
};

use sha2::{Digest, Sha256};

use super::folder::VariantFile;
use crate::engine::session::GraphSource;

/// An ONNX model over 2 GB cannot be one protobuf; what unpacks to more is no model.
const MAX_UNPACKED_BYTES: u64 = 2 << 30;
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Reads a variant's file: its checksum, its compression, and whether it can be a model at all.
///
/// # Errors
/// With a sentence that names the file and what it seems to be instead.
pub fn open(variant: &VariantFile) -> Result<GraphSource, String> {
    let shown = variant.path.display();
    let bytes = fs::read(&variant.path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => format!("{shown} does not exist"),
        _ => format!("{shown} cannot be read: {error}"),
    })?;
    if let Some(pinned) = &variant.sha256 {
        let found = hex(&Sha256::digest(&bytes));
        if !found.eq_ignore_ascii_case(pinned) {
            return Err(format!("{shown} has the SHA-256 {found}, but the manifest says {pinned}: it is another file"));
        }
    }
    if bytes.starts_with(&ZSTD_MAGIC) {
        return unpack(&bytes, &variant.path).map(GraphSource::Bytes);
    }
    refuse_others(&bytes, &variant.path)?;
    Ok(GraphSource::Path(variant.path.clone()))
}

fn unpack(bytes: &[u8], path: &Path) -> Result<Vec<u8>, String> {
    let broken = |error: std::io::Error| format!("{} is broken zstd: {error}", path.display());
    let mut unpacked = Vec::new();
    let reader = zstd::Decoder::new(bytes).map_err(broken)?;
    reader.take(MAX_UNPACKED_BYTES + 1).read_to_end(&mut unpacked).map_err(broken)?;
    if unpacked.len() as u64 > MAX_UNPACKED_BYTES {
        return Err(format!("{} unpacks to more than 2 GiB, which no ONNX file can be", path.display()));
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
    use std::collections::BTreeMap;

    use super::*;

    fn opened(bytes: &[u8], sha256: Option<&str>) -> Result<GraphSource, String> {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("m.onnx");
        fs::write(&path, bytes).expect("write");
        let variant = VariantFile { name: "m".into(), path, sha256: sha256.map(Into::into), accuracy: BTreeMap::new() };
        open(&variant).map_err(|reason| reason.replace(&folder.path().display().to_string(), "models"))
    }

    #[test]
    fn a_packed_model_is_unpacked() {
        let model = vec![7u8; 1000];
        let packed = zstd::encode_all(model.as_slice(), 3).expect("zstd");
        assert!(matches!(opened(&packed, None), Ok(GraphSource::Bytes(bytes)) if bytes == model));
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
