//! A server that is shut down lets go of its connections without tearing a request.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::{
    frames::{END_HEADERS, END_STREAM, GET_FRONT, HEADERS, PREFACE, frame, hello},
    harness::{Process, Server, ended, root, until},
    sockets::{address, answer, connect},
};

tests![
    every_answer_of_a_draining_server_ends_its_connection_and_none_is_torn,
    a_server_under_load_ends_without_tearing_an_answer,
    a_silent_connection_does_not_delay_the_end,
];

/// Asks whether the server lives, on a connection that has no objection to being kept alive.
fn ask(socket: &mut TcpStream) {
    socket.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").expect("the connection is open");
}

/// The head of one answer, in small letters.
fn head(socket: &mut TcpStream) -> String {
    let (mut answer, mut buffer) = (String::new(), [0; 1024]);
    while !answer.ends_with("\r\n\r\nok") {
        let read = socket.read(&mut buffer).expect("an answer");
        assert!(read > 0, "the connection ended before the answer: {answer}");
        answer.push_str(std::str::from_utf8(&buffer[..read]).expect("text"));
    }
    answer.to_ascii_lowercase()
}

async fn every_answer_of_a_draining_server_ends_its_connection_and_none_is_torn() {
    let server = Server::start(&root().join("models"), &[("OUNCE_SHUTDOWN__DRAIN_DELAY_MS", "1500")]).await;
    let (client, url) = (server.client.clone(), server.url.clone());
    let connect = || TcpStream::connect(url.trim_start_matches("http://"));
    let mut used: Vec<_> = [(); 2].map(|()| connect().expect("it listens")).into();
    for socket in &mut used {
        ask(socket);
        let answer = head(socket);
        assert!(answer.starts_with("http/1.1 200") && !answer.contains("connection: close"), "{answer}");
    }

    let ending = std::thread::spawn(move || server.end());
    until("it drains", async || client.get(format!("{url}/readyz")).send().await.is_ok_and(|r| r.status() == 503))
        .await;
    let mut idle = used.pop().expect("two");
    let mut used = used.pop().expect("one");
    ask(&mut used);
    let answer = head(&mut used);
    assert!(answer.starts_with("http/1.1 200") && answer.contains("connection: close"), "{answer}");
    assert_eq!(used.read(&mut [0; 1]).expect("an end"), 0, "and it is closed");

    // These two say nothing until nobody else is let in any more.
    let mut fresh = connect().expect("it still listens");
    until("it listens no more", async || connect().is_err()).await;
    for socket in [&mut idle, &mut fresh] {
        ask(socket);
        let answer = head(socket);
        assert!(answer.starts_with("http/1.1 200") && answer.contains("connection: close"), "{answer}");
        assert_eq!(socket.read(&mut [0; 1]).expect("an end"), 0, "and it is closed");
    }
    ending.join().expect("no panic").expect("a clean end");
}

/// A client that asks without pause until the server goes, and then the number of its requests that were answered, or what tore one.
fn ask_until_it_goes(url: &str) -> Result<usize, String> {
    let mut answered = 0;
    loop {
        let Ok(mut socket) = TcpStream::connect(address(url)) else { return Ok(answered) };
        loop {
            let torn = |what: &str| Err(format!("{what} after {answered} answers"));
            if socket.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").is_err() {
                return torn("the request could not be sent");
            }
            let Some((_, head)) = answer(&mut socket) else { return torn("the connection ended before the answer") };
            answered += 1;
            if head.contains("connection: close") {
                break;
            }
        }
    }
}

async fn a_server_under_load_ends_without_tearing_an_answer() {
    // A client that the machine lets wait for longer than idle connections linger may still send a request too late, so it may take
    // more than one try to see that the server tears nothing.
    for signal in ["-TERM", "-INT"] {
        let mut torn = Vec::new();
        for _ in 0..5 {
            torn = torn_by(signal).await;
            if torn.is_empty() {
                break;
            }
        }
        assert!(torn.is_empty(), "{signal} tears answers every time: {torn:?}");
    }
}

/// Ends a server under load by this signal, and returns what that has torn.
async fn torn_by(signal: &str) -> Vec<String> {
    let mut server = Process::start(&root().join("models"), &[]).await;
    let clients: Vec<_> = (0..16)
        .map(|_| {
            let url = server.url.clone();
            std::thread::spawn(move || ask_until_it_goes(&url))
        })
        .collect();
    until("there is load", async || {
        let name = "ounce_http_responses_total{method=\"GET\",route=\"/livez\",status=\"200\"}";
        server.metrics().await.get(name).is_some_and(|answers| *answers > 500.0)
    })
    .await;
    server.signal(signal);
    let ended = clients.into_iter().map(|client| client.join().expect("no panic"));
    let torn = ended.filter_map(|ended| ended.map(|answered| assert!(answered > 0)).err()).collect();
    assert!(server.child.wait().expect("it ends").success());
    torn
}

async fn a_silent_connection_does_not_delay_the_end() {
    // Longer than the test waits: who waits for the silent ones fails.
    let settings = [("OUNCE_SHUTDOWN__GRACE_MS", "100000000"), ("OUNCE_REQUESTS__HEADER_TIMEOUT_MS", "100000000")];
    let mut server = Process::start(&root().join("models"), &settings).await;
    let asked = [hello(&[]), frame(HEADERS, END_STREAM | END_HEADERS, 1, GET_FRONT)].concat();
    let silent: Vec<_> = [Vec::new(), PREFACE[..5].to_vec(), PREFACE.to_vec(), hello(&[]), asked, b"GET / HT".to_vec()]
        .map(|said| {
            let mut socket = connect(&server.url);
            socket.write_all(&said).expect("sent");
            socket
        })
        .into();
    server.signal("-TERM");
    ended(&mut server.child).await;
    drop(silent);
}
