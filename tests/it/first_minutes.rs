//! A clone stands alone: its own models answer, and it says when it is ready.

use std::{
    io::{BufRead, BufReader},
    process::Stdio,
};

use crate::harness::{Server, detections, ounce, photo, root, shared};

tests![the_shipped_models_answer_where_people_are_and_whether_there_are_any, the_binary_says_when_it_is_ready];

async fn the_shipped_models_answer_where_people_are_and_whether_there_are_any() {
    let server = Server::start(&root().join("models"), &[]).await;
    let (status, answer) = server.post("/v1/detect", "image/png", photo()).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!((&answer["model"], &answer["image"]["width"]), (&"pedestrian".into(), &96.into()));
    let (status, answer) = server.post("/v1/classify", "image/png", photo()).await;
    assert_eq!(status, 200, "{answer}");
    let classes = answer["classes"].as_array().expect("classes");
    let sum: f64 = classes.iter().map(|class| class["score"].as_f64().expect("a score")).sum();
    assert!(classes.len() == 2 && (sum - 1.0).abs() < 1e-3, "yes and no: {answer}");

    let photos = shared("images/photos_ccby_coco");
    let (_, answer) = server.image("/v1/detect", &photos.join("coco_val_000000001000.jpg")).await;
    assert!(detections(&answer).len() >= 3, "people in a row: {answer}");
    let (_, answer) = server.image("/v1/classify", &photos.join("coco_val_000000001000.jpg")).await;
    assert_eq!(answer["classes"][0]["label"], "pedestrian", "{answer}");
}

/// Starts the binary itself: this is about a process.
fn the_binary_says_when_it_is_ready() {
    let mut child = ounce()
        .args(["serve", "--listen", "127.0.0.1:0", "--models", "models"])
        .env("OUNCE_LOG__FORMAT", "json")
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary");
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let mut seen = Vec::new();
    let ready = lines.map_while(Result::ok).find_map(|line| {
        let json = serde_json::from_str::<serde_json::Value>(&line).unwrap_or_default();
        seen.push(line);
        (json["message"] == "ready").then_some(json)
    });
    let ready = ready.unwrap_or_else(|| panic!("it ended before it was ready: {}", seen.join("\n")));
    println!("ready after {} ms", ready["took_ms"]);
    child.kill().expect("still running");
    child.wait().expect("gone");
}
