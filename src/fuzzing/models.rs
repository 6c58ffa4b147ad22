//! What an operator gives: model files, manifests, settings, keys. They are trusted, and still must not crash or fill a server.

use std::sync::OnceLock;

use crate::{
    auth,
    config::{Config, Layers},
    cost::Tenants,
    engine,
    manifest::Manifest,
    vision::{
        prepare::Preprocessor,
        tensor::{ElementType, Port},
    },
};

/// A model file, whose batch axis is freed.
pub(super) fn free_axis(bytes: &[u8]) {
    let Ok(freed) = engine::free_axis::free(bytes) else { return };
    let most = bytes.len() * 20 + 1024;
    assert!(freed.len() <= most, "{} bytes became {}", bytes.len(), freed.len());
    // What was freed is an ONNX model, which the editor reads again.
    if let Err(reason) = engine::free_axis::free(&freed) {
        assert!(!reason.contains("not an ONNX model"), "{reason}");
    }
}

/// A `model.toml`.
pub(super) fn manifest(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Ok(manifest) = toml::from_str::<Manifest>(&text) else { return };
    let input = manifest.input.into();
    for shape in [[Some(1), Some(3), None, None], [None, Some(24), Some(16), Some(3)]] {
        let port = Port { name: "images".to_owned(), element: ElementType::F32, shape: shape.to_vec() };
        // A refusal is a sentence; what is not refused has a size.
        if let Ok(preprocessor) = Preprocessor::new(&input, &[port]) {
            let (width, height) = preprocessor.input_size();
            assert!(width > 0 && height > 0, "{width}×{height}");
        }
    }
}

/// Settings as variables, one `NAME=value` a line.
pub(super) fn settings(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let variables = text.lines().filter_map(|line| line.split_once('='));
    let variables = variables.map(|(name, value)| (format!("OUNCE_{name}"), value.to_owned()));
    static DEFAULTS: OnceLock<Layers> = OnceLock::new();
    let defaults = DEFAULTS.get_or_init(|| Layers::defaults().expect("valid settings")).clone();
    let built = defaults.env(variables).and_then(|layers| layers.build());
    if let Err(refusal) = built {
        assert!(!refusal.to_string().is_empty());
    }
}

/// The file of `auth.keys_file`.
pub(super) fn key_file(bytes: &[u8]) {
    static TENANTS: OnceLock<Tenants> = OnceLock::new();
    let tenants = TENANTS.get_or_init(|| Tenants::new(&Config::defaults().expect("valid settings")));
    auth::fuzzing::key_file(&String::from_utf8_lossy(bytes), tenants);
}
