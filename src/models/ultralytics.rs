//! What an ONNX file that Ultralytics exported says of itself: its task, its classes, the size of its input.
//!
//! In: the file's metadata, texts by key, as `ultralytics/engine/exporter.py` writes them (YOLOv5's `export.py` writes only `stride`
//! and `names`). Out: an [`UltralyticsMetadata`], or none for files of others. What cannot be read is left out and logged at the
//! level `debug`: metadata alone never stops a model.

use std::{collections::BTreeMap, num::NonZeroU32};

use super::python_literal::PythonLiteral;

/// The longest side of an input that is believed.
const LONGEST_SIDE: i64 = 16_384;

/// What the file says. A field is none where the file does not say it, or not in a way that can be read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct UltralyticsMetadata {
    /// Whether the file names Ultralytics as its author: the package that makes YOLOv8 and later.
    pub by_ultralytics: bool,
    /// The version of that package.
    pub version: Option<String>,
    pub task: Option<UltralyticsTask>,
    /// The names of the classes, in the order of their numbers.
    pub names: Option<Vec<String>>,
    /// Width and height that the network was exported for.
    pub size: Option<[NonZeroU32; 2]>,
    /// Both sides of the input are multiples of this.
    pub stride: Option<NonZeroU32>,
    /// What says that the outputs are boxes after NMS: the key and its value.
    pub end_to_end: Option<&'static str>,
}

/// A task of the package `ultralytics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum UltralyticsTask {
    Detect,
    Segment,
    Pose,
    Obb,
    Classify,
}

impl UltralyticsTask {
    /// Its name in that package.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Detect => "detect",
            Self::Segment => "segment",
            Self::Pose => "pose",
            Self::Obb => "obb",
            Self::Classify => "classify",
        }
    }

    fn named(name: &str) -> Option<Self> {
        let all = [Self::Detect, Self::Segment, Self::Pose, Self::Obb, Self::Classify];
        all.into_iter().find(|task| task.name() == name)
    }
}

impl UltralyticsMetadata {
    /// Reads a file's metadata; none where neither Ultralytics is its author nor `names` and `stride` stand there as YOLOv5 writes them.
    pub(super) fn read(metadata: &BTreeMap<String, String>) -> Option<Self> {
        let literal = |key| said(metadata, key, PythonLiteral::read);
        let args = literal("args");
        let is_true = |value: Option<&PythonLiteral>| value == Some(&PythonLiteral::Bool(true));
        let end_to_end = if is_true(literal("end2end").as_ref()) {
            Some("end2end: True")
        } else if is_true(args.as_ref().and_then(|args| args.get("nms"))) {
            Some("nms: True")
        } else {
            None
        };
        let it = Self {
            by_ultralytics: metadata.get("author").is_some_and(|author| author == "Ultralytics"),
            version: said(metadata, "version", version),
            task: said(metadata, "task", UltralyticsTask::named),
            names: said(metadata, "names", |text| names(&PythonLiteral::read(text)?)),
            size: said(metadata, "imgsz", |text| size(&PythonLiteral::read(text)?)),
            stride: said(metadata, "stride", |text| text.trim().parse().ok()),
            end_to_end,
        };
        (it.by_ultralytics || (it.names.is_some() && it.stride.is_some())).then_some(it)
    }

    /// "Ultralytics 8.3.40", or "YOLOv5" where the author is not named.
    pub(super) fn origin(&self) -> String {
        match (&self.version, self.by_ultralytics) {
            (Some(version), true) => format!("Ultralytics {version}"),
            (None, true) => "Ultralytics".to_owned(),
            (_, false) => "YOLOv5".to_owned(),
        }
    }
}

/// The value of a key; none, with a line in the log, where it is there and cannot be read.
fn said<T>(metadata: &BTreeMap<String, String>, key: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
    let text = metadata.get(key)?;
    let value = read(text);
    if value.is_none() {
        let shown: String = text.chars().take(80).collect();
        tracing::debug!(key, value = shown, "the file's metadata has a value that cannot be read; it is ignored");
    }
    value
}

/// The names of a dict with the keys 0, 1, 2, … or of a list (YOLOv5 before 7.0).
fn names(literal: &PythonLiteral) -> Option<Vec<String>> {
    let text = |value: &PythonLiteral| value.as_text().map(ToOwned::to_owned);
    let names: Vec<String> = match literal {
        PythonLiteral::List(names) => names.iter().map(text).collect::<Option<_>>()?,
        PythonLiteral::Dict(entries) => {
            let by_number: BTreeMap<i64, String> =
                entries.iter().map(|(number, name)| Some((number.as_int()?, text(name)?))).collect::<Option<_>>()?;
            let in_order = by_number.len() == entries.len() && by_number.keys().copied().eq((0..).take(entries.len()));
            in_order.then(|| by_number.into_values().collect())?
        }
        _ => return None,
    };
    (!names.is_empty()).then_some(names)
}

