//! Public models behind every output layout answer as their reference decoders do.

use std::path::Path;

use serde_json::Value;

use crate::harness::{Server, detections, iou, only, root, shared};

tests![
    detectors_find_what_their_reference_decoders_find,
    classifiers_agree_on_the_best_class,
    models_without_a_golden_file_see_what_a_person_sees
];

/// Manifest folder in `tests/models`, golden file in `shared/models/golden`.
const DETECTORS: [(&str, &str); 9] = [
    ("yolox-nano", "yolox_nano_416_raw_coco80"),
    ("person-192", "kazuhito_person_192_yolox_raw"),
    ("nanodet", "nanodet_m_416_coco80_6out"),
    ("fastestdet", "fastestdet_352_coco80_chw"),
    ("ssd-mobilenet", "ssd_mobilenet_v1_300_coco90_u8nhwc_qdq_nms"),
    ("yolox-nano-dynbatch", "yolox_nano_416_raw_dynbatch"),
    ("yolox-nano-v5", "yolox_nano_416_decoded_v5layout_dynbatch"),
    ("yolox-nano-nms", "yolox_nano_416_nms_in_graph"),
    ("yolox-nano-int8", "yolox_nano_416_raw_int8qdq_dynbatch"),
];
const CLASSIFIERS: [(&str, &str); 4] = [
    ("mobilenet-v2-u8", "mobilenet_v2_224_imagenet1001_u8nhwc_qdq"),
    ("mobilenet-v1-025-u8", "mobilenet_v1_025_128_imagenet1001_u8nhwc_qdq"),
    ("squeezenet-fp16", "squeezenet_224_imagenet1000_fp16io"),
    ("mobilenet-v2-logits", "mobilenet_v2_1.0_224_fp32_nchw_logits_dynbatch"),
];
/// What the golden answers were made with: OpenVINO computes quantised networks with other roundings.
const CPU: [(&str, &str); 1] = [("OUNCE_RUNTIME__PROVIDERS", "cpu")];
const SURE: f64 = 0.4;

/// How the answers of one detector agree with its golden ones.
#[derive(Default)]
struct Agreement {
    golden: usize,
    found: usize,
    lost: usize,
    worst_iou: f64,
    worst_score: f64,
}

async fn detectors_find_what_their_reference_decoders_find() {
    let shared = shared("models/golden");
    let server = Server::start(&root().join("tests/models"), &CPU).await;
    println!(
        "{:<22} {:>6} {:>6} {:>7} {:>5} {:>9} {:>11}",
        "detector", "golden", "found", "share", "lost", "worst IoU", "worst score"
    );
    let mut failures = Vec::new();
    for (model, golden) in DETECTORS {
        let golden = read(&shared.join(format!("{golden}.json")));
        let mut agreement = Agreement { worst_iou: 1.0, ..Agreement::default() };
        for (photo, wanted) in golden["detections"].as_object().expect("an object") {
            let file = shared.join("../../images/photos_ccby_coco").join(photo);
            let (status, answer) =
                server.image(&format!("/v1/models/{model}/predict?min_score=0.2&max_detections=1000"), &file).await;
            assert_eq!(status, 200, "{model} {photo}: {answer}");
            compare(model == "ssd-mobilenet", &answer, wanted.as_array().expect("a list"), &mut agreement);
        }
        let Agreement { golden, found, lost, worst_iou, worst_score } = agreement;
        let share = found as f64 / golden as f64;
        println!(
            "{model:<22} {golden:>6} {found:>6} {:>6.1}% {lost:>5} {worst_iou:>9.3} {worst_score:>11.3}",
            share * 100.0
        );
        if share < 0.97 || lost > 0 || golden == 0 {
            failures.push(model);
        }
    }
    assert!(failures.is_empty(), "these do not agree: {failures:?}");
}

