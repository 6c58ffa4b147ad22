use std::collections::BTreeMap;

use super::*;
use crate::manifest::Fit;

/// A file's metadata as Ultralytics writes it, for a task, with three classes.
fn metadata(more: &[(&str, &str)]) -> UltralyticsMetadata {
    let ours = [
        ("author", "Ultralytics"),
        ("version", "8.3.158"),
        ("stride", "32"),
        ("task", "detect"),
        ("imgsz", "[480, 640]"),
        ("names", "{0: 'person', 1: 'car', 2: 'dog'}"),
    ];
    let all: BTreeMap<String, String> =
        ours.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    UltralyticsMetadata::read(&all).expect("Ultralytics")
}

fn folder(toml: &str) -> ModelFolder {
    let manifest: Manifest = toml::from_str(toml).expect("a valid manifest");
    let labels = match &manifest.labels {
        Some(crate::manifest::Labels::List(names)) => names.clone(),
        _ => Vec::new(),
    };
    ModelFolder { name: "mine".to_owned(), version: "1".to_owned(), manifest, labels, variants: Vec::new() }
}

/// A picture input; 0 is a free side.
fn images(element: ElementType, height: usize, width: usize) -> [Port; 1] {
    let side = |side: usize| (side > 0).then_some(side);
    [Port { name: "images".to_owned(), element, shape: vec![Some(1), Some(3), side(height), side(width)] }]
}

fn settled(toml: &str, metadata: Option<&UltralyticsMetadata>) -> Result<Settled, String> {
    settle(&folder(toml), metadata, &images(ElementType::F32, 640, 640))
}

fn keys(settled: &Settled) -> Vec<&'static str> {
    settled.inferred.iter().map(|setting| setting.key).collect()
}

const DETECT: &str = "task = 'detect'\noutput.decode = 'yolov8'";

