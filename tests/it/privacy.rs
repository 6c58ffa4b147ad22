//! Nothing of an image is kept or told: not in logs, traces, metrics or answers, nor in a file, whatever becomes of it.

use serde_json::Value;

use crate::{
    harness::{ended, logged, ounce, photo, ready, root},
    traces::collector,
};

tests![a_marker_in_an_image_and_its_name_is_found_nowhere];

/// Stands in the image's bytes, in its file's name and in its metadata.
const MARKER: &str = "XYZZYMARKER";

/// Bytes with the marker in them, that a decoder takes in different ways.
fn images() -> Vec<Vec<u8>> {
    let whole = [&photo()[..], MARKER.as_bytes()].concat();
    let torn = [&photo()[..200], MARKER.as_bytes()].concat();
    let unknown = [MARKER.as_bytes(), b" is no image"].concat();
    let text = format!("<svg><text>{MARKER}</text></svg>").into_bytes();
    vec![whole, torn, unknown, text, MARKER.as_bytes().to_vec()]
}

async fn a_marker_in_an_image_and_its_name_is_found_nowhere() {
    let (endpoint, posts) = collector().await;

    let folder = tempfile::tempdir().expect("tempdir");
    let mut serve = ounce();
    serve.current_dir(folder.path()).env("OUNCE_MODELS", root().join("models"));
    serve.env("OUNCE_RUNTIME__LIBRARY", library()).env("TMPDIR", folder.path()).env("HOME", folder.path());
    serve.env("OUNCE_TELEMETRY__OTLP_ENDPOINT", endpoint).args(["serve", "--listen", "127.0.0.1:0", "--log", "trace"]);
    serve.env("OUNCE_LOG__FORMAT", "json").env("OUNCE_ADMIN_LISTEN", "");
    let (mut server, url, lines) = logged(serve);
    ready(&url).await;

    let client = reqwest::Client::new();
    let mut answers = Vec::new();
    for image in images() {
        for path in ["/v1/detect", "/v1/classify", "/v1/models/pedestrian/predict"] {
            let post = || client.post(format!("{url}{path}"));
            let part = reqwest::multipart::Part::bytes(image.clone()).file_name(format!("{MARKER}.jpg"));
            let form = reqwest::multipart::Form::new().part("image", part);
            let base64 = format!("{{\"image\": \"{}\"}}", base64(&image));
            for request in [
                post().body(image.clone()),
                post().body(image.clone()).header("accept", "image/jpeg"),
                post().header("content-type", "application/json").body(base64),
                post().header("content-type", "application/json").body(image.clone()),
            ] {
                let answer = request.send().await.expect("an answer");
                answers.extend(answer.bytes().await.expect("bytes"));
            }
            // The form's answer has the file's name, for who sent it.
            let form: Value = post().multipart(form).send().await.expect("an answer").json().await.expect("JSON");
            assert!(form["results"].is_array() || form["detail"].is_string(), "{form}");
        }
    }
    answers.extend(client.get(format!("{url}/metrics")).send().await.expect("one").bytes().await.expect("bytes"));
    let sent = std::process::Command::new("kill").args(["-TERM", &server.id().to_string()]).status();
    assert!(sent.expect("kill runs").success());
    ended(&mut server).await;

    let has = |bytes: &[u8]| bytes.windows(MARKER.len()).any(|part| part == MARKER.as_bytes());
    assert!(!has(&answers), "an answer or a metric has it");
    let spans = posts.lock().expect("no panic").concat();
    assert!(!spans.is_empty() && !has(&spans), "{} bytes of spans", spans.len());
    let lines = lines.join().expect("no panic");
    assert!(lines.len() > 100, "{}", lines.len());
    let told: Vec<_> = lines.iter().filter(|line| has(line.as_bytes())).collect();
    assert!(told.is_empty(), "{told:?}");
    let kept: Vec<_> = std::fs::read_dir(folder.path()).expect("the folder").flatten().collect();
    assert!(kept.is_empty(), "{kept:?}");
}

/// ONNX Runtime's library of these tests.
fn library() -> std::path::PathBuf {
    let flavour = std::env::var("OUNCE_RUNTIME__FLAVOUR").unwrap_or_else(|_| "cpu".into());
    let files = std::fs::read_dir(root().join(".runtime").join(flavour)).expect("`make runtime` fetches it").flatten();
    let mut files = files.map(|file| file.path());
    files.find(|file| file.display().to_string().contains("libonnxruntime.so")).expect("the library")
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
