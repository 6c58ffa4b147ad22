//! Memory is for what comes and what is worked on: nobody locks others out by what he announces, and nothing is taken that is in no
//! account.

use std::{
    io::{Cursor, Read, Write},
    net::{IpAddr, Ipv4Addr, TcpStream},
};

use bytes::Bytes;
use futures_util::stream;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE};
use tokio::task::JoinSet;

use crate::{
    cgroups::Group,
    harness::{Server, photo, png, root, sum, until},
    runner::ignore,
    scraped::metrics,
};

tests![
    one_connection_that_announces_bodies_locks_nobody_out,
    heads_without_bodies_leave_places_for_others_and_ask_for_no_replicas,
    a_body_that_trickles_is_refused_and_so_is_one_that_is_never_sent,
    images_wait_for_memory_and_one_that_never_fits_is_told_so,
    an_answer_that_nobody_reads_is_in_the_account_until_it_is_gone,
    our_lack_of_memory_is_not_the_clients_fault,
    a_container_of_512_mb_refuses_or_answers_and_is_never_killed
];

/// A client of another address than everybody's.
fn neighbour() -> reqwest::Client {
    let address = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    reqwest::Client::builder().local_address(address).build().expect("a client")
}

/// The value of a gauge without labels, or with these.
async fn gauge(server: &Server, name: &str, labels: &[&str]) -> f64 {
    sum(&crate::harness::series(&metrics(server).await), name, labels)
}

async fn status(client: &reqwest::Client, server: &Server, body: Vec<u8>) -> u16 {
    let request = client.post(format!("{}/v1/detect", server.url)).header(CONTENT_TYPE, "image/png").body(body);
    request.send().await.expect("an answer").status().as_u16()
}

fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.url.trim_start_matches("http://")).expect("connects")
}

/// A connection with the head of a request, and one byte of the body that it announces.
fn half_a_request(server: &Server, header: &str) -> TcpStream {
    let mut stream = connect(server);
    write!(stream, "POST /v1/detect HTTP/1.1\r\nhost: x\r\ncontent-type: image/png\r\n{header}\r\n\r\nx")
        .expect("writes");
    stream
}

/// The first line of an answer, and all that follows until the connection ends or falls silent.
fn answer(mut stream: TcpStream) -> String {
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer[..read]).into_owned()
}

async fn one_connection_that_announces_bodies_locks_nobody_out() {
    let patient = [("OUNCE_BODIES__GRACE_MS", "600000"), ("OUNCE_REQUESTS__BODY_TIMEOUT_MS", "600000")];
    let server = Server::start(&root().join("models"), &patient).await;
    let attacker = reqwest::Client::builder().http2_prior_knowledge().build().expect("a client");
    let mut announced = JoinSet::new();
    for _ in 0..7 {
        let body = reqwest::Body::wrap_stream(stream::pending::<Result<Bytes, std::convert::Infallible>>());
        let request = attacker
            .post(format!("{}/v1/detect", server.url))
            .header(CONTENT_TYPE, "multipart/form-data; boundary=x")
            .header(CONTENT_LENGTH, 160_000_000)
            .body(body);
        announced.spawn(request.send());
    }
    until("seven bodies are coming", async || gauge(&server, "ounce_coming_bodies", &[]).await == 7.0).await;
    assert_eq!(gauge(&server, "ounce_memory_bytes", &["use=\"used\""]).await, 0.0, "nothing has come");
    for _ in 0..20 {
        assert_eq!(status(&server.client, &server, photo()).await, 200);
    }
    announced.abort_all();
    until("they are forgotten", async || gauge(&server, "ounce_coming_bodies", &[]).await == 0.0).await;
}

