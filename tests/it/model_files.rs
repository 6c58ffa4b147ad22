//! A model's file that blocks, never ends or unpacks to more than there is room for is refused, wherever it lies: what was
//! served before is served on, and the server can be shut down.

use std::{
    fs,
    io::Read,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::harness::{Process, Server, ended, photo, root, until};

tests![
    files_that_block_or_never_end_are_refused_in_each_place,
    a_small_file_that_unpacks_to_a_gigabyte_is_refused,
    a_start_over_a_pipe_says_so,
    a_load_that_takes_too_long_is_given_up
];

const MODEL: &str = "presence";

/// A folder with the shipped classifier in it, as a copy.
fn models() -> tempfile::TempDir {
    let models = tempfile::tempdir().expect("tempdir");
    let (from, to) = (root().join("models/pedestrian-presence"), models.path().join(MODEL));
    fs::create_dir_all(to.join("1")).expect("mkdir");
    fs::copy(from.join("model.toml"), to.join("model.toml")).expect("copy");
    for file in fs::read_dir(from.join("1")).expect("the shipped folder").flatten() {
        fs::copy(file.path(), to.join("1").join(file.file_name())).expect("copy");
    }
    models
}

/// The default variant's file, as the manifest names it.
fn graph(models: &Path) -> PathBuf {
    let files = fs::read_dir(models.join(MODEL).join("1")).expect("files").flatten().map(|file| file.path());
    files.min().expect("a file")
}

fn pipe(at: &Path) {
    let _ = fs::remove_file(at);
    assert!(Command::new("mkfifo").arg(at).status().expect("mkfifo runs").success());
}

fn endless(at: &Path) {
    let _ = fs::remove_file(at);
    std::os::unix::fs::symlink("/dev/zero", at).expect("a link");
}

/// Asks to load the model, and gives back the refusal.
async fn refused(server: &Server) -> String {
    let (status, problem) =
        server.post(&format!("/v2/repository/models/{MODEL}/load"), "application/json", vec![]).await;
    assert_eq!(status, 400, "{problem}");
    problem["detail"].as_str().expect("text").to_owned()
}

async fn files_that_block_or_never_end_are_refused_in_each_place() {
    let models = models();
    let server = Server::start(models.path(), &[("OUNCE_RELOAD__WATCH_MS", "0")]).await;
    let manifest = models.path().join(MODEL).join("model.toml");
    let text = fs::read_to_string(&manifest).expect("the manifest");
    let labels = models.path().join(MODEL).join("labels.txt");
    let with_labels: Vec<_> = text.lines().filter(|line| !line.starts_with("labels")).collect();
    let with_labels = format!("labels = 'labels.txt'\n{}", with_labels.join("\n"));
    let graph = graph(models.path());
    let bytes = fs::read(&graph).expect("the graph");
    for make in [pipe, endless] {
        make(&graph);
        assert!(refused(&server).await.contains("is no regular file, but a folder, a pipe or a device"));
        fs::remove_file(&graph).and_then(|()| fs::write(&graph, &bytes)).expect("put back");

        fs::write(&manifest, &with_labels).expect("write");
        make(&labels);
        assert!(refused(&server).await.contains("labels.txt is no regular file"));

        make(&manifest);
        assert!(refused(&server).await.contains("model.toml is no regular file"));
        fs::remove_file(&manifest).and_then(|()| fs::write(&manifest, &text)).expect("put back");

        assert_eq!(server.post("/v1/classify", "image/png", photo()).await.0, 200, "the old one is served on");
    }
    let (status, answer) =
        server.post(&format!("/v2/repository/models/{MODEL}/load"), "application/json", vec![]).await;
    assert_eq!(status, 200, "{answer}");
    server.end().expect("a clean end");
}

async fn a_small_file_that_unpacks_to_a_gigabyte_is_refused() {
    let models = models();
    let settings = [("OUNCE_RELOAD__WATCH_MS", "100"), ("OUNCE_LOADING__MAX_BYTES", "50000000")];
    let server = Process::start(models.path(), &settings).await;
    let before = server.metrics().await["process_resident_memory_bytes"];
    // Without its checksum in the manifest, which would refuse it sooner.
    let manifest = models.path().join(MODEL).join("model.toml");
    let text = fs::read_to_string(&manifest).expect("the manifest");
    let unpinned: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with("sha256")).collect();
    fs::write(&manifest, unpinned.join("\n")).expect("write");
    let bomb = zstd::encode_all(std::io::repeat(0).take(1 << 30), 1).expect("zstd");
    assert!(bomb.len() < 1_000_000, "{}", bomb.len());
    fs::write(graph(models.path()), bomb).expect("write");
    let mut reason = String::new();
    until("it is refused", async || {
        let answer = server.client.get(format!("{}/v1/models/{MODEL}", server.url)).send().await.expect("an answer");
        let model: Value = answer.json().await.expect("JSON");
        reason = model["trouble"].as_str().unwrap_or_default().to_owned();
        reason.contains("unpacks to more")
    })
    .await;
    assert!(reason.contains("may have 50000000 (setting `loading.max_bytes`)"), "{reason}");
    let grown = server.metrics().await["process_resident_memory_bytes"] - before;
    assert!(grown < 300e6, "{grown} bytes");
}

async fn a_start_over_a_pipe_says_so() {
    let models = models();
    pipe(&models.path().join(MODEL).join("model.toml"));
    let reason = Server::try_start(models.path(), &[]).await.expect_err("refused");
    assert!(reason.contains("model.toml is no regular file, but a folder, a pipe or a device"), "{reason}");
}

/// No file that hangs can be made here; to whoever waits, a load that only takes too long is the same.
async fn a_load_that_takes_too_long_is_given_up() {
    let models = models();
    let settings = [("OUNCE_RELOAD__WATCH_MS", "0"), ("OUNCE_LOADING__TIMEOUT_MS", "1")];
    let mut server = Process::start(models.path(), &settings).await;
    let mut told = String::new();
    until("it is given up", async || {
        let load = format!("{}/v2/repository/models/{MODEL}/load", server.url);
        let answer = server.client.post(load).send().await.expect("an answer");
        assert_ne!(answer.status(), 200);
        told = answer.text().await.expect("text");
        told.contains("version 1 is still served") && told.contains("took longer than 1 ms")
    })
    .await;
    assert!(told.contains("(setting `loading.timeout_ms`)"), "{told}");
    let answer = server.client.post(format!("{}/v1/classify", server.url)).body(photo()).send().await;
    assert_eq!(answer.expect("an answer").status(), 200);

    server.signal("-TERM");
    assert!(ended(&mut server.child).await.success());
}