/// A version is shown in logs, so it is short and has no blanks or control characters.
fn version(text: &str) -> Option<String> {
    (text.len() <= 32 && text.chars().all(|c| c.is_ascii_graphic())).then(|| text.to_owned())
}

/// Width and height of `[height, width]`, or of one number for both.
fn size(literal: &PythonLiteral) -> Option<[NonZeroU32; 2]> {
    let side = |value: &PythonLiteral| {
        let side = value.as_int().filter(|side| (1..=LONGEST_SIDE).contains(side))?;
        NonZeroU32::new(u32::try_from(side).ok()?)
    };
    match literal.as_list() {
        Some([height, width]) => Some([side(width)?, side(height)?]),
        Some(_) => None,
        None => side(literal).map(|side| [side; 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(metadata: &[(&str, &str)]) -> Option<UltralyticsMetadata> {
        UltralyticsMetadata::read(
            &metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        )
    }

    #[test]
    fn an_export_of_8_3_is_read() {
        let it = read(&[
            ("description", "Ultralytics YOLO11n model trained on /usr/src/ultralytics/ultralytics/cfg/datasets/coco.yaml"),
            ("author", "Ultralytics"),
            ("date", "2025-06-24T11:36:15.243126"),
            ("version", "8.3.158"),
            ("license", "AGPL-3.0 License (https://ultralytics.com/license)"),
            ("docs", "https://docs.ultralytics.com"),
            ("stride", "32"),
            ("task", "detect"),
            ("batch", "1"),
            ("imgsz", "[480, 640]"),
            ("names", r#"{0: 'person', 1: "traffic 'light'", 2: 'caf\xe9'}"#),
            ("args", "{'batch': 1, 'fraction': 1.0, 'half': False, 'dynamic': False, 'simplify': True, 'opset': None, 'nms': True}"),
            ("channels", "3"),
        ])
        .expect("Ultralytics");
        assert_eq!((it.task, it.origin().as_str()), (Some(UltralyticsTask::Detect), "Ultralytics 8.3.158"));
        assert_eq!(it.names.expect("names"), ["person", "traffic 'light'", "café"]);
        assert_eq!(it.size.map(|size| size.map(NonZeroU32::get)), Some([640, 480]));
        assert_eq!((it.stride, it.end_to_end), (NonZeroU32::new(32), Some("nms: True")));
    }

    #[test]
    fn boxes_after_nms_are_told_by_either_key() {
        let end_to_end = |key, value| read(&[("author", "Ultralytics"), (key, value)]).expect("Ultralytics").end_to_end;
        assert_eq!(end_to_end("end2end", "True"), Some("end2end: True"));
        assert_eq!(end_to_end("end2end", "False"), None);
        assert_eq!(end_to_end("args", "{'nms': False}"), None);
        assert_eq!(end_to_end("description", "Ultralytics YOLOv10n model"), None);
    }

    #[test]
    fn yolov5_is_told_by_its_names_and_stride() {
        let it = read(&[("stride", "32"), ("names", "['person', 'car']")]).expect("YOLOv5");
        assert_eq!((it.origin().as_str(), it.names.map(|names| names.len())), ("YOLOv5", Some(2)));
        assert_eq!(read(&[("stride", "32"), ("names", "person,car")]), None);
        assert_eq!(read(&[("author", "me"), ("task", "detect")]), None);
        assert_eq!(read(&[]), None);
    }

    #[test]
    fn broken_values_are_left_out() {
        for (key, value) in [
            ("names", "{0: 'a', 2: 'b'}"),
            ("names", "{0: 'a', 0: 'b'}"),
            ("names", "{}"),
            ("names", "{0: 1}"),
            ("imgsz", "[0, 640]"),
            ("imgsz", "[640, 640, 3]"),
            ("imgsz", "[640, 99999999999999999999]"),
            ("stride", "0"),
            ("stride", "-32"),
            ("task", "dance"),
            ("version", "8.3\x1b[31m"),
            ("args", "{'nms': torch.device('cpu')}"),
        ] {
            let it = read(&[("author", "Ultralytics"), (key, value)]).expect("Ultralytics");
            let nothing = read(&[("author", "Ultralytics")]).expect("Ultralytics");
            assert_eq!(it, nothing, "{key}: {value}");
        }
    }
}
