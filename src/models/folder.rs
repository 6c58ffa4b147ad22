//! One model's folder: manifest, labels, the newest version, its variants.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{ModelError, file};
use crate::manifest::{Labels, Manifest, VariantSpec};

/// The manifest's file name.
pub const MANIFEST: &str = "model.toml";

/// A model as its folder describes it; no graph has been opened yet.
#[derive(Debug, Clone)]
pub struct ModelFolder {
    /// The folder's name.
    pub name: String,
    /// The highest numbered folder, or `1`.
    pub version: String,
    /// What `model.toml` says.
    pub manifest: Manifest,
    /// The class names, read from the file where the manifest names one; empty where it leaves them to the model's own file.
    pub labels: Vec<String>,
    /// The files; at least one, names unique, the default first.
    pub variants: Vec<VariantFile>,
}

/// One file of a model.
#[derive(Debug, Clone)]
pub struct VariantFile {
    /// What requests call it.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
    /// The checksum that the manifest pins.
    pub sha256: Option<String>,
    /// Measured quality, by metric.
    pub accuracy: BTreeMap<String, f64>,
}

impl ModelFolder {
    /// This folder with only that variant.
    ///
    /// # Errors
    /// When there is no such variant; the message lists those that exist.
    pub fn only(mut self, variant: &str) -> Result<Self, ModelError> {
        let names: Vec<_> = self.variants.iter().map(|variant| variant.name.clone()).collect();
        self.variants.retain(|file| file.name == variant);
        if self.variants.is_empty() {
            let reason = format!("there is no variant \"{variant}\"; there are {}", names.join(", "));
            return Err(ModelError { model: Some(self.name), reason });
        }
        Ok(self)
    }

    /// This folder with that variant first.
    ///
    /// # Errors
    /// When there is no such variant; the message lists those that exist.
    pub fn with_default(mut self, variant: &str) -> Result<Self, ModelError> {
        let Some(index) = self.variants.iter().position(|file| file.name == variant) else {
            let names: Vec<_> = self.variants.iter().map(|file| &file.name).collect();
            let reason = format!("default_variant is \"{variant}\", but the variants are {names:?}");
            return Err(ModelError { model: Some(self.name), reason });
        };
        let default = self.variants.remove(index);
        self.variants.insert(0, default);
        Ok(self)
    }
}

/// Reads a model's folder.
///
/// # Errors
/// With a sentence that names the file, the line where there is one, and what would be right.
pub fn read(folder: &Path) -> Result<ModelFolder, ModelError> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let fail = |reason: String| ModelError { model: Some(name.clone()), reason };
    let path = folder.join(MANIFEST);
    let text = file::read_text(&path).map_err(fail)?;
    let manifest: Manifest = toml::from_str(&text)
        .map_err(|error| fail(format!("{} is not a valid manifest: {}", path.display(), at_line(&text, &error))))?;
    let decode_task = manifest.output.decode.task();
    if decode_task != manifest.task {
        return Err(fail(format!(
            "task is \"{}\", but outputs decoded as {:?} answer \"{decode_task}\"",
            manifest.task, manifest.output.decode
        )));
    }
    let labels = manifest
        .labels
        .as_ref()
        .map(|labels| read_labels(folder, labels))
        .transpose()
        .map_err(fail)?
        .unwrap_or_default();
    let (version, version_folder) = newest_version(folder);
    let variants = if manifest.variants.is_empty() {
        found_variants(&version_folder)
    } else {
        manifest.variants.iter().map(|spec| declared_variant(&version_folder, spec)).collect()
    };
    if variants.is_empty() {
        return Err(fail(format!("there is no .onnx or .onnx.zst file in {}", version_folder.display())));
    }
    let names: BTreeSet<_> = variants.iter().map(|variant| &variant.name).collect();
    if names.len() < variants.len() {
        return Err(fail("two variants have the same name".to_owned()));
    }
    let default = Some(manifest.default_variant.clone()).filter(|name| name != "auto");
    let folder = ModelFolder { name, version, manifest, labels, variants };
    default.map_or(Ok(folder.clone()), |name| folder.with_default(&name))
}

/// "line 2: unknown field …": TOML's own message spans several lines, to draw an arrow.
fn at_line(text: &str, error: &toml::de::Error) -> String {
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => format!("line {}: {}", before.matches('\n').count() + 1, error.message()),
        None => error.message().to_owned(),
    }
}

fn read_labels(folder: &Path, labels: &Labels) -> Result<Vec<String>, String> {
    let labels = match labels {
        Labels::List(list) => list.clone(),
        Labels::File(file) => {
            let text = file::read_text(&folder.join(file)).map_err(|reason| format!("the file of labels {reason}"))?;
            text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
        }
    };
    if labels.is_empty() { Err("there are no labels".to_owned()) } else { Ok(labels) }
}

