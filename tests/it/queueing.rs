//! What a client hears when others are before it: who goes first, who has to come again later, and when.

use std::{fs, path::Path};

use serde_json::Value;

use crate::harness::{Server, photo, root, until, white};

tests![the_queue_has_an_end_and_a_high_priority_goes_first, a_deadline_that_no_run_can_meet_is_refused_at_once];

/// The model that takes seconds over white images, with another manifest.
fn slow_on_white(models: &Path, change: impl Fn(String) -> String) {
    let (from, to) = (root().join("tests/models/slow-on-white"), models.join("slow"));
    fs::create_dir(&to).expect("mkdir");
    fs::copy(from.join("slow.onnx"), to.join("slow.onnx")).expect("copy");
    let manifest = fs::read_to_string(from.join("model.toml")).expect("a manifest");
    fs::write(to.join("model.toml"), change(manifest)).expect("write");
}

async fn the_queue_has_an_end_and_a_high_priority_goes_first() {
    let models = tempfile::tempdir().expect("tempdir");
    slow_on_white(models.path(), |text| text.replace("max_queue = 2000", "max_queue = 2\nmax_batch = 1"));
    // On a busy machine seconds become many; no deadline shall be what ends them.
    let server = Server::start(models.path(), &[("OUNCE_REQUESTS__DEADLINE_MS", "600000")]).await;
    let post = |query: &str, body| server.client.post(format!("{}/v1/classify{query}", server.url)).body(body).send();
    let waiting = async |wanted: usize| {
        until("so many wait", async || server.get("/v1/models/slow").await.1["batching"]["waiting"] == wanted).await;
    };
    // The first runs, for seconds; the others wait for it. (Two white ones: whichever comes first.)
    let low = [tokio::spawn(post("?priority=0", white())), tokio::spawn(post("?priority=0", white()))];
    waiting(1).await;
    let high = tokio::spawn(post("?priority=9", photo()));
    waiting(2).await;

    let refused = post("?priority=9", photo()).await.expect("an answer");
    assert_eq!(refused.status(), 429);
    let seconds: u64 = refused.headers()["retry-after"].to_str().expect("text").parse().expect("whole seconds");
    assert!(seconds >= 1);
    let problem: Value = refused.json().await.expect("JSON");
    assert_eq!(problem["type"], "/errors#queue-full", "{problem}");

    assert_eq!(high.await.expect("no panic").expect("an answer").status(), 200);
    let unfinished = low.iter().filter(|low| !low.is_finished()).count();
    assert!(unfinished >= 1, "a white image that came before it still runs");
    for low in low {
        assert_eq!(low.await.expect("no panic").expect("an answer").status(), 200);
    }
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
