//! The model folder: manifests, files, checksums.

pub mod manifest;