async fn heads_without_bodies_leave_places_for_others_and_ask_for_no_replicas() {
    let patient = [("OUNCE_BODIES__GRACE_MS", "600000"), ("OUNCE_REQUESTS__BODY_TIMEOUT_MS", "600000")];
    let settings = [patient[0], patient[1], ("OUNCE_BODIES__MAX_COMING", "16"), ("OUNCE_REQUESTS__MAX_IN_FLIGHT", "4")];
    let server = Server::start(&root().join("models"), &settings).await;
    let mut held: Vec<_> = (0..8).map(|_| half_a_request(&server, "content-length: 1000")).collect();
    until("eight are coming", async || gauge(&server, "ounce_coming_bodies", &[]).await == 8.0).await;
    held.push(half_a_request(&server, "content-length: 1000"));
    let told = answer(held.pop().expect("nine"));
    assert!(told.starts_with("HTTP/1.1 429") && told.contains("/errors#too-many-bodies"), "{told}");

    let good = neighbour();
    for _ in 0..20 {
        assert_eq!(status(&good, &server, photo()).await, 200);
    }
    let metrics = crate::harness::series(&metrics(&server).await);
    assert_eq!(sum(&metrics, "ounce_refused_total", &["reason=\"bodies\""]), 1.0, "{metrics:?}");
    assert_eq!(sum(&metrics, "ounce_refused_total", &[]), 1.0, "nothing that asks for replicas: {metrics:?}");
    let routed = sum(&metrics, "ounce_routed_total", &["model=\"pedestrian\""]);
    assert_eq!(routed, 20.0, "who sends no body is no demand, either");
}

async fn a_body_that_trickles_is_refused_and_so_is_one_that_is_never_sent() {
    let settings = [("OUNCE_BODIES__GRACE_MS", "100"), ("OUNCE_REQUESTS__BODY_TIMEOUT_MS", "600000")];
    let server = Server::start(&root().join("models"), &settings).await;
    let slow = ["content-length: 1000", "transfer-encoding: chunked", "content-length: 1000\r\nexpect: 100-continue"];
    for header in slow {
        let mut stream = connect(&server);
        // Without a byte of the body: as a client that waits for `100 Continue` and then forgets it.
        write!(stream, "POST /v1/detect HTTP/1.1\r\nhost: x\r\n{header}\r\n\r\n").expect("writes");
        let mut told = String::new();
        while !told.contains("bytes a second") {
            let mut buffer = [0; 1024];
            let read = stream.read(&mut buffer).expect("an answer");
            assert!(read > 0, "{header}: {told}");
            told += &String::from_utf8_lossy(&buffer[..read]);
        }
        assert!(told.contains("HTTP/1.1 408"), "{header}: {told}");
    }
    assert_eq!(status(&server.client, &server, photo()).await, 200);
}

async fn images_wait_for_memory_and_one_that_never_fits_is_told_so() {
    // 1500×1500 pixels take 7 MB as RGB: one at a time.
    let server = Server::start(&root().join("models"), &[("OUNCE_MEMORY__MAX_BYTES", "12000000")]).await;
    let large = png(&image::RgbImage::new(1500, 1500));
    let mut asked = JoinSet::new();
    for _ in 0..4 {
        let request = server.client.post(format!("{}/v1/detect", server.url)).body(large.clone());
        asked.spawn(async { request.send().await.expect("an answer").status().as_u16() });
    }
    assert_eq!(asked.join_all().await, [200; 4]);
    assert_eq!(gauge(&server, "ounce_memory_bytes", &["use=\"used\""]).await, 0.0);

    let (status, problem) = server.post("/v1/detect", "image/png", png(&image::RgbImage::new(4000, 4000))).await;
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert_eq!(status, 422, "{problem}");
    assert!(detail.starts_with("the picture takes about 48"), "{detail}");
    assert!(detail.ends_with("more memory has to be set with OUNCE_MEMORY__MAX_BYTES"), "{detail}");

    let body = vec![7; 4_000_000];
    let (status, problem) = server.post("/v1/detect", "image/png", body).await;
    assert_eq!(status, 413, "more than a sender may have: {problem}");
}

/// An image whose drawn PNG is far larger than what sockets buffer.
fn noise() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    let noise = image::RgbImage::from_fn(2000, 2000, |_, _| image::Rgb([(); 3].map(|()| random.u8(..))));
    let mut jpeg = Cursor::new(Vec::new());
    noise.write_to(&mut jpeg, image::ImageFormat::Jpeg).expect("JPEG");
    jpeg.into_inner()
}

