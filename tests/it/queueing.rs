//! What a client hears when others are before it: who goes first, who has to come again later, and when.

use std::{fs, path::Path, time::Duration};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::harness::{Server, photo, root, until, white};

tests![the_queue_has_an_end_and_a_high_priority_goes_first, a_deadline_that_no_run_can_meet_is_refused_at_once];

/// The model that takes seconds over white images, with another manifest.
pub(crate) fn slow_on_white(models: &Path, change: impl Fn(String) -> String) {
    let (from, to) = (root().join("tests/models/slow-on-white"), models.join("slow"));
    fs::create_dir(&to).expect("mkdir");
    fs::copy(from.join("slow.onnx"), to.join("slow.onnx")).expect("copy");
    let manifest = fs::read_to_string(from.join("model.toml")).expect("a manifest");
    fs::write(to.join("model.toml"), change(manifest)).expect("write");
}

async fn the_queue_has_an_end_and_a_high_priority_goes_first() {
    let models = tempfile::tempdir().expect("tempdir");
    slow_on_white(models.path(), |text| text.replace("max_queue = 2000", "max_queue = 3\nmax_batch = 1"));
    // On a busy machine seconds become many; no deadline shall be what ends them.
    let server = Server::start(models.path(), &[("OUNCE_REQUESTS__DEADLINE_MS", "600000")]).await;
    let post = |query: &str, body| server.client.post(format!("{}/v1/classify{query}", server.url)).body(body).send();
    // One white image runs, for seconds, and three wait for it, once another one is refused.
    let mut low = JoinSet::new();
    let mut told = None;
    until("the queue is full", async || {
        low.spawn(post("?priority=0", white()));
        let answer = tokio::time::timeout(Duration::from_millis(100), low.join_next()).await;
        told = answer.ok().flatten().map(|answer| answer.expect("no panic").expect("an answer"));
        told.as_ref().is_some_and(|answer| answer.status() == 429)
    })
    .await;
    let refused = told.expect("it was refused");
    let seconds: u64 = refused.headers()["retry-after"].to_str().expect("text").parse().expect("whole seconds");
    assert!(seconds >= 1);
    let problem: Value = refused.json().await.expect("JSON");
    assert_eq!(problem["type"], "/errors#queue-full", "{problem}");

    low.shutdown().await;

    // Nine steps of priority are worth 900 ms in the queue, so on a slow machine one that is high may come too late.
    let soon = || tokio::time::sleep(Duration::from_millis(100));
    until("one of high priority goes before a white image that waits", async || {
        let running = tokio::spawn(post("?priority=0", white()));
        soon().await;
        let waiting = tokio::spawn(post("?priority=0", white()));
        soon().await;
        assert_eq!(post("?priority=9", photo()).await.expect("an answer").status(), 200);
        soon().await;
        let was_first = !waiting.is_finished();
        for low in [running, waiting] {
            assert_eq!(low.await.expect("no panic").expect("an answer").status(), 200);
        }
        was_first
    })
    .await;
}

async fn a_deadline_that_no_run_can_meet_is_refused_at_once() {
    let models = tempfile::tempdir().expect("tempdir");
    // Every image is just so bright that a run takes some 100 ms; the warm-up finds that out.
    slow_on_white(models.path(), |text| {
        let bright = "scale = 1e-9\nmean = [-0.991, -0.991, -0.991]";
        text.replace("scale = 0.00392156862745098", bright).replace("[batching]", "[batching]\nmax_batch = 1")
    });
    let server = Server::start(models.path(), &[]).await;
    let mut problem = Value::Null;
    until("it is refused", async || {
        // When nothing has run for a second one may try, and an image may be late for other reasons.
        let (status, answer) = server.post("/v1/classify?deadline_ms=20", "image/png", photo()).await;
        assert!([429, 504].contains(&status), "{status}: {answer}");
        problem = answer;
        status == 429
    })
    .await;
    assert_eq!(problem["type"], "/errors#too-slow");
    let detail = problem["detail"].as_str().expect("text");
    assert!(detail.contains("past the deadline of 20 ms") && detail.contains("try again in "), "{detail}");
    assert_eq!(server.post("/v1/classify", "image/png", photo()).await.0, 200, "with more time it is answered");
}
