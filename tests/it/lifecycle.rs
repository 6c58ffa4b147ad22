//! The server starts honestly and goes away without losing a request.

use std::{process::Stdio, time::Duration};

use crate::harness::{Server, ounce, photo, root, until};

#[tokio::test]
async fn while_it_drains_it_says_so_and_still_answers() {
    let server = Server::start(&root().join("models"), &[("OUNCE_SHUTDOWN__DRAIN_DELAY_MS", "4000")]).await;
    let (client, url) = (server.client.clone(), server.url.clone());
    let ending = std::thread::spawn(move || server.end());
    let ready = loop {
        let response = client.get(format!("{url}/readyz")).send().await.expect("still there");
        if response.status() != 200 {
            break response;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(ready.status(), 503);
    assert!(ready.headers().contains_key("retry-after"));
    let answer = client.post(format!("{url}/v1/detect")).body(photo()).send().await.expect("still there");
    assert_eq!(answer.status(), 200, "a request in the drain delay is answered");
    ending.join().expect("no panic").expect("a clean end");
    assert!(client.get(format!("{url}/livez")).send().await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn metrics_move_to_the_admin_port_when_there_is_one() {
    let server = Server::start(&root().join("models"), &[("OUNCE_ADMIN_LISTEN", "127.0.0.1:0")]).await;
    assert_eq!(server.get("/metrics").await.0, 404);
}

#[tokio::test]
async fn a_missing_folder_ends_the_start_with_what_to_do() {
    let reason = Server::try_start(&root().join("nowhere"), &[]).await.expect_err("refused");
    assert!(reason.contains("nowhere") && reason.contains("OUNCE_MODELS"), "{reason}");
}

#[tokio::test]
async fn a_reader_of_the_log_may_go_away() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let serve = ["serve", "--log", "info", "--listen", &free.to_string()];
    let mut server = ounce().args(serve).stderr(Stdio::piped()).spawn().expect("the binary starts");
    // From now on every line of the log meets a closed pipe.
    drop(server.stderr.take());
    until("it is ready all the same", async || {
        reqwest::get(format!("http://{free}/readyz")).await.is_ok_and(|response| response.status() == 200)
    })
    .await;
    assert!(server.try_wait().expect("a state").is_none(), "it lives");
    server.kill().and_then(|()| server.wait()).expect("it ends");
}

#[tokio::test]
async fn nothing_is_told_to_the_makers_of_the_runtime() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let mut serve = ounce();
    serve.env_remove("ORT_DISABLE_TELEMETRY").args(["serve", "--log", "error", "--listen", &free.to_string()]);
    let mut server = serve.spawn().expect("the binary starts");
    until("it is ready", async || {
        reqwest::get(format!("http://{free}/readyz")).await.is_ok_and(|response| response.status() == 200)
    })
    .await;
    let variables = std::fs::read(format!("/proc/{}/environ", server.id())).expect("Linux");
    server.kill().and_then(|()| server.wait()).expect("it ends");
    assert!(variables.split(|byte| *byte == 0).any(|variable| variable == b"ORT_DISABLE_TELEMETRY=1"));
}
