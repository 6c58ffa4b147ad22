//! A server that is shut down lets go of its connections without tearing a request.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use crate::harness::{Server, root, until};

tests![every_answer_of_a_draining_server_ends_its_connection_and_none_is_torn];

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