fn newest_version(folder: &Path) -> (String, PathBuf) {
    let numbered = std::fs::read_dir(folder).into_iter().flatten().flatten().filter_map(|entry| {
        let number: u64 = entry.file_name().to_str()?.parse().ok()?;
        entry.path().is_dir().then_some((number, entry.path()))
    });
    numbered.max().map_or_else(|| ("1".to_owned(), folder.to_owned()), |(number, path)| (number.to_string(), path))
}

fn declared_variant(folder: &Path, spec: &VariantSpec) -> VariantFile {
    VariantFile {
        name: spec.name.clone(),
        path: folder.join(&spec.file),
        sha256: spec.sha256.clone(),
        accuracy: spec.accuracy.clone(),
    }
}

fn found_variants(folder: &Path) -> Vec<VariantFile> {
    let mut found: Vec<_> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let file = entry.file_name().into_string().ok()?;
            let name = file.strip_suffix(".onnx").or_else(|| file.strip_suffix(".onnx.zst"))?.to_owned();
            Some(VariantFile { name, path: entry.path(), sha256: None, accuracy: BTreeMap::new() })
        })
        .collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<ModelFolder, ModelError>) {
        let root = tempfile::tempdir().expect("tempdir");
        let folder = root.path().join("cats");
        for (file, text) in files {
            let path = folder.join(file);
            std::fs::create_dir_all(path.parent().expect("parent")).expect("mkdir");
            std::fs::write(path, text).expect("write");
        }
        let model = read(&folder);
        (root, model)
    }

    fn reason(files: &[(&str, &str)]) -> String {
        let (root, model) = model(files);
        model.expect_err("refused").reason.replace(&root.path().display().to_string(), "models")
    }

    const THREE_LINES: &str = "task = 'classify'\nlabels = 'names.txt'\noutput.decode = 'softmax'\n";

    #[test]
    fn three_lines_are_a_manifest() {
        let (_root, model) = model(&[("model.toml", THREE_LINES), ("names.txt", "cat\ndog\n\n"), ("tiny.onnx", "")]);
        let model = model.expect("valid");
        assert_eq!((model.name.as_str(), model.version.as_str()), ("cats", "1"));
        assert_eq!(model.labels, ["cat", "dog"]);
        assert_eq!(model.variants[0].name, "tiny");
    }

    #[test]
    fn the_highest_version_is_served() {
        let files = [("model.toml", THREE_LINES), ("names.txt", "cat"), ("2/a.onnx", ""), ("10/b.onnx.zst", "")];
        let (_root, model) = model(&files);
        let model = model.expect("valid");
        assert_eq!((model.version.as_str(), model.variants[0].name.as_str()), ("10", "b"));
    }

    #[test]
    fn the_default_variant_comes_first() {
        let manifest = "default_variant = 'b'\n".to_owned() + THREE_LINES;
        let (_root, model) = model(&[("model.toml", &manifest), ("names.txt", "cat"), ("a.onnx", ""), ("b.onnx", "")]);
        assert_eq!(model.expect("valid").variants[0].name, "b");
    }

    #[test]
    fn what_is_wrong_is_said_in_one_sentence() {
        insta::assert_snapshot!(reason(&[("model.toml", "task = 'detect'\nlables = ['a']\noutput.decode = 'yolox'")]), @"models/cats/model.toml is not a valid manifest: line 2: unknown field `lables`, expected one of `task`, `labels`, `default_variant`, `input`, `output`, `variant`, `batching`, `execution`, `routing`");
        insta::assert_snapshot!(reason(&[("model.toml", "task = 'detect'\nlabels = ['a']\noutput.decode = 'softmax'")]), @r#"task is "detect", but outputs decoded as Softmax answer "classify""#);
        insta::assert_snapshot!(reason(&[("model.toml", "task = 'detect'\nlabels = ['a']\noutput.decode = 'yolo'")]), @"models/cats/model.toml is not a valid manifest: line 3: unknown variant `yolo`, expected one of `yolox`, `yolov5`, `yolov8`, `nanodet`, `fastestdet`, `ssd`, `boxes-scores`, `detr`, `nms-in-graph`, `end2end`, `yolov7-end2end`, `yolo-nas-flat`, `openvino-ssd`, `mmdeploy`, `paddle`, `picodet`, `nanodet-plus`, `yolo-fastestv2`, `softmax`, `logits`, `sigmoid`");
        insta::assert_snapshot!(reason(&[("model.toml", THREE_LINES)]), @"the file of labels models/cats/names.txt does not exist");
        insta::assert_snapshot!(reason(&[("model.toml", THREE_LINES), ("names.txt", "cat")]), @"there is no .onnx or .onnx.zst file in models/cats");
    }
}
