//! A model changes while it is served, and no request notices more than another answer.

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Server, photo, root, until};

tests![
    ten_thousand_requests_and_three_reloads_one_of_them_broken,
    models_are_loaded_and_unloaded_on_request,
    repository_calls_move_to_the_admin_port_when_there_is_one
];

/// Copies the shipped classifier to `folder`, as another version and with other labels.
fn write(folder: &Path, version: &str, labels: [&str; 2]) {
    let shipped = root().join("models/pedestrian-presence");
    fs::create_dir_all(folder.join(version)).expect("mkdir");
    let manifest = fs::read_to_string(shipped.join("model.toml")).expect("a manifest");
    let manifest: Vec<_> = manifest.lines().filter(|line| !line.starts_with("labels")).collect();
    // Keys of the table's own come first.
    fs::write(folder.join("model.toml"), format!("labels = {labels:?}\n{}", manifest.join("\n"))).expect("write");
    let files = fs::read_dir(shipped.join("1")).or_else(|_| fs::read_dir(&shipped)).expect("the shipped folder");
    for file in files.flatten().filter(|file| file.file_name().to_string_lossy().contains(".onnx")) {
        fs::copy(file.path(), folder.join(version).join(file.file_name())).expect("copy");
    }
}

/// Puts a new version in the place of the old one, as a deployment would: prepared aside, then renamed.
fn replace(models: &Path, aside: &Path, version: &str, labels: [&str; 2], broken: bool) {
    let new = aside.join(version);
    write(&new, version, labels);
    if broken {
        for file in fs::read_dir(new.join(version)).expect("files").flatten() {
            fs::write(file.path(), b"half of a file that was still being copied").expect("write");
        }
    }
    fs::rename(models.join("presence"), aside.join(format!("before-{version}"))).expect("rename");
    fs::rename(new, models.join("presence")).expect("rename");
}

fn labels(answer: &Value) -> Vec<String> {
    let classes = answer["classes"].as_array().expect("classes");
    let mut labels: Vec<_> = classes.iter().map(|class| class["label"].as_str().expect("a label").to_owned()).collect();
    labels.sort();
    labels
}

async fn index(server: &Server) -> Value {
    let response = server.client.post(format!("{}/v2/repository/index", server.url)).send().await.expect("an answer");
    response.json().await.expect("JSON")
}

async fn model(server: &Server, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut model = Value::Null;
    until(what, async || {
        model = index(server).await[0].clone();
        wanted(&model)
    })
    .await;
    model
}

