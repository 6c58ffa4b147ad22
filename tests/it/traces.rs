//! A request continues its client's trace, and a collector hears of it when one is named.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, routing::post};
use tokio::net::TcpListener;

use crate::harness::{Nobody, Server, photo, png, root, serve_routes, until};

tests![
    an_answer_continues_the_clients_trace_with_a_span_of_its_own,
    a_collector_gets_a_span_for_the_request_and_one_for_each_stage,
    what_waits_at_the_end_is_sent_and_what_nobody_sampled_is_not,
    a_client_that_goes_away_leaves_a_span_all_the_same,
    a_collector_that_is_down_fails_nobody
];

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT: &str = "00f067aa0ba902b7";

/// What a collector was sent: the body of each post.
pub(crate) type Posts = Arc<Mutex<Vec<Bytes>>>;

/// A collector on a free port, that keeps what it gets.
pub(crate) async fn collector() -> (String, Posts) {
    let posts = Posts::default();
    let keep = |State(posts): State<Posts>, body: Bytes| async move { posts.lock().expect("no panic").push(body) };
    let app = Router::new().route("/v1/traces", post(keep)).with_state(Arc::clone(&posts));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    serve_routes(listener, app);
    (url, posts)
}

/// Asks as a client that is in a trace.
async fn detect(server: &Server, flags: &str, body: Vec<u8>) -> reqwest::Response {
    let request = server.client.post(format!("{}/v1/detect", server.url));
    let request = request.header("traceparent", format!("00-{TRACE}-{CLIENT}-{flags}"));
    request.header("tracestate", "congo=t61rcWkgMzE").body(body).send().await.expect("an answer")
}

fn traceparent(response: &reqwest::Response) -> Vec<String> {
    let value = response.headers()["traceparent"].to_str().expect("text");
    value.split('-').map(ToOwned::to_owned).collect()
}

/// Whether a post holds these bytes: protobuf has ids as bytes, names as text.
fn holds(posts: &Posts, bytes: &[u8]) -> bool {
    posts.lock().expect("no panic").iter().any(|post| post.windows(bytes.len()).any(|window| window == bytes))
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).expect("ASCII"));
    digits.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect()
}

async fn an_answer_continues_the_clients_trace_with_a_span_of_its_own() {
    let server = Server::start(&root().join("models"), &[]).await;
    for (body, status) in [(photo(), 200), (b"no picture".to_vec(), 415)] {
        let response = detect(&server, "01", body).await;
        assert_eq!(response.status(), status);
        let parts = traceparent(&response);
        assert_eq!([&*parts[0], &*parts[1], &*parts[3]], ["00", TRACE, "01"]);
        assert_ne!(parts[2], CLIENT);
        assert_eq!(response.headers()["tracestate"], "congo=t61rcWkgMzE");
    }
    let alone = server.client.get(format!("{}/v1/models", server.url)).send().await.expect("an answer");
    let parts = traceparent(&alone);
    assert_eq!(parts.iter().map(String::len).collect::<Vec<_>>(), [2, 32, 16, 2]);
    assert_ne!(parts[1], TRACE);
    assert_eq!(parts[3], "00", "nobody records it");
}

async fn a_collector_gets_a_span_for_the_request_and_one_for_each_stage() {
    let (url, posts) = collector().await;
    let settings = [
        ("OUNCE_TELEMETRY__OTLP_ENDPOINT", url.as_str()),
        ("OUNCE_TELEMETRY__SERVICE_NAME", "the-service"),
        ("OUNCE_MODEL__PEDESTRIAN__DEFAULT_VARIANT", "int8"),
    ];
    let server = Server::start(&root().join("models"), &settings).await;
    let response = detect(&server, "01", photo()).await;
    assert_eq!(response.status(), 200);
    let ours = bytes_of(&traceparent(&response)[2]);
    until("the collector has the span", async || holds(&posts, b"POST /v1/detect")).await;
    for (id, what) in [(bytes_of(TRACE), "the client's trace"), (bytes_of(CLIENT), "its span"), (ours, "our span")] {
        assert!(holds(&posts, &id), "{what}");
    }
    let told = ["decode", "preprocess", "queue", "inference", "postprocess", "the-service", "pedestrian", "int8"];
    for text in told {
        assert!(holds(&posts, text.as_bytes()), "{text}");
    }
    assert!(!holds(&posts, b"/readyz"), "probes are not told");
}

async fn what_waits_at_the_end_is_sent_and_what_nobody_sampled_is_not() {
    let (url, posts) = collector().await;
    let settings = [("OUNCE_TELEMETRY__OTLP_ENDPOINT", url.as_str()), ("OUNCE_TELEMETRY__OTLP_SAMPLE_RATIO", "0")];
    let server = Server::start(&root().join("models"), &settings).await;
    assert_eq!(traceparent(&detect(&server, "00", photo()).await)[3], "00");
    assert_eq!(server.get("/v1/models").await.0, 200);
    let sampled =
        server.client.get(format!("{}/livez", server.url)).header("traceparent", format!("00-{TRACE}-{CLIENT}-01"));
    assert_eq!(sampled.send().await.expect("an answer").status(), 200);
    // A thread of its own waits for the end, so that the collector here goes on.
    tokio::task::spawn_blocking(|| server.end()).await.expect("no panic").expect("in order");
    assert!(holds(&posts, b"GET /livez"), "its client asked for it");
    assert!(!holds(&posts, b"/v1/detect") && !holds(&posts, b"/v1/models"));
}

async fn a_client_that_goes_away_leaves_a_span_all_the_same() {
    let (url, posts) = collector().await;
    let server = Server::start(&root().join("models"), &[("OUNCE_TELEMETRY__OTLP_ENDPOINT", &url)]).await;
    let large = png(&image::RgbImage::new(4000, 4000));
    until("its span is there", async || {
        let impatient = server.client.post(format!("{}/v1/detect", server.url)).body(large.clone());
        let _ = impatient.timeout(Duration::from_millis(30)).send().await;
        holds(&posts, b"ounce.cancelled")
    })
    .await;
}

async fn a_collector_that_is_down_fails_nobody() {
    let nobody = Nobody::new();
    let url = format!("http://{}", nobody.address);
    let server = Server::start(&root().join("models"), &[("OUNCE_TELEMETRY__OTLP_ENDPOINT", &url)]).await;
    for _ in 0..20 {
        assert_eq!(detect(&server, "01", photo()).await.status(), 200);
    }
    server.end().expect("it ends in order, too");
}
