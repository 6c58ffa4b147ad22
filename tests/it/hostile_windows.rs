//! Over HTTP/2 each side says how much it takes ("windows"). Whoever lies about that, or takes nothing, costs nobody else anything.

use tokio::net::TcpStream;

use crate::{
    frames::{self, END_HEADERS, END_STREAM, Outcome, PADDED, field, frame, head},
    harness::photo,
    siege::{Siege, attacker},
};

tests![
    streams_that_take_no_answer_keep_nothing_from_others,
    windows_that_overflow_end_what_they_belong_to,
    settings_that_flicker_cost_nobody_else,
    a_body_in_padded_frames_of_a_byte_is_read,
    frames_of_a_byte_that_nobody_reads_are_ended,
];

/// A setting: its number, and its value.
fn setting(number: u8, value: u32) -> Vec<u8> {
    [&[0, number][..], &value.to_be_bytes()].concat()
}

/// The setting of the first window of each stream.
fn first_window(bytes: u32) -> Vec<u8> {
    setting(4, bytes)
}

/// The largest window that there may be.
const LARGEST: u32 = (1 << 31) - 1;

fn window(stream: u32, bytes: u32) -> Vec<u8> {
    frame(frames::WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// The numbers of a client's streams.
fn streams(count: u32) -> impl Iterator<Item = u32> {
    (0..count).map(|number| 2 * number + 1)
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    frame(frames::HEADERS, END_HEADERS | END_STREAM, stream, &head("GET", path))
}

fn post(stream: u32, body: &[u8]) -> Vec<u8> {
    let head = frame(frames::HEADERS, END_HEADERS, stream, &head("POST", "/v1/detect"));
    [head, frame(frames::DATA, END_STREAM, stream, body)].concat()
}

async fn streams_that_take_no_answer_keep_nothing_from_others() {
    let siege = Siege::begin().await;
    let photo = photo();
    let mut deaf: Vec<TcpStream> = Vec::new();
    for connection in 0..6 {
        let mut stream = attacker(siege.address()).await;
        // As many as fit into the window that a connection begins with.
        let asked: Vec<_> = streams(60)
            .map(|number| match connection % 3 {
                0 => post(number, &photo),
                1 => get(number, "/docs/swagger-ui-bundle.js"),
                _ => get(number, "/metrics"),
            })
            .collect();
        let outcome = frames::send_on(&mut stream, &first_window(0), asked.into_iter()).await;
        assert_eq!(outcome, Outcome::WentOn, "connection {connection}");
        deaf.push(stream);
    }
    // All of them wait to be taken, and the good client asks beside them.
    for _ in 0..20 {
        let (status, answer) = siege.post("/v1/detect", "", &photo).await;
        assert_eq!(status, 200, "{answer}");
    }
    siege.held().await;
}

async fn windows_that_overflow_end_what_they_belong_to() {
    let siege = Siege::begin().await;
    let shapes: [(&str, Vec<Vec<u8>>, Outcome); 7] = [
        ("a stream's", vec![get(1, "/livez"), window(1, LARGEST), get(3, "/livez")], Outcome::WentOn),
        ("the connection's", vec![window(0, LARGEST)], Outcome::Ended),
        ("a first one", vec![frame(frames::SETTINGS, 0, 0, &first_window(1 << 31))], Outcome::Ended),
        (
            "a first one, late",
            vec![
                frame(frames::SETTINGS, 0, 0, &first_window(0)),
                get(1, "/docs/swagger-ui-bundle.js"),
                window(1, LARGEST),
                frame(frames::SETTINGS, 0, 0, &first_window(LARGEST)),
            ],
            Outcome::Ended,
        ),
        ("of a stream that there is not", vec![window(7, 1)], Outcome::Ended),
        ("frames of no size", vec![frame(frames::SETTINGS, 0, 0, &setting(5, 0))], Outcome::Ended),
        ("frames of 16 MB and more", vec![frame(frames::SETTINGS, 0, 0, &setting(5, 1 << 24))], Outcome::Ended),
    ];
    for (what, frames, expected) in shapes {
        let outcome = frames::send(siege.address(), frames.into_iter()).await;
        assert_eq!(outcome, expected, "{what}");
    }
    siege.held().await;
}

async fn settings_that_flicker_cost_nobody_else() {
    let siege = Siege::begin().await;
    // Each change of the first window goes through all streams that are open.
    let open = streams(100).map(|number| get(number, "/docs/swagger-ui-bundle.js"));
    let flicker = (0..20_000).map(|time| frame(frames::SETTINGS, 0, 0, &first_window(time % 2)));
    let mut stream = attacker(siege.address()).await;
    let outcome = frames::send_on(&mut stream, &first_window(0), open.chain(flicker)).await;
    println!("{outcome:?}");
    siege.held().await;
}

async fn a_body_in_padded_frames_of_a_byte_is_read() {
    let siege = Siege::begin().await;
    let begin = frame(frames::HEADERS, END_HEADERS, 1, &head("POST", "/v1/detect"));
    // A frame counts with its padding: one body is within what a server takes at once, the other is not.
    for (body, padding, expected) in [(photo(), 40, Outcome::WentOn), (vec![7; 1 << 20], 255, Outcome::Ended)] {
        let behind = vec![0; usize::from(padding)];
        let padded = |byte: &u8| frame(frames::DATA, PADDED, 1, &[&[padding, *byte][..], &behind].concat());
        let frames = std::iter::once(begin.clone()).chain(body.iter().map(padded));
        let end = std::iter::once(frame(frames::DATA, END_STREAM, 1, &[]));
        let outcome = frames::send_on(&mut attacker(siege.address()).await, &[], frames.chain(end)).await;
        assert_eq!(outcome, expected, "{} bytes", body.len());
    }
    siege.held().await;
}

async fn frames_of_a_byte_that_nobody_reads_are_ended() {
    let siege = Siege::begin().await;
    // A stream of gRPC reads no more messages while many of them run; the bytes of the next ones wait as the frames that they came in.
    let mut block = head("POST", "/inference.GRPCInferenceService/ModelStreamInfer");
    block.extend(field("content-type", "application/grpc"));
    let begin = |stream| frame(frames::HEADERS, END_HEADERS, stream, &block);
    let asked = frame(frames::DATA, 0, 1, &b"\0\0\0\0\x08\x0a\x06nobody".repeat(1000));
    let bytes = (0..1_000_000).map(|_| frame(frames::DATA, 0, 1, &[0]));
    let mut stream = attacker(siege.address()).await;
    let outcome = frames::send_on(&mut stream, &first_window(0), [begin(1), asked].into_iter().chain(bytes)).await;
    println!("one stream: {outcome:?}");
    // Nobody reads the body of a request that is refused by its head.
    let refused = frame(frames::HEADERS, END_HEADERS, 1, &head("POST", "/nothing/here"));
    let bytes = (0..1_000_000).map(|_| frame(frames::DATA, 0, 1, &[0]));
    let mut stream = attacker(siege.address()).await;
    let outcome = frames::send_on(&mut stream, &first_window(0), std::iter::once(refused).chain(bytes)).await;
    println!("a refused one: {outcome:?}");
    siege.held_all_the_time().await;
}
