//! `ounce health` tells a probe whether a server takes requests, and people why it does not.

use std::{net::TcpListener, path::Path, process::Command};

use crate::harness::{Nobody, Process, Server, ounce, root, until};

tests![
    a_server_that_takes_requests_is_healthy,
    a_server_that_starts_lives_but_is_not_ready,
    a_server_that_ends_lives_but_is_not_ready,
    a_server_whose_models_are_all_unloaded_is_not_ready,
    whoever_is_not_there_or_does_not_answer_is_not_healthy,
    an_address_that_cannot_be_asked_is_told_so
];

/// How `ounce health` ends, and what it says.
fn health(arguments: &[&str], settings: &[(&str, &str)]) -> (i32, String) {
    let output = ounce().arg("health").args(arguments).envs(settings.iter().copied()).output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().expect("no signal"), String::from_utf8_lossy(&text).trim().to_owned())
}

/// Why a server is not healthy.
fn reason(url: &str, arguments: &[&str]) -> String {
    let (code, reason) = health(&[&["--url", url], arguments].concat(), &[]);
    assert_eq!(code, 1, "{reason}");
    reason.replace(url, "http://HOST")
}

async fn a_server_that_takes_requests_is_healthy() {
    let server = Server::start(&root().join("models"), &[]).await;
    let port = server.url.rsplit(':').next().expect("a port");
    assert_eq!(health(&["--url", &server.url], &[]), (0, "ready".to_owned()));
    assert_eq!(health(&["--live", "--url", &server.url], &[]), (0, "alive".to_owned()));

    // Its own settings say where it is: all addresses are asked on this machine.
    assert_eq!(health(&[], &[("OUNCE_LISTEN", &format!("0.0.0.0:{port}"))]), (0, "ready".to_owned()));
    let folder = tempfile::tempdir().expect("tempdir");
    let file = folder.path().join("ounce.toml");
    std::fs::write(&file, format!("listen = \"127.0.0.1:{port}\"\n")).expect("write");
    assert_eq!(health(&["--config", &file.display().to_string()], &[]), (0, "ready".to_owned()));
}

async fn a_server_that_starts_lives_but_is_not_ready() {
    let models = tempfile::tempdir().expect("tempdir");
    never_loaded(&models.path().join("slow"));
    let server = Process::listening(models.path(), &[]);
    assert_eq!(health(&["--live", "--url", &server.url], &[]), (0, "alive".to_owned()));
    insta::assert_snapshot!(reason(&server.url, &[]), @"ounce: http://HOST/readyz answers 503: the server is starting");
}

/// A model whose file is a pipe into which nobody writes.
fn never_loaded(folder: &Path) {
    std::fs::create_dir_all(folder.join("1")).expect("mkdir");
    std::fs::write(
        folder.join("model.toml"),
        "task = \"detect\"\nlabels = [\"person\"]\n[output]\ndecode = \"yolox\"\n",
    )
    .expect("write");
    let made = Command::new("mkfifo").arg(folder.join("1/fp32.onnx")).status().expect("mkfifo");
    assert!(made.success());
}

async fn a_server_that_ends_lives_but_is_not_ready() {
    let server = Process::start(&root().join("models"), &[("OUNCE_SHUTDOWN__DRAIN_DELAY_MS", "600000")]).await;
    server.signal("-TERM");
    until("it is not ready any more", async || health(&["--url", &server.url], &[]).0 == 1).await;
    insta::assert_snapshot!(reason(&server.url, &[]), @"ounce: http://HOST/readyz answers 503: the server is shutting down");
    assert_eq!(health(&["--live", "--url", &server.url], &[]), (0, "alive".to_owned()));
}

async fn a_server_whose_models_are_all_unloaded_is_not_ready() {
    let server = Server::start(&root().join("models"), &[("OUNCE_RELOAD__WATCH_MS", "0")]).await;
    let change = async |change: &str| {
        let (status, answer) =
            server.post(&format!("/v2/repository/models/{change}"), "application/json", vec![]).await;
        assert_eq!(status, 200, "{answer}");
    };
    change("pedestrian/unload").await;
    assert_eq!(server.get("/readyz").await.0, 200, "another model is left");
    change("pedestrian-presence/unload").await;
    insta::assert_snapshot!(reason(&server.url, &[]), @"ounce: http://HOST/readyz answers 503: no model is served any more; load one with POST /v2/repository/models/{model}/load");
    assert_eq!(server.get("/v2/health/ready").await.0, 503);
    assert_eq!(health(&["--live", "--url", &server.url], &[]), (0, "alive".to_owned()));
    change("pedestrian/load").await;
    assert_eq!(server.get("/readyz").await.0, 200);
}

fn whoever_is_not_there_or_does_not_answer_is_not_healthy() {
    let nobody = Nobody::new();
    insta::assert_snapshot!(reason(&format!("http://{}", nobody.address), &[]), @"ounce: http://HOST/readyz does not answer: Connection refused (os error 111)");
    assert_eq!(health(&[], &[("OUNCE_LISTEN", &nobody.address.to_string())]).0, 1);

    // The system takes connections; nobody answers them.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let url = format!("http://{}", silent.local_addr().expect("bound"));
    insta::assert_snapshot!(reason(&url, &["--timeout", "50ms"]), @"ounce: http://HOST/readyz did not answer within 50 ms");
}

fn an_address_that_cannot_be_asked_is_told_so() {
    for url in ["https://127.0.0.1", "127.0.0.1:8080", "http://a b"] {
        let (code, reason) = health(&["--url", url], &[]);
        assert!(code == 1 && reason.contains("no address"), "{url}: {reason}");
    }
    let (code, reason) = health(&[], &[("OUNCE_LISTEN", "here")]);
    assert!(code == 2 && reason.contains("OUNCE_LISTEN"), "{reason}");
}
