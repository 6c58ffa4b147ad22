//! Nothing is computed for clients that have gone.

use std::{io::Write, net::TcpStream, time::Duration};

use tokio::task::JoinSet;

use crate::harness::{Server, only, photo, until, white};

tests![what_a_thousand_clients_left_in_the_queue_is_never_run];

const OVER_HTTP_1: usize = 200;
const OVER_HTTP_2: usize = 800;

/// The value of a metric; 0 when it has none yet.
async fn metric(server: &Server, name: &str) -> usize {
    let metrics = server.client.get(format!("{}/metrics", server.url)).send().await.expect("an answer");
    let text = metrics.text().await.expect("text");
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix("{model=\"slow-on-white\"} "));
    value.map_or(0, |value| value.parse().expect("a number"))
}

async fn what_a_thousand_clients_left_in_the_queue_is_never_run() {
    let models = only(&["slow-on-white"]);
    let server = Server::start(
        models.path(),
        &[("OUNCE_REQUESTS__MAX_IN_FLIGHT", "2000"), ("OUNCE_REQUESTS__DEADLINE_MS", "600000")],
    )
    .await;
    let post = |body: Vec<u8>| server.client.post(format!("{}/v1/classify", server.url)).body(body);

    let held = tokio::spawn(post(white()).send());
    // Once another request has to wait for long, the worker is held.
    let mut probes = 0;
    while post(photo()).timeout(Duration::from_millis(200)).send().await.is_ok() {
        probes += 1;
    }
    let gone_already = metric(&server, "ounce_cancelled_total").await;

    let image = photo();
    let head = format!("POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", image.len());
    let sockets: Vec<TcpStream> = (0..OVER_HTTP_1)
        .map(|_| {
            let mut socket = TcpStream::connect(server.url.trim_start_matches("http://")).expect("connects");
            socket.write_all(head.as_bytes()).and_then(|()| socket.write_all(&image)).expect("writes");
            socket
        })
        .collect();
    let mut streams = JoinSet::new();
    for _ in 0..OVER_HTTP_2 / 100 {
        let client = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
        for _ in 0..100 {
            streams.spawn(client.post(format!("{}/v1/classify", server.url)).body(image.clone()).send());
        }
    }
    until("all wait while the worker is held", async || {
        assert!(!held.is_finished(), "the worker is held until all wait");
        metric(&server, "ounce_queue_depth").await >= OVER_HTTP_1 + OVER_HTTP_2
    })
    .await;

    drop(sockets);
    streams.shutdown().await;
    let gone = gone_already.max(1) + OVER_HTTP_1 + OVER_HTTP_2;
    until("all are counted", async || metric(&server, "ounce_cancelled_total").await >= gone).await;
    // Their images leave at once, before the worker is free.
    while metric(&server, "ounce_queue_depth").await > 0 {
        assert!(!held.is_finished(), "the queue is empty before the worker is free");
    }

    assert_eq!(held.await.expect("no panic").expect("an answer").status(), 200);
    assert_eq!(post(photo()).send().await.expect("an answer").status(), 200);
    let runs = metric(&server, "ounce_batch_size_count").await;
    assert_eq!(runs, probes + 2, "the white image, the probes that were answered, and the last one");
    let rows = metric(&server, "ounce_batch_size_sum").await;
    assert!(rows <= runs + 1, "nobody else was in those runs, but for the probe that gave up: {rows} of {runs}");
}