fn compare(ssd: bool, answer: &Value, wanted: &[Value], agreement: &mut Agreement) {
    let size = ["width", "height"].map(|side| answer["image"][side].as_f64().expect("a number"));
    let found = detections(answer);
    for golden in wanted {
        let (label, score) = (golden["label"].as_str().expect("text"), golden["score"].as_f64().expect("number"));
        // TensorFlow's label file has other words for three of COCO's classes.
        let label = if ssd {
            [("motorbike", "motorcycle"), ("aeroplane", "airplane")]
                .iter()
                .find(|(a, _)| *a == label)
                .map_or(label, |(_, b)| b)
        } else {
            label
        };
        if score <= SURE {
            continue;
        }
        // Golden boxes may stand over the image's edge; ours are clipped.
        let corners = [0, 1, 2, 3].map(|i| golden["xyxy"][i].as_f64().expect("number").clamp(0.0, size[i % 2]));
        let best = found
            .iter()
            .filter(|(name, ..)| name == label)
            .map(|(_, s, b)| (iou(*b, corners), (s - score).abs()))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        agreement.golden += 1;
        match best {
            Some((iou, off)) if iou >= 0.5 => {
                agreement.worst_iou = agreement.worst_iou.min(iou);
                agreement.worst_score = agreement.worst_score.max(off);
                agreement.found += usize::from(iou >= 0.9 && off <= 0.05);
            }
            _ => agreement.lost += 1,
        }
    }
}

async fn classifiers_agree_on_the_best_class() {
    let shared = shared("models/golden");
    let names: Vec<_> = CLASSIFIERS.iter().map(|(model, _)| *model).collect();
    let folder = only(&names);
    let server = Server::start(folder.path(), &CPU).await;
    println!("{:<22} {:>6} {:>6}", "classifier", "photos", "top-1");
    let mut failures = Vec::new();
    for (model, golden) in CLASSIFIERS {
        let golden = read(&shared.join(format!("{golden}.json")));
        let (mut right, mut all) = (0, 0);
        for (photo, wanted) in golden["top5"].as_object().expect("an object") {
            let folder = shared.join("../../images");
            let file = ["photos_apache_coral", "photos_mit_winml"].map(|part| folder.join(part).join(photo));
            let file = file.iter().find(|file| file.exists()).expect("a photo of shared/images");
            let (status, answer) = server.image(&format!("/v1/classify?model={model}"), file).await;
            assert_eq!(status, 200, "{model} {photo}: {answer}");
            all += 1;
            // Of two classes with the same score (quantised ones often have it), either is the best.
            let classes = answer["classes"].as_array().expect("a list");
            let best = classes.iter().filter(|class| class["score"] == classes[0]["score"]);
            if best.map(|class| &class["label"]).any(|label| *label == wanted[0]["label"]) {
                right += 1;
            } else {
                failures.push(format!("{model} {photo}: {} instead of {}", answer["classes"][0], wanted[0]));
            }
        }
        assert!(all > 0, "{model} has golden photos");
        println!("{model:<22} {all:>6} {right:>6}");
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

async fn models_without_a_golden_file_see_what_a_person_sees() {
    let images = shared("images");
    let folder = only(&["ultraface", "vww-person", "vww-person-int8", "resnet8-cifar10"]);
    let server = Server::start(folder.path(), &CPU).await;
    let best = async |model: &str, photo: &str| {
        let (status, answer) = server.image(&format!("/v1/classify?model={model}"), &images.join(photo)).await;
        assert_eq!(status, 200, "{answer}");
        answer["classes"][0]["label"].as_str().expect("a label").to_owned()
    };
    for model in ["vww-person", "vww-person-int8"] {
        assert_eq!(best(model, "photos_ccby_coco/coco_val_000000000872.jpg").await, "person", "{model}");
        assert_eq!(best(model, "photos_apache_coral/sunflower.bmp").await, "no person", "{model}");
    }
    assert_eq!(best("resnet8-cifar10", "photos_apache_coral/cat_720p.jpg").await, "cat");
    let (_, answer) = server.image("/v1/detect", &images.join("photos_apache_coral/grace_hopper.bmp")).await;
    let faces = detections(&answer);
    assert_eq!(faces.len(), 1, "one face: {answer}");
    assert!(faces[0].1 > 0.9, "{answer}");
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a golden file")).expect("JSON")
}