async fn ten_thousand_requests_and_three_reloads_one_of_them_broken() {
    const REQUESTS: usize = 10_000;
    let (models, aside) = (tempfile::tempdir().expect("tempdir"), tempfile::tempdir().expect("tempdir"));
    write(&models.path().join("presence"), "1", ["no", "yes"]);
    let server = Arc::new(Server::start(models.path(), &[("OUNCE_RELOAD__WATCH_MS", "100")]).await);
    let sent = Arc::new(AtomicUsize::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..8 {
        let (server, sent, image) = (Arc::clone(&server), Arc::clone(&sent), photo());
        clients.spawn(async move {
            let mut seen: Vec<(String, Vec<String>)> = Vec::new();
            // On until the last reload was seen, however fast the machine is.
            while sent.fetch_add(1, Ordering::Relaxed) < REQUESTS || seen.last().is_none_or(|(v, _)| v != "4") {
                let (status, answer) = server.post("/v1/classify", "image/png", image.clone()).await;
                assert_eq!(status, 200, "{answer}");
                let pair = (answer["version"].as_str().expect("a version").to_owned(), labels(&answer));
                if seen.last() != Some(&pair) {
                    seen.push(pair);
                }
            }
            seen
        });
    }
    let progress = async |part: usize| {
        until("requests are answered", async || sent.load(Ordering::Relaxed) >= REQUESTS * part / 4).await;
    };
    progress(1).await;
    replace(models.path(), aside.path(), "2", ["nein", "ja"], false);
    model(&server, "version 2", |model| model["version"] == "2").await;
    progress(2).await;
    replace(models.path(), aside.path(), "3", ["non", "oui"], true);
    let broken = model(&server, "a reason", |model| model["reason"] != "").await;
    assert_eq!((&broken["state"], &broken["version"]), (&json!("READY"), &json!("2")), "the old one still serves");
    assert!(broken["reason"].as_str().is_some_and(|why| why.contains("SHA-256") || why.contains("cannot open")));
    progress(3).await;
    replace(models.path(), aside.path(), "4", ["ikke", "jo"], false);
    model(&server, "version 4", |model| model["version"] == "4" && model["reason"] == "").await;

    let whole = [("1", ["no", "yes"]), ("2", ["ja", "nein"]), ("4", ["ikke", "jo"])];
    for seen in clients.join_all().await {
        for (version, labels) in &seen {
            assert!(whole.iter().any(|(v, l)| version == v && labels == l), "{version} with {labels:?}");
        }
        let versions: Vec<_> = seen.iter().map(|(version, _)| version.as_str()).collect();
        assert_eq!(versions, ["1", "2", "4"], "one after the other");
    }
}

async fn models_are_loaded_and_unloaded_on_request() {
    let models = tempfile::tempdir().expect("tempdir");
    write(&models.path().join("presence"), "1", ["no", "yes"]);
    let server = Server::start(models.path(), &[("OUNCE_RELOAD__WATCH_MS", "0")]).await;
    let call = async |what: &str, body: &str| {
        server.post(&format!("/v2/repository/models/{what}"), "application/json", body.into()).await
    };
    let state = async || {
        let index = index(&server).await;
        (index[0]["state"].as_str().expect("a state").to_owned(), index[0]["reason"].as_str().expect("one").to_owned())
    };
    assert_eq!(state().await, ("READY".into(), String::new()));

    let unload = r#"{"parameters": {"unload_dependents": false}}"#;
    assert_eq!(call("presence/unload", unload).await.0, 200);
    assert_eq!(state().await, ("UNAVAILABLE".into(), "it was unloaded".into()));
    assert_eq!(server.post("/v1/classify", "image/png", photo()).await.0, 404);
    assert_eq!(call("presence/unload", "").await.0, 404);

    assert_eq!(call("presence/load", "{}").await, (200, json!({})));
    assert_eq!(server.post("/v1/classify", "image/png", photo()).await.0, 200);

    fs::write(models.path().join("presence/model.toml"), "task = 'classify'").expect("write");
    let (status, problem) = call("presence/load", "").await;
    let detail = problem["detail"].as_str().expect("text");
    assert_eq!(status, 400, "{problem}");
    assert!(detail.contains("missing field `output`") && detail.contains("version 1 is still served"), "{detail}");
    assert_eq!(state().await.0, "READY");
    let (_, model) = server.get("/v1/models/presence").await;
    assert!(model["trouble"].as_str().is_some_and(|why| why.contains("missing field `output`")), "{model}");
    assert_eq!(server.post("/v1/classify", "image/png", photo()).await.0, 200);

    assert_eq!(call("nobody/load", "").await.0, 404);
    assert_eq!(call("..%2Fpresence/load", "").await.0, 404);
    assert_eq!(call("presence/load", r#"{"parameters": {"config": "{}"}}"#).await.0, 400);
    assert_eq!(call("presence/load", "[").await.0, 400);
}

async fn repository_calls_move_to_the_admin_port_when_there_is_one() {
    let models = tempfile::tempdir().expect("tempdir");
    write(&models.path().join("presence"), "1", ["no", "yes"]);
    let server = Server::start(models.path(), &[("OUNCE_ADMIN_LISTEN", "127.0.0.1:0")]).await;
    assert_eq!(server.post("/v2/repository/models/presence/unload", "application/json", vec![]).await.0, 404);
}
