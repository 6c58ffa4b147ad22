//! Messages of gRPC that mean much, come in crumbs or never: they are refused by their code, or answered.

use std::{io::Read, net::IpAddr, sync::Arc};

use bytes::Bytes;
use futures_util::stream;
use tokio::task::JoinSet;

use crate::{
    frames::{self, END_HEADERS, Outcome, field, frame, head},
    harness::photo,
    siege::{Siege, attacker},
};

tests![
    packed_messages_that_burst_are_refused,
    lengths_of_4_gb_are_refused_before_anything_is_kept,
    a_message_in_frames_of_a_byte_is_answered,
    patience_of_ten_thousand_years_is_no_more_than_minutes,
];

const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const STREAM: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

/// A message with the bytes before it.
fn message(flag: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
    [&[flag][..], &length, bytes].concat()
}

/// A field of Protocol Buffers.
fn proto(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length > 127 {
        field.push((length & 127 | 128) as u8);
        length >>= 7;
    }
    field.push(length as u8);
    field.extend_from_slice(bytes);
    field
}

/// Asks for the picture of the harness.
fn question() -> Vec<u8> {
    let contents = proto(5, &proto(8, &photo()));
    let input = [proto(1, b"images"), proto(2, b"BYTES"), proto(3, &[1]), contents].concat();
    message(0, &[proto(1, b"person-192"), proto(5, &input)].concat())
}

/// The code of a call, `0` where a message came, and the text.
async fn call(siege: &Siege, path: &str, body: reqwest::Body, headers: &[(&str, &str)]) -> (String, String) {
    let client = reqwest::Client::builder().http2_prior_knowledge().local_address(IpAddr::from([127, 0, 0, 2]));
    let client = client.build().expect("a client");
    let url = format!("http://{}{path}", siege.address());
    let mut request = client.post(url).header("content-type", "application/grpc").body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
    let told = (header("grpc-status"), header("grpc-message"));
    let body = response.bytes().await.expect("whole");
    if told.0 == "-" && body.len() > 5 { ("0".to_owned(), String::new()) } else { told }
}

async fn packed_messages_that_burst_are_refused() {
    let siege = Siege::with(&[("OUNCE_MEMORY__MAX_BYTES", "32000000")]).await;
    let pack = |encoding: &str, bytes: u64| {
        let (bytes, mut packed) = (std::io::repeat(0).take(bytes), Vec::new());
        let level = flate2::Compression::best();
        match encoding {
            "gzip" => flate2::read::GzEncoder::new(bytes, level).read_to_end(&mut packed),
            _ => flate2::read::ZlibEncoder::new(bytes, level).read_to_end(&mut packed),
        }
        .expect("packed");
        packed
    };
    let siege = Arc::new(siege);
    for encoding in ["gzip", "deflate"] {
        for bytes in [1 << 20, 16 << 20, 256 << 20] {
            let bomb = message(1, &pack(encoding, bytes));
            let mut asked = JoinSet::new();
            for _ in 0..32 {
                let (siege, bomb) = (Arc::clone(&siege), bomb.clone());
                asked.spawn(async move { call(&siege, INFER, bomb.into(), &[("grpc-encoding", encoding)]).await.0 });
            }
            let codes = asked.join_all().await;
            println!("{encoding} {bytes}: {codes:?}");
            // INVALID_ARGUMENT, RESOURCE_EXHAUSTED or UNAVAILABLE.
            assert!(codes.iter().all(|code| ["3", "8", "14"].contains(&code.as_str())), "{codes:?}");
        }
    }
    Arc::into_inner(siege).expect("all have asked").held_all_the_time().await;
}

async fn lengths_of_4_gb_are_refused_before_anything_is_kept() {
    let siege = Siege::begin().await;
    for path in [INFER, STREAM] {
        for flag in [0, 1] {
            // The body never ends: it is refused by what it announces.
            let announced = stream::iter([Ok::<_, std::io::Error>(vec![flag, 255, 255, 255, 255])]);
            let endless = stream::repeat_with(|| Ok(vec![0; 1024]));
            let body = reqwest::Body::wrap_stream(stream::StreamExt::chain(announced, endless));
            let (code, text) = call(&siege, path, body, &[("grpc-encoding", "gzip")]).await;
            println!("{path}: {code} {text}");
            // A stream tells its end behind its answers, where this client does not look.
            assert!(
                path == STREAM || code == "3" && text.starts_with("the%20message%20has%204294967295%20bytes"),
                "{text}"
            );
        }
    }
    siege.held_all_the_time().await;
}

async fn a_message_in_frames_of_a_byte_is_answered() {
    let siege = Siege::begin().await;
    let question = question();
    for path in [INFER, STREAM] {
        let bytes: Vec<_> =
            question.iter().map(|byte| Ok::<_, std::io::Error>(Bytes::copy_from_slice(&[*byte]))).collect();
        let (code, text) = call(&siege, path, reqwest::Body::wrap_stream(stream::iter(bytes)), &[]).await;
        assert_eq!(code, "0", "{path}: {text}");
        let mut block = head("POST", path);
        block.extend(field("content-type", "application/grpc"));
        let begin = frame(frames::HEADERS, END_HEADERS, 1, &block);
        let bytes = question.iter().map(|byte| frame(frames::DATA, 0, 1, &[*byte]));
        let end = frame(frames::DATA, frames::END_STREAM, 1, &[]);
        let frames = std::iter::once(begin).chain(bytes).chain([end]);
        let outcome = frames::send_on(&mut attacker(siege.address()).await, &[], frames).await;
        assert_eq!(outcome, Outcome::WentOn, "{path}");
    }
    siege.held().await;
}

async fn patience_of_ten_thousand_years_is_no_more_than_minutes() {
    let siege = Siege::begin().await;
    // Who has no time at all is told that it is over, or that there is none to wait for an answer.
    let no_time = &["4", "14"][..];
    for (patience, expected) in
        [("99999999H", &["0"][..]), ("0n", no_time), ("999999999H", &["3"]), ("-1S", &["3"]), ("1S, 1S", &["3"])]
    {
        for path in [INFER, STREAM] {
            let (code, text) = call(&siege, path, question().into(), &[("grpc-timeout", patience)]).await;
            println!("{patience}: {path}: {code} {text}");
            // A stream says of each message what became of it.
            let expected = if path == STREAM && expected == no_time { &["0"][..] } else { expected };
            assert!(expected.contains(&code.as_str()), "{patience}: {path}: {code} {text}");
        }
    }
    siege.held().await;
}
