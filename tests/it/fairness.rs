//! No tenant makes another wait, and nobody is let in who would be answered too late.

use serde_json::Value;

use crate::{
    harness::{Server, photo, png, root, until, white},
    queueing::slow_on_white,
};

tests![
    a_tenant_goes_before_what_another_has_waiting,
    a_promise_is_the_deadline_of_who_names_none,
    a_large_image_that_cannot_be_decoded_in_time_is_refused_by_its_header
];

async fn a_tenant_goes_before_what_another_has_waiting() {
    let models = tempfile::tempdir().expect("tempdir");
    slow_on_white(models.path(), |text| text.replace("[batching]", "[batching]\nmax_batch = 1"));
    let settings = [
        ("OUNCE_REQUESTS__DEADLINE_MS", "600000"),
        ("OUNCE_TENANTS__FLOOD__API_KEYS", "key-flood"),
        ("OUNCE_TENANTS__OTHER__API_KEYS", "key-other"),
    ];
    let server = Server::start(models.path(), &settings).await;
    let post = |query: &str, key: &str, body| {
        let url = format!("{}/v1/classify{query}", server.url);
        server.client.post(url).header("x-api-key", key).body(body).send()
    };
    // One white image runs, for seconds, and others wait, of the highest priority.
    let flood: Vec<_> = (0..3).map(|_| tokio::spawn(post("?priority=9", "key-flood", white()))).collect();
    until("the others wait", async || {
        let metrics = server.client.get(format!("{}/metrics", server.url)).send().await.expect("an answer");
        metrics.text().await.expect("text").contains("ounce_queue_depth{model=\"slow\"} 2")
    })
    .await;
    assert_eq!(post("?priority=0", "key-other", photo()).await.expect("an answer").status(), 200);
    assert!(flood.iter().any(|answer| !answer.is_finished()), "it went before one of those that waited");
    for answer in flood {
        assert_eq!(answer.await.expect("no panic").expect("an answer").status(), 200);
    }
}

async fn a_promise_is_the_deadline_of_who_names_none() {
    let models = tempfile::tempdir().expect("tempdir");
    // Every image is just so bright that a run takes some 100 ms; the warm-up finds that out.
    slow_on_white(models.path(), |text| {
        let bright = "scale = 1e-9\nmean = [-0.991, -0.991, -0.991]";
        text.replace("scale = 0.00392156862745098", bright).replace("[batching]", "[batching]\nmax_batch = 1")
    });
    let server = Server::start(models.path(), &[("OUNCE_MODEL__SLOW__SLO_P99_MS", "20")]).await;
    let mut problem = Value::Null;
    until("it is refused", async || {
        // When nothing has run for a second one may try, and an image may be late for other reasons.
        let (status, answer) = server.post("/v1/classify", "image/png", photo()).await;
        assert!([429, 504].contains(&status), "{status}: {answer}");
        problem = answer;
        status == 429
    })
    .await;
    let detail = problem["detail"].as_str().expect("text");
    assert!(detail.contains("past the deadline of 20 ms"), "{detail}");
    assert_eq!(
        server.post("/v1/classify?deadline_ms=60000", "image/png", photo()).await.0,
        200,
        "who names one has it"
    );
}

async fn a_large_image_that_cannot_be_decoded_in_time_is_refused_by_its_header() {
    let server = Server::start(&root().join("models"), &[]).await;
    let large = png(&image::RgbImage::new(6000, 6000));
    let mut problem = Value::Null;
    until("it is known what such an image takes", async || {
        // The first one shows it, and is told after its deadline.
        let (status, answer) = server.post("/v1/classify?deadline_ms=50", "image/png", large.clone()).await;
        assert!([429, 504].contains(&status), "{status}: {answer}");
        problem = answer;
        status == 429
    })
    .await;
    assert_eq!(problem["type"], "/errors#too-slow", "{problem}");
    assert_eq!(server.post("/v1/classify", "image/png", large).await.0, 200, "with more time it is answered");
}