#[test]
fn what_contradicts_the_file_is_refused() {
    let refusal = |toml: &str, more: &[(&str, &str)]| settled(toml, Some(&metadata(more))).expect_err("refused");
    for task in ["segment", "pose", "obb"] {
        assert_eq!(
            refusal(DETECT, &[("task", task)]),
            format!(
                "the file says that it is an Ultralytics `{task}` model; ounce serves detect and classify: export a model of \
                 one of these tasks"
            )
        );
    }
    insta::assert_snapshot!(refusal(DETECT, &[("task", "classify")]), @r#"task is "detect", but the file says that it is an Ultralytics `classify` model: write task = "classify" and output.decode = "softmax""#);
    insta::assert_snapshot!(refusal("task = 'classify'\noutput.decode = 'softmax'", &[]), @r#"task is "classify", but the file says that it is an Ultralytics `detect` model: write task = "detect" and output.decode = "yolov8""#);
    insta::assert_snapshot!(refusal("task = 'classify'\noutput.decode = 'logits'", &[("task", "classify")]), @r#"output.decode is "logits", but an Ultralytics `classify` model answers probabilities already: write output.decode = "softmax""#);
    insta::assert_snapshot!(refusal(&format!("labels = ['person']\n{DETECT}"), &[]), @"there are 1 names in labels, but the file names 3 classes: give as many, or leave labels out to take the file's names");
    insta::assert_snapshot!(refusal(DETECT, &[("args", "{'nms': True}")]), @r#"output.decode is "yolov8", which reads boxes before NMS, but the file says that its outputs are boxes after it (nms: True): take `decode = "end2end"`"#);
    insta::assert_snapshot!(refusal("task = 'detect'\noutput.decode = 'yolov5'", &[("end2end", "True")]), @r#"output.decode is "yolov5", which reads boxes before NMS, but the file says that its outputs are boxes after it (end2end: True): take `decode = "end2end"`"#);
    insta::assert_snapshot!(refusal(&format!("{DETECT}\ninput.size = [641, 640]"), &[]), @"input.size is [641, 640], but the file's stride is 32: give multiples of it");
    insta::assert_snapshot!(settled(DETECT, None).expect_err("refused"), @r#"the manifest has no labels, and the file names no classes: give labels = "names.txt", a file with a name a line, or a list"#);
}

#[test]
fn a_silent_manifest_takes_what_the_file_says() {
    let it = settled(DETECT, Some(&metadata(&[]))).expect("fits");
    assert_eq!(it.labels, ["person", "car", "dog"]);
    assert_eq!((it.input.fit, it.input.pad, it.input.scale, it.input.size), (Fit::Letterbox, 114, 1.0 / 255.0, None));
    insta::assert_snapshot!(InferredSetting::in_words(&it.inferred), @r#"labels = the file's 3 names, input.color = "rgb", input.fit = "letterbox", input.pad = 114, input.scale = 0.003921569 (Ultralytics 8.3.158)"#);

    let classify = "task = 'classify'\noutput.decode = 'softmax'";
    let it = settled(classify, Some(&metadata(&[("task", "classify")]))).expect("fits");
    insta::assert_snapshot!(InferredSetting::in_words(&it.inferred), @r#"labels = the file's 3 names, input.color = "rgb", input.fit = "crop", input.crop_ratio = 1.0, input.resize = "bilinear-antialias", input.scale = 0.003921569 (Ultralytics 8.3.158)"#);
}

#[test]
fn sides_that_the_graph_leaves_free_are_those_of_the_file() {
    let size = |height, width| {
        let it = settle(&folder(DETECT), Some(&metadata(&[])), &images(ElementType::F32, height, width)).expect("fits");
        it.input.size.map(|size| size.map(NonZeroU32::get))
    };
    assert_eq!(size(0, 0), Some([640, 480]));
    assert_eq!(size(320, 0), Some([640, 320]));
    assert_eq!(size(320, 320), None);
    let it = settle(
        &folder(&format!("{DETECT}\ninput.size = [96, 64]")),
        Some(&metadata(&[])),
        &images(ElementType::F32, 0, 0),
    );
    assert_eq!(it.expect("fits").input.size.map(|size| size.map(NonZeroU32::get)), Some([96, 64]));
}

#[test]
fn what_the_manifest_says_holds() {
    let toml = "task = 'detect'\nlabels = ['a', 'b', 'c']\noutput.decode = 'yolov8'\n[input]\nfit = 'stretch'\nmean = [1, 2, 3]";
    let it = settled(toml, Some(&metadata(&[]))).expect("fits");
    assert_eq!(it.labels, ["a", "b", "c"]);
    assert_eq!((it.input.fit, it.input.scale, it.input.mean), (Fit::Stretch, 1.0, [1.0, 2.0, 3.0]));
    assert_eq!(keys(&it), ["input.color"]);
}

#[test]
fn without_metadata_the_family_decides_and_is_told() {
    let inferred = |toml: &str| {
        let it = settled(&format!("task = 'detect'\nlabels = ['a']\n{toml}"), None).expect("fits");
        InferredSetting::in_words(&it.inferred)
    };
    insta::assert_snapshot!(inferred("output.decode = 'yolov8'"), @r#"input.color = "rgb", input.fit = "letterbox", input.pad = 114, input.scale = 0.003921569 (usual for `yolov8`)"#);
    insta::assert_snapshot!(inferred("output.decode = 'yolox'"), @r#"input.color = "bgr", input.fit = "letterbox-top-left", input.pad = 114, input.scale = 1.0 (usual for `yolox`)"#);
    insta::assert_snapshot!(inferred("output.decode = 'nanodet'"), @r#"input.color = "bgr", input.mean = [103.53,116.28,123.675], input.std = [57.375,57.12,58.395] (usual for `nanodet`)"#);
    insta::assert_snapshot!(inferred("output.decode = 'fastestdet'"), @r#"input.color = "bgr", input.scale = 0.003921569 (usual for `fastestdet`)"#);
    insta::assert_snapshot!(inferred("output.decode = 'detr'"), @r#"input.color = "rgb", input.scale = 0.003921569 (usual for `detr`)"#);
    insta::assert_snapshot!(inferred("[output]\ndecode = 'boxes-scores'\nbackground = 0"), @r#"input.color = "rgb", input.mean = [127.0,127.0,127.0], input.std = [128.0,128.0,128.0] (usual for `boxes-scores`)"#);
    assert_eq!(inferred("output.decode = 'nms-in-graph'"), "");
    // Another colour or fit than the family's is another family, and who says the scale says all.
    assert_eq!(inferred("output.decode = 'yolov5'\ninput.color = 'bgr'"), "");
    assert_eq!(inferred("output.decode = 'yolov8'\ninput.fit = 'stretch'"), "");
    assert_eq!(inferred("output.decode = 'yolov8'\ninput.scale = 1"), "");
}

#[test]
fn a_graph_that_takes_bytes_is_not_normalised() {
    let it = settle(&folder(DETECT), Some(&metadata(&[])), &images(ElementType::U8, 640, 640)).expect("fits");
    assert_eq!((it.input.fit, it.input.scale), (Fit::Letterbox, 1.0));
    let toml = format!("labels = ['a']\n{DETECT}");
    let it = settle(&folder(&toml), None, &images(ElementType::U8, 640, 640)).expect("fits");
    assert_eq!(it.inferred, []);
}
