//! HTTP/2 frames written by hand, for peers that do not keep the protocol.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What a client says first.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the last PING carries.
const LAST: &[u8] = b"the last";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const PADDED: u8 = 8;
/// Of PING and SETTINGS.
const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// `GET / HTTP/2` with `:authority: x`, in HPACK.
pub(crate) const GET_FRONT: &[u8] = &[0x82, 0x86, 0x84, 0x41, 1, b'x'];

/// `GET` or `POST` of a path, as a block of header fields that are written out.
pub(crate) fn head(method: &str, path: &str) -> Vec<u8> {
    // By the static table: the method, the scheme `http`; then `:path` and `:authority` as literals.
    let mut block = vec![if method == "GET" { 0x82 } else { 0x83 }, 0x86];
    for (name, value) in [(0x04, path), (0x01, "x")] {
        block.push(name);
        block.push(u8::try_from(value.len()).expect("a short value"));
        block.extend_from_slice(value.as_bytes());
    }
    block
}

/// A field of a head, written out.
pub(crate) fn field(name: &str, value: &str) -> Vec<u8> {
    let mut field = vec![0x00];
    for text in [name, value] {
        field.push(u8::try_from(text.len()).expect("a short text"));
        field.extend_from_slice(text.as_bytes());
    }
    field
}

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame's length").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// What a client says first: the preface and its settings.
pub(crate) fn hello(settings: &[u8]) -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, settings)].concat()
}

/// How a connection went on after the frames.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The server said GOAWAY, or hung up.
    Ended,
    /// The server read everything, and went on.
    WentOn,
}

/// Sends frames on a connection of their own until the server has read them all or has ended the connection; then hangs up.
pub(crate) async fn send(address: SocketAddr, frames: impl Iterator<Item = Vec<u8>>) -> Outcome {
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    send_on(&mut stream, &[], frames).await
}

/// As [`send`], with these settings, on a connection that is still there afterwards.
pub(crate) async fn send_on(stream: &mut TcpStream, settings: &[u8], frames: impl Iterator<Item = Vec<u8>>) -> Outcome {
    let (mut from, mut to) = stream.split();
    let writing = async {
        to.write_all(&hello(settings)).await?;
        for frame in frames {
            to.write_all(&frame).await?;
        }
        // Its answer says that all before it was read.
        to.write_all(&frame(PING, 0, 0, LAST)).await
    };
    let reading = async {
        let (mut seen, mut piece) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            match from.read(&mut piece).await {
                Ok(0) | Err(_) => return Outcome::Ended,
                Ok(length) => seen.extend_from_slice(&piece[..length]),
            }
            if let Some(outcome) = outcome(&mut seen) {
                return outcome;
            }
        }
    };
    // What is written to a server that has gone fails; what it said before is still read.
    let (_, outcome) = tokio::join!(writing, reading);
    outcome
}

/// Takes whole frames off the front, up to one that tells the outcome.
fn outcome(seen: &mut Vec<u8>) -> Option<Outcome> {
    while let Some(&[a, b, c, kind, flags]) = seen.first_chunk() {
        let length = u32::from_be_bytes([0, a, b, c]) as usize + 9;
        if seen.len() < length {
            return None;
        }
        let frame: Vec<u8> = seen.drain(..length).collect();
        match (kind, flags) {
            (GOAWAY, _) => {
                println!("GOAWAY: {}", frame[13..].escape_ascii());
                return Some(Outcome::Ended);
            }
            (PING, ACK) if frame[9..] == *LAST => return Some(Outcome::WentOn),
            _ => {}
        }
    }
    None
}
