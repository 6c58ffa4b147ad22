//! Bodies that mean much and are worth nothing: they are refused with a reason, stay in the budget of memory, and a good client beside
//! them is served.

use std::io::Read;

use crate::siege::Siege;

tests![
    bombs_at_once_stay_in_the_budget,
    forms_with_large_parts_at_once_stay_in_the_budget,
    long_base64_that_breaks_at_its_end_is_refused,
    lengths_that_lie_are_refused,
];

/// A server whose requests have 32 MB in all.
async fn small() -> Siege {
    Siege::with(&[
        ("OUNCE_MEMORY__MAX_BYTES", "32000000"),
        ("OUNCE_REQUESTS__BODY_TIMEOUT_MS", "300000"),
        ("OUNCE_BODIES__MIN_BYTES_PER_SECOND", "0"),
    ])
    .await
}

/// The client's fault, or there is no room now; 0 for who was hung up on while he sent what nobody wants.
fn are_refused(statuses: &[u16]) {
    assert!(statuses.iter().all(|status| matches!(status, 0 | 400..=499 | 503)), "{statuses:?}");
}

async fn bombs_at_once_stay_in_the_budget() {
    let siege = small().await;
    let spaces = |bytes: u64| std::io::repeat(b' ').take(bytes);
    let gzip = |bytes: &mut dyn Read| {
        let mut packed = Vec::new();
        flate2::read::GzEncoder::new(bytes, flate2::Compression::best()).read_to_end(&mut packed).expect("packed");
        packed
    };
    let mut deflate = Vec::new();
    let mut zlib = flate2::read::ZlibEncoder::new(spaces(16 << 20), flate2::Compression::best());
    zlib.read_to_end(&mut deflate).expect("packed");
    let once = gzip(&mut spaces(16 << 20));
    let twice = gzip(&mut once.as_slice());
    let infer = "/v2/models/person-192/infer";
    for (encoding, bomb) in [("gzip", &once), ("gzip", &twice), ("deflate", &deflate)] {
        println!("{encoding}: {} bytes", bomb.len());
        are_refused(&siege.post_at_once(64, infer, &format!("content-encoding: {encoding}\r\n"), bomb).await);
    }
    siege.held_all_the_time().await;
}

async fn forms_with_large_parts_at_once_stay_in_the_budget() {
    let siege = small().await;
    let part = |body: &[u8]| {
        let head = "--x\r\ncontent-disposition: form-data; name=\"image\"; filename=\"a.png\"\r\n\r\n";
        [head.as_bytes(), body, b"\r\n"].concat()
    };
    let form = [part(&vec![7; 4 << 20]), b"--x--\r\n".to_vec()].concat();
    let headers = "content-type: multipart/form-data; boundary=x\r\n";
    are_refused(&siege.post_at_once(64, "/v1/detect", headers, &form).await);
    // Many parts of nothing, one part whose head never ends, and a boundary that is nearly there again and again.
    let many = [part(b"").repeat(20_000), b"--x--\r\n".to_vec()].concat();
    let endless = [b"--x\r\ncontent-disposition: form-data; name=\"".to_vec(), vec![b'y'; 4 << 20]].concat();
    let nearly = [part(&b"\r\n--".repeat(1 << 20)), b"--x--\r\n".to_vec()].concat();
    for body in [many, endless, nearly] {
        are_refused(&siege.post_at_once(8, "/v1/detect", headers, &body).await);
    }
    siege.held_all_the_time().await;
}

async fn long_base64_that_breaks_at_its_end_is_refused() {
    let siege = Siege::begin().await;
    let mut json = br#"{"image":""#.to_vec();
    json.resize(20 << 20, b'A');
    json.extend(br#"!"}"#);
    let statuses = siege.post_at_once(4, "/v1/detect", "content-type: application/json\r\n", &json).await;
    are_refused(&statuses);
    assert!(statuses.contains(&400), "{statuses:?}");
    siege.held().await;
}

async fn lengths_that_lie_are_refused() {
    let siege = Siege::begin().await;
    let tensor = |name: &str, bytes: &str| {
        format!(r#"{{"name":"{name}","datatype":"FP32","shape":[1,2],"parameters":{{"binary_data_size":{bytes}}}}}"#)
    };
    let json = |tensors: &[String]| format!(r#"{{"inputs":[{}]}}"#, tensors.join(","));
    let one = |bytes: &str| json(&[tensor("images", bytes)]);
    let (short, whole) = (one("4"), one("8"));
    let length = |length: usize| format!("inference-header-content-length: {length}\r\n");
    let real = |json: &str| length(json.len());
    for (what, headers, json) in [
        ("the JSON is longer than the body", length(1 << 20), whole.clone()),
        ("the JSON ends in its middle", length(whole.len() / 2), whole.clone()),
        ("the JSON goes on into the bytes", length(whole.len() + 4), whole.clone()),
        ("there is no JSON", length(0), whole.clone()),
        ("two lengths", real(&whole) + &length(3), whole.clone()),
        ("fewer bytes than the shape has", real(&short), short.clone()),
        ("more bytes than came", real(&one("4096")), one("4096")),
        ("sizes that wrap around", real(&one("18446744073709551615")), one("18446744073709551615")),
        ("a size as a text", real(&one(r#""8""#)), one(r#""8""#)),
        ("a size with a fraction", real(&one("7.5")), one("7.5")),
        ("the same input twice", String::new(), json(&[tensor("images", "4"), tensor("images", "4")])),
        ("bytes and no length of the JSON", String::new(), whole.clone()),
    ] {
        let (status, answer) =
            siege.post("/v2/models/person-192/infer", &headers, &[json.as_bytes(), &[0; 8]].concat()).await;
        assert_eq!(status, 400, "{what}: {answer}");
    }
    siege.held().await;
}
