//! Bounds hold: what is too much is refused at once, what is late or unwanted is not computed.

use std::{io::Write, net::TcpStream, time::Duration};

use crate::harness::{Server, photo, png, root};

tests![
    a_deadline_that_passes_while_a_picture_is_decoded_is_answered_with_504,
    a_client_that_goes_away_is_counted_and_makes_no_room_for_more_work,
    a_request_for_tensors_cannot_be_made_to_multiply,
    half_a_head_does_not_hold_a_connection_for_ever,
    an_answer_that_nobody_reads_keeps_its_place
];

/// An image that takes a while to decode: 4000×4000 pixels, a few kB.
fn large() -> Vec<u8> {
    png(&image::RgbImage::new(4000, 4000))
}

async fn post(server: &Server, body: Vec<u8>) -> reqwest::Response {
    server.client.post(format!("{}/v1/detect", server.url)).body(body).send().await.expect("an answer")
}

async fn until_answered(server: &Server) {
    while post(server, photo()).await.status() != 200 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn a_deadline_that_passes_while_a_picture_is_decoded_is_answered_with_504() {
    let server = Server::start(&root().join("models"), &[]).await;
    // Time enough for a run, so that it is let in; not for decoding so large an image, which nobody could know.
    let (status, problem) = server.post("/v1/classify?deadline_ms=30", "image/png", large()).await;
    assert_eq!(status, 504, "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("30 ms")), "{problem}");
}

async fn a_client_that_goes_away_is_counted_and_makes_no_room_for_more_work() {
    let server = Server::start(&root().join("models"), &[("OUNCE_THREADS__DECODE", "1")]).await;
    let impatient = server.client.post(format!("{}/v1/detect", server.url)).body(large());
    impatient.timeout(Duration::from_millis(30)).send().await.expect_err("gone before the answer");
    loop {
        let metrics = server.client.get(format!("{}/metrics", server.url)).send().await.expect("an answer");
        if metrics.text().await.expect("text").contains("ounce_cancelled_total{model=\"pedestrian\"} 1") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(server.post("/v1/detect", "image/png", photo()).await.0, 200, "the thread is free again");
}

async fn a_request_for_tensors_cannot_be_made_to_multiply() {
    let server = Server::start(&root().join("models"), &[]).await;
    let outputs = vec![serde_json::json!({"name": "probability"}); 1000];
    let body = serde_json::json!({"inputs": [], "outputs": outputs}).to_string().into_bytes();
    let (status, problem) = server.post("/v2/models/pedestrian-presence/infer", "application/json", body).await;
    assert_eq!(status, 400, "{problem}");
    let shape = [100_000, 3, 150, 150];
    let input = serde_json::json!({"name": "image", "datatype": "FP32", "shape": shape, "data": [0]});
    let body = serde_json::json!({ "inputs": [input] }).to_string().into_bytes();
    let (status, problem) = server.post("/v2/models/pedestrian-presence/infer", "application/json", body).await;
    assert_eq!(status, 400, "{problem}");
}

async fn half_a_head_does_not_hold_a_connection_for_ever() {
    let server = Server::start(&root().join("models"), &[("OUNCE_REQUESTS__HEADER_TIMEOUT_MS", "100")]).await;
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).expect("connects");
    write!(stream, "GET /livez HTTP/1.1\r\nho").expect("writes");
    let mut rest = Vec::new();
    // Ends when the server closes the connection; a server that never does hangs this test.
    std::io::Read::read_to_end(&mut stream, &mut rest).expect("closed in order");
    assert!(!rest.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&rest));
}

async fn an_answer_that_nobody_reads_keeps_its_place() {
    let server = Server::start(&root().join("models"), &[("OUNCE_REQUESTS__MAX_IN_FLIGHT", "1")]).await;
    // Noise, so that the drawn PNG is far larger than what sockets buffer.
    let mut random = fastrand::Rng::with_seed(1);
    let noise = image::RgbImage::from_fn(2000, 2000, |_, _| image::Rgb([(); 3].map(|()| random.u8(..))));
    let mut jpeg = std::io::Cursor::new(Vec::new());
    noise.write_to(&mut jpeg, image::ImageFormat::Jpeg).expect("JPEG");
    let jpeg = jpeg.into_inner();
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).expect("connects");
    let head = format!(
        "POST /v1/detect HTTP/1.1\r\nhost: x\r\naccept: image/png\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        jpeg.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&jpeg)).expect("writes");
    let mut first = [0; 12];
    std::io::Read::read_exact(&mut stream, &mut first).expect("the answer begins");
    assert_eq!(&first, b"HTTP/1.1 200");
    let refused = post(&server, photo()).await;
    assert_eq!(refused.status(), 429, "its place is taken while it is not read");
    assert_eq!(refused.headers()["retry-after"], "1");
    std::io::Read::read_to_end(&mut stream, &mut Vec::new()).expect("all of it");
    until_answered(&server).await;
}
