//! Graphs that want the image's size as a second input (RT-DETR, D-FINE) are told it.

use std::fs;

use crate::harness::{Server, detections, photo, root};

tests![boxes_of_a_detr_are_in_pixels_of_the_picture];

const MANIFEST: &str = "
task = 'detect'
labels = ['nothing', 'left half']
[input]
scale = 0.00392156862745098
[output]
decode = 'detr'
";

async fn boxes_of_a_detr_are_in_pixels_of_the_picture() {
    let folder = tempfile::tempdir().expect("tempdir");
    let model = folder.path().join("tiny-detr");
    fs::create_dir(&model).expect("mkdir");
    fs::write(model.join("model.toml"), MANIFEST).expect("write");
    fs::copy(root().join("tests/it/tiny_detr.onnx"), model.join("tiny.onnx")).expect("copy");
    let server = Server::start(folder.path(), &[]).await;
    let (status, answer) = server.post("/v1/detect", "image/png", photo()).await;
    assert_eq!(status, 200, "{answer}");
    let [(label, score, corners)] = &detections(&answer)[..] else { panic!("one box: {answer}") };
    assert_eq!((label.as_str(), corners), ("left half", &[0.0, 0.0, 48.0, 128.0]));
    assert!((0.3..0.7).contains(score), "the mean of the image: {answer}");
}
