//! A file that Ultralytics exported is served as it was trained with a manifest of two lines, and a manifest that contradicts it is refused.

use std::{fs, path::Path, process::Output};

use serde_json::json;

use crate::{
    harness::{Server, detections, ounce, png},
    onnx,
};

tests![
    an_export_is_fed_as_it_was_trained_with_two_lines,
    manifests_that_contradict_the_file_are_refused_and_the_right_ones_load
];

/// The metadata of an export, as `ultralytics/engine/exporter.py` writes it.
const EXPORT: [(&str, &str); 12] = [
    ("description", "Ultralytics YOLO11n model trained on data.yaml"),
    ("author", "Ultralytics"),
    ("date", "2025-06-24T11:36:15.243126"),
    ("version", "8.3.158"),
    ("license", "AGPL-3.0 License (https://ultralytics.com/license)"),
    ("docs", "https://docs.ultralytics.com"),
    ("stride", "32"),
    ("task", "detect"),
    ("batch", "1"),
    ("imgsz", "[64, 64]"),
    ("names", r#"{0: 'red', 1: "green 'light'", 2: 'blue'}"#),
    ("args", "{'batch': 1, 'half': False, 'dynamic': False, 'simplify': True, 'opset': None, 'nms': False}"),
];

const DETECT: &str = "task = 'detect'\noutput.decode = 'yolov8'";

/// Puts a model into a folder: its manifest, and a file with the metadata of an export, in which `changed` is otherwise.
fn put(models: &Path, name: &str, manifest: &str, changed: &[(&str, &str)], side: usize) {
    let folder = models.join(name);
    fs::create_dir(&folder).expect("mkdir");
    fs::write(folder.join("model.toml"), manifest).expect("written");
    let kept = EXPORT.iter().filter(|(key, _)| changed.iter().all(|(other, _)| other != key));
    let metadata: Vec<_> = kept.chain(changed).copied().filter(|(_, value)| !value.is_empty()).collect();
    fs::write(folder.join("best.onnx"), onnx::colours(side, &metadata)).expect("written");
}

/// The upper half of the graph's square input is grey bars, if it is letterboxed; the picture is orange.
fn orange() -> Vec<u8> {
    png(&image::RgbImage::from_pixel(64, 32, image::Rgb([255, 127, 0])))
}

async fn an_export_is_fed_as_it_was_trained_with_two_lines() {
    let models = tempfile::tempdir().expect("tempdir");
    put(models.path(), "fixed", DETECT, &[], 64);
    put(models.path(), "dynamic", DETECT, &[], 0);
    let no_metadata = EXPORT.map(|(key, _)| (key, ""));
    let labels = "labels = ['red', 'green', 'blue']\n";
    put(models.path(), "family", &format!("{labels}{DETECT}"), &no_metadata, 64);
    put(models.path(), "said", &format!("{DETECT}\n[input]\nfit = 'stretch'\ncolor = 'bgr'\nscale = 0.001"), &[], 64);
    let server = Server::start(models.path(), &[]).await;
    let found = async |model: &str| {
        let (status, answer) = server.post(&format!("/v1/models/{model}/predict"), "image/png", orange()).await;
        assert_eq!(status, 200, "{answer}");
        detections(&answer)
    };
    for model in ["fixed", "dynamic", "family"] {
        let [(label, score, corners)] = &found(model).await[..] else { panic!("{model}: one box") };
        // Red of the picture and of the bars, in 0..1.
        let red = f64::midpoint(255.0, 114.0) / 255.0;
        assert_eq!((label.as_str(), corners), ("red", &[24.0, 8.0, 40.0, 24.0]), "{model}");
        assert!((score - red).abs() < 1e-3, "{model}: {score}");
    }
    assert_eq!(found("said").await, [], "a red of 0.255 is below the least score");

    let pixels = ["input.color", "input.fit", "input.pad", "input.scale"];
    let of_file: Vec<&str> = ["labels"].into_iter().chain(pixels).collect();
    let sized: Vec<&str> = ["labels", "input.size"].into_iter().chain(pixels).collect();
    for (model, inferred) in
        [("fixed", json!(of_file)), ("dynamic", json!(sized)), ("family", json!(pixels)), ("said", json!(["labels"]))]
    {
        let (_, body) = server.get(&format!("/v1/models/{model}")).await;
        assert_eq!(body["inferred"], inferred, "{model}");
        assert_eq!(body["input"]["size"], json!([64, 64]), "{model}");
    }
    let (_, body) = server.get("/v1/models/fixed").await;
    assert_eq!(body["labels"], json!(["red", "green 'light'", "blue"]));
}

fn manifests_that_contradict_the_file_are_refused_and_the_right_ones_load() {
    let models = tempfile::tempdir().expect("tempdir");
    let labels = |labels: &str| format!("labels = {labels}\n{DETECT}");
    // Name, manifest, what is otherwise in the metadata, and what the refusal says.
    let wrong = [
        (
            "segment",
            DETECT.to_owned(),
            ("task", "segment"),
            "an Ultralytics `segment` model; ounce serves detect and classify",
        ),
        (
            "pose",
            labels("['a', 'b', 'c']"),
            ("task", "pose"),
            "an Ultralytics `pose` model; ounce serves detect and classify",
        ),
        ("obb", DETECT.to_owned(), ("task", "obb"), "an Ultralytics `obb` model; ounce serves detect and classify"),
        (
            "classify",
            DETECT.to_owned(),
            ("task", "classify"),
            "write task = \"classify\" and output.decode = \"softmax\"",
        ),
        (
            "logits",
            "task = 'classify'\noutput.decode = 'logits'".to_owned(),
            ("task", "classify"),
            "answers probabilities already",
        ),
        (
            "one-label",
            labels("['person']"),
            ("batch", "1"),
            "the file names 3 classes: give as many, or leave labels out",
        ),
        ("nms", DETECT.to_owned(), ("args", "{'batch': 1, 'nms': True}"), "(nms: True): take `decode = \"end2end\"`"),
        ("end2end", DETECT.to_owned(), ("end2end", "True"), "(end2end: True): take `decode = \"end2end\"`"),
        (
            "yolov5",
            "task = 'detect'\noutput.decode = 'yolov5'".to_owned(),
            ("batch", "1"),
            "wants one output [N, n, 8]",
        ),
        ("no-names", DETECT.to_owned(), ("names", "{0: 'a', 2: 'b'}"), "the file names no classes: give labels"),
        (
            "size",
            format!("{DETECT}\ninput.size = [65, 64]"),
            ("batch", "1"),
            "the file's stride is 32: give multiples of it",
        ),
    ];
    for (name, manifest, changed, _) in &wrong {
        put(models.path(), name, manifest, &[*changed], 0);
    }
    let right = [
        ("two-lines", DETECT.to_owned(), ("batch", "1")),
        ("labels", labels("['a', 'b', 'c']"), ("batch", "1")),
        ("broken", labels("['a', 'b', 'c']"), ("names", "{0: torch.tensor(1)}")),
        ("unknown-task", DETECT.to_owned(), ("task", "dance")),
        ("not-end2end", DETECT.to_owned(), ("end2end", "False")),
        ("yolov5-names", DETECT.to_owned(), ("names", "['a', 'b', 'c']")),
    ];
    for (name, manifest, changed) in &right {
        put(models.path(), name, manifest, &[*changed], 0);
    }
    let Output { status, stdout, .. } = ounce().arg("models").arg(models.path()).output().expect("it runs");
    assert!(!status.success());
    let text = String::from_utf8(stdout).expect("text");
    println!("{text}");
    for (name, _, _, reason) in &wrong {
        let (_, rest) = text.split_once(&format!("✗ {name}\n")).unwrap_or_else(|| panic!("{name} is refused: {text}"));
        let line = rest.lines().next().expect("a reason");
        assert!(line.contains(reason), "{name}: {line}");
    }
    for (name, ..) in &right {
        assert!(text.contains(&format!("✓ {name} ")), "{name} loads: {text}");
    }
    assert!(text.contains(
        "not in the manifest: labels = the file's 3 names, input.size = [64,64], input.color = \"rgb\", input.fit = \"letterbox\", \
         input.pad = 114, input.scale = 0.003921569 (Ultralytics 8.3.158)"
    ));
}
