//! Sockets that tests write to by hand, where a client of HTTP would be too well-behaved.

use std::{
    io::Read,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// Where the server of that URL listens.
pub(crate) fn address(url: &str) -> SocketAddr {
    url.trim_start_matches("http://").parse().expect("an address")
}

/// A connection to the server of that URL, on which nobody waits for ever.
pub(crate) fn connect(url: &str) -> TcpStream {
    let socket = TcpStream::connect(address(url)).expect("it listens");
    socket.set_read_timeout(Some(Duration::from_secs(300))).expect("a timeout");
    socket
}

/// All that the server still says until it ends the connection, by whichever end.
pub(crate) fn rest(socket: &mut TcpStream) -> Vec<u8> {
    let (mut all, mut buffer) = (Vec::new(), [0; 16384]);
    loop {
        match socket.read(&mut buffer) {
            Ok(0) => return all,
            Ok(read) => all.extend(&buffer[..read]),
            Err(error) => {
                let ended = [std::io::ErrorKind::ConnectionReset, std::io::ErrorKind::BrokenPipe];
                assert!(ended.contains(&error.kind()), "the connection ends: {error}");
                return all;
            }
        }
    }
}

/// The status and the head of one answer, in small letters; its body is read, too. None where the connection ended before.
pub(crate) fn answer(socket: &mut TcpStream) -> Option<(u16, String)> {
    let mut all = Vec::new();
    let mut buffer = [0; 16384];
    loop {
        if let Some(whole) = whole(&all) {
            return Some(whole);
        }
        match socket.read(&mut buffer) {
            Ok(read) if read > 0 => all.extend(&buffer[..read]),
            _ => return None,
        }
    }
}

/// The status and the head of an answer, in small letters, once all of it has come.
pub(crate) fn whole(answer: &[u8]) -> Option<(u16, String)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
    (answer.len() >= end + 4 + length).then(|| (head[9..12].parse().expect("a status"), head))
}
