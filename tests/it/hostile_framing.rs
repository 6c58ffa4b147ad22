//! Requests whose length can be read in two ways: what a proxy in front might take for one request is never answered as two.

use crate::{
    harness::photo,
    siege::{Siege, status},
};

tests![no_request_is_smuggled_in_the_body_of_another, what_comes_between_two_requests_is_no_third];

/// What an attacker wants the server to take for a request of its own.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// How often the server has answered, by its status lines.
fn answers(answer: &str) -> usize {
    answer.matches("HTTP/1.1 ").count()
}

async fn no_request_is_smuggled_in_the_body_of_another() {
    // Who announces a body that does not come is given up soon.
    let siege =
        Siege::with(&[("OUNCE_REQUESTS__BODY_TIMEOUT_MS", "500"), ("OUNCE_REQUESTS__HEADER_TIMEOUT_MS", "500")]).await;
    let length = HIDDEN.len();
    // In each, one reading has the hidden request inside the body.
    let heads = [
        "content-length: 0\r\ncontent-length: LENGTH\r\n",
        "content-length: LENGTH\r\ncontent-length: 0\r\n",
        "content-length: LENGTH, 0\r\n",
        "content-length: +LENGTH\r\n",
        "content-length: -1\r\n",
        "content-length: 0x10\r\n",
        "content-length: 18446744073709551616\r\n",
        "content-length : LENGTH\r\n",
        "content-length: LENGTH\r\n transfer-encoding: chunked\r\n",
        "transfer-encoding: xchunked\r\n",
        "transfer-encoding: chunked, identity\r\n",
        "transfer-encoding: identity, chunked, identity\r\n",
        "transfer-encoding : chunked\r\n",
        "transfer-encoding: \x0Bchunked\r\n",
        "x: y\ntransfer-encoding: xchunked\r\n",
    ];
    for head in heads {
        let head = head.replace("LENGTH", &length.to_string());
        let request = format!("POST /v1/detect HTTP/1.1\r\nhost: x\r\n{head}\r\n{HIDDEN}");
        let answer = siege.raw(request.as_bytes()).await;
        assert!(!answer.contains("/hidden") && answers(&answer) <= 1, "{}: {answer}", head.escape_debug());
    }
    // Chunks whose sizes are no sizes.
    for chunk in [
        "g\r\n",
        "0x5\r\nhello\r\n",
        "-1\r\n",
        "FFFFFFFFFFFFFFFFF\r\n",
        "5\r\nhello0\r\n\r\n",
        "5 ; x\nhello\r\n",
        "\r\n0\r\n\r\n",
    ] {
        let request =
            format!("POST /v1/detect HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{HIDDEN}");
        let answer = siege.raw(request.as_bytes()).await;
        assert!(!answer.contains("/hidden") && answers(&answer) <= 1, "{}: {answer}", chunk.escape_debug());
    }
    siege.held().await;
}

async fn what_comes_between_two_requests_is_no_third() {
    let siege = Siege::with(&[("OUNCE_REQUESTS__HEADER_TIMEOUT_MS", "2000")]).await;
    let photo = photo();
    // Both lengths are said; the chunks count, as RFC 9112 has it, or the request is refused.
    let head = format!(
        "POST /v1/detect HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n",
        photo.len()
    );
    let answer = siege.raw(&[head.as_bytes(), &photo, b"\r\n0\r\n\r\n", HIDDEN.as_bytes()].concat()).await;
    println!("{answer}");
    assert!(matches!(status(&answer), 200 | 400) && answers(&answer) <= 2, "{answer}");
    siege.held().await;
}
