//! Triton's own Python client works against ounce, unchanged.

use serde_json::{Value, json};

use crate::harness::{Server, photo, python, root};

tests![tritonclient_reads_metadata_and_infers_with_json_and_binary_tensors];

async fn tritonclient_reads_metadata_and_infers_with_json_and_binary_tensors() {
    let server = Server::start(&root().join("models"), &[]).await;
    let folder = tempfile::tempdir().expect("tempdir");
    let image = folder.path().join("photo.png");
    std::fs::write(&image, photo()).expect("write");
    let mut client = python(&[]);
    client
        .arg(root().join("tests/it/triton.py"))
        .args([server.url.trim_start_matches("http://"), &image.display().to_string()]);
    let output =
        tokio::task::spawn_blocking(move || client.output()).await.expect("joined").expect("Python 3 is there");
    assert!(output.status.success(), "`make test` installs the client: {}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");

    assert_eq!([&report["live"], &report["ready"], &report["model_ready"]], [true, true, true]);
    assert_eq!(report["unknown_ready"], false);
    assert_eq!(report["server"]["name"], "ounce");
    assert_eq!(
        report["metadata"]["inputs"],
        json!([{"name": "image", "datatype": "FP32", "shape": [-1, 3, 150, 150]}])
    );

    let numbers = |value: &Value| -> Vec<f64> {
        value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
    };
    let first = numbers(&report["answers"]["binary/binary"]);
    assert_eq!(first.len(), 2, "a batch of two: {report}");
    for name in ["json/json", "json/binary", "binary/json"] {
        let other = numbers(&report["answers"][name]);
        assert!(first.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-6), "{name}: {first:?} {other:?}");
    }
    assert_eq!(numbers(&report["gzip"]), first);
    assert_eq!(report["request_id"], "r7");

    // Two encoded images instead of a tensor: decoded by the server, and the same answer as over /v1.
    let (_, answer) = server.post("/v1/classify", "image/png", photo()).await;
    let yes = answer["classes"].as_array().expect("classes").iter().find(|class| class["label"] == "pedestrian");
    let yes = yes.expect("a label")["score"].as_f64().expect("a score");
    assert!(numbers(&report["pictures"]).iter().all(|p| (p - yes).abs() < 1e-3), "{report} {answer}");
    assert!(report["classes"][0].as_str().is_some_and(|class| class.ends_with("pedestrian")), "{report}");

    let (stats, first) = (&report["stats"], &report["stats"]["batch_stats"][0]);
    // Six tensors of two rows each, and two images for each of the two requests that sent some.
    assert_eq!(stats["inference_count"], 16, "{stats}");
    assert!(stats["inference_stats"]["success"]["count"].as_u64().is_some_and(|count| count >= 7), "{stats}");
    assert!(first["batch_size"] == 1 && first["latest"]["p50_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{stats}");
    it_was_unloaded_and_loaded(&report);

    let error = |name: &str| report["errors"][name].as_str().expect("text").to_owned();
    assert!(error("unknown model").contains("404") && error("unknown model").contains("`pedestrian`"), "{report}");
    assert!(error("wrong shape").contains("400") && error("wrong shape").contains("[?, 3, 150, 150]"), "{report}");
    assert!(error("unknown output").contains("400"), "{report}");
}

/// What a client of either protocol saw when it unloaded a model and loaded it again.
pub(crate) fn it_was_unloaded_and_loaded(report: &Value) {
    let states = |index: &Value| -> Vec<String> {
        let models = index.as_array().expect("a list").iter();
        models.map(|model| format!("{} {}", model["name"], model["state"]).replace('"', "")).collect()
    };
    assert_eq!(states(&report["unloaded"][0]), ["pedestrian READY", "pedestrian-presence UNAVAILABLE"]);
    assert_eq!(states(&report["loaded"][0]), ["pedestrian READY", "pedestrian-presence READY"]);
    assert_eq!([&report["unloaded"][1], &report["loaded"][1]], [false, true]);
}