/// Asks for the drawn image, reads how the answer begins, and no more.
fn unread_answer(server: &Server, image: &[u8]) -> TcpStream {
    let mut stream = connect(server);
    let length = image.len();
    let head = format!(
        "POST /v1/detect HTTP/1.1\r\nhost: x\r\naccept: image/png\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(image)).expect("writes");
    let mut first = [0; 12];
    stream.read_exact(&mut first).expect("the answer begins");
    assert_eq!(&first, b"HTTP/1.1 200");
    stream
}

async fn an_answer_that_nobody_reads_is_in_the_account_until_it_is_gone() {
    let server = Server::start(&root().join("models"), &[]).await;
    let used = async || gauge(&server, "ounce_memory_bytes", &["use=\"used\""]).await;
    let mut unread = unread_answer(&server, &noise());
    // Of 12 MB, sockets buffer some.
    let held = used().await;
    assert!((4e6..13e6).contains(&held), "{held}");
    assert_eq!(gauge(&server, "ounce_memory_bytes", &["use=\"bodies\""]).await, 0.0, "the body is gone");
    unread.read_to_end(&mut Vec::new()).expect("all of it");
    until("it is given back", async || used().await == 0.0).await;

    let gone = unread_answer(&server, &noise());
    assert!(used().await > 4e6);
    drop(gone);
    until("it is given back, although nobody has read it", async || used().await == 0.0).await;
}

async fn our_lack_of_memory_is_not_the_clients_fault() {
    // Room for drawing one image, and then not for another large one as long as the first is not read.
    let server = Server::start(&root().join("models"), &[("OUNCE_MEMORY__MAX_BYTES", "52000000")]).await;
    let unread = unread_answer(&server, &noise());
    let large = png(&image::RgbImage::new(4000, 4000));
    let request = server.client.post(format!("{}/v1/detect", server.url)).body(large.clone());
    let refused = request.send().await.expect("an answer");
    assert_eq!((refused.status().as_u16(), refused.headers()["retry-after"].as_bytes()), (503, &b"1"[..]));
    let problem: serde_json::Value = refused.json().await.expect("JSON");
    assert_eq!(problem["type"], "/errors#no-memory");
    drop(unread);
    until("there is memory again", async || status(&server.client, &server, large.clone()).await == 200).await;
}

/// A JPEG of one colour with so many pixels a side.
fn flat(side: u32) -> Vec<u8> {
    let mut jpeg = Cursor::new(Vec::new());
    image::RgbImage::new(side, side).write_to(&mut jpeg, image::ImageFormat::Jpeg).expect("JPEG");
    jpeg.into_inner()
}

async fn a_container_of_512_mb_refuses_or_answers_and_is_never_killed() {
    let Some(mut group) = Group::of_memory("memory", 512 << 20) else {
        ignore("REQUIRE_CGROUPS", "no control group can be made (that needs root)");
    };
    let server = group.server().await;
    let max = server.metrics().await["ounce_memory_bytes{use=\"max\"}"];
    assert_eq!(max, f64::from(256 << 20), "half of it");
    // 20 megapixels fit one at a time, 49 never.
    let [some, many] = [4500, 7000].map(flat);
    let mut asked = JoinSet::new();
    for client in 0..12 {
        let body = if client % 2 == 0 { some.clone() } else { many.clone() };
        let accept = if client % 4 == 0 { "image/png" } else { "application/json" };
        let request = server.client.post(format!("{}/v1/detect", server.url)).header("accept", accept).body(body);
        asked.spawn(async move { (client % 2, request.send().await.expect("an answer").status().as_u16()) });
    }
    let mut answered = 0;
    while let Some(done) = asked.join_next().await {
        let (size, status) = done.expect("no panic");
        assert!(matches!((size, status), (0, 200 | 429 | 503 | 504) | (1, 422 | 429)), "{size}: {status}");
        answered += usize::from(status == 200);
    }
    assert!(answered > 0);
    assert!(server.child.try_wait().expect("a state").is_none(), "it is still there");
}
