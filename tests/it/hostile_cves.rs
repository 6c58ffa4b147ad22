//! What has brought other inference servers down is sent to ours: nothing crashes, memory does not grow, and a good client beside it
//! is served. The shapes are those of CVE-2025-23310 and -23311 (Triton: a body in very many chunks), -23319 (names of shared
//! memory), of ShellTorch (CVE-2023-43654: a model from a stranger's address), of BentoML's pickles (CVE-2025-27520, CVE-2025-32375),
//! and of HTTP/2: rapid reset (CVE-2023-44487), resets that the server is made to send (CVE-2025-8671), CONTINUATION floods
//! (CVE-2024-27316).

use std::{fmt::Write as _, io::Read, path::Path};

use tokio::net::TcpListener;

use crate::{
    frames::{self, Outcome, frame, head},
    harness::photo,
    siege::{Siege, status},
};

tests![
    a_body_in_65536_chunks_is_answered,
    dimensions_of_two_billion_are_refused,
    gzip_bombs_end_at_the_limit,
    names_lead_out_of_no_folder,
    a_model_is_never_fetched_from_an_address_or_taken_from_a_request,
    nothing_is_unpickled,
    names_of_shared_memory_are_refused_and_not_told,
    deep_json_is_refused,
    streams_that_are_reset_at_once_cost_nobody_else,
    heads_that_never_end_are_ended,
];

/// A body in chunks of one byte.
fn chunked(path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: {content_type}\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    let chunks = body.iter().flat_map(|byte| [b'1', b'\r', b'\n', *byte, b'\r', b'\n']);
    head.bytes().chain(chunks).chain(*b"0\r\n\r\n").collect()
}

async fn a_body_in_65536_chunks_is_answered() {
    let siege = Siege::begin().await;
    // A picture's decoder does not read on after its end, JSON may end in spaces.
    let mut image = photo();
    image.resize(65_536, 0);
    let mut json = br#"{"inputs":[]}"#.to_vec();
    json.resize(65_536, b' ');
    for _ in 0..4 {
        let answer = siege.raw(&chunked("/v1/detect", "image/png", &image)).await;
        assert_eq!(status(&answer), 200, "{answer}");
        let answer = siege.raw(&chunked("/v2/models/person-192/infer", "application/json", &json)).await;
        assert_eq!(status(&answer), 400, "{answer}");
        let answer = siege.raw(&chunked("/v2/repository/models/person-192/load", "application/json", &json)).await;
        assert!(matches!(status(&answer), 400 | 401 | 403 | 404), "{answer}");
    }
    siege.held().await;
}

async fn dimensions_of_two_billion_are_refused() {
    let siege = Siege::begin().await;
    let infer = "/v2/models/person-192/infer";
    for number in
        ["2147483647", "2147483648", "4294967296", "9223372036854775807", "18446744073709551616", "-1", "1e308"]
    {
        for shape in [format!("[{number}]"), format!("[1,3,{number},{number}]"), format!("[{number},0]")] {
            for datatype in ["FP32", "UINT8", "BYTES"] {
                for data in [r#""data":[1]"#, r#""parameters":{"binary_data_size":4}"#] {
                    let json =
                        format!(r#"{{"inputs":[{{"name":"images","datatype":"{datatype}","shape":{shape},{data}}}]}}"#);
                    let header = format!("inference-header-content-length: {}\r\n", json.len());
                    let (status, answer) = siege.post(infer, &header, &[json.as_bytes(), b"\0\0\0\0"].concat()).await;
                    assert_eq!(status, 400, "{json}: {answer}");
                }
            }
        }
        let header = format!("inference-header-content-length: {number}\r\n");
        assert_eq!(siege.post(infer, &header, b"{}").await.0, 400, "{header}");
        let json = format!(
            r#"{{"inputs":[{{"name":"images","datatype":"FP32","shape":[1],"parameters":{{"binary_data_size":{number}}}}}]}}"#
        );
        assert_eq!(siege.post(infer, "", json.as_bytes()).await.0, 400, "{json}");
    }
    siege.held().await;
}

async fn gzip_bombs_end_at_the_limit() {
    let siege = Siege::begin().await;
    let pack = |bytes: &mut dyn Read| {
        let mut packed = Vec::new();
        flate2::read::GzEncoder::new(bytes, flate2::Compression::fast()).read_to_end(&mut packed).expect("packed");
        packed
    };
    let bomb = pack(&mut std::io::repeat(b' ').take(256 << 20));
    let nested = pack(&mut bomb.as_slice());
    for _ in 0..4 {
        let (status, answer) = siege.post("/v2/models/person-192/infer", "content-encoding: gzip\r\n", &bomb).await;
        assert_eq!(status, 413, "{answer}");
        let (status, answer) = siege.post("/v2/models/person-192/infer", "content-encoding: gzip\r\n", &nested).await;
        assert_eq!(status, 400, "{answer}");
        for encoding in ["gzip", "gzip, gzip", "br", "zstd"] {
            let (status, answer) = siege.post("/v1/detect", &format!("content-encoding: {encoding}\r\n"), &bomb).await;
            assert_eq!(status, 415, "{answer}");
        }
    }
    siege.held().await;
}

async fn names_lead_out_of_no_folder() {
    let siege = Siege::begin().await;
    let ways = [
        "../person-192",
        "../../etc",
        "..%2Fperson-192",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "person-192%00",
        "%2Fetc%2Fpasswd",
        ".",
    ];
    for way in ways {
        for path in [
            format!("/v2/models/{way}/infer"),
            format!("/v2/models/person-192/versions/{way}/infer"),
            format!("/v1/models/{way}/predict"),
            format!("/v1/detect?model={way}"),
            format!("/v1/detect?variant={way}"),
            format!("/v2/repository/models/{way}/load"),
            format!("/v2/repository/models/{way}/unload"),
        ] {
            let (status, answer) = siege.post(&path, "", &photo()).await;
            assert!((400..500).contains(&status), "{path}: {answer}");
            assert!(!answer.contains("root:"), "{path}: {answer}");
        }
    }
    siege.held().await;
}

async fn a_model_is_never_fetched_from_an_address_or_taken_from_a_request() {
    let siege = Siege::begin().await;
    let lure = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/evil.mar", lure.local_addr().expect("bound"));
    let outside = tempfile::tempdir().expect("tempdir");
    let file = outside.path().join("written");
    let body = |parameters: &str| format!(r#"{{"parameters":{{{parameters}}}}}"#).into_bytes();
    let overridden = [
        body(r#""config":"{\"backend\":\"python\"}""#),
        body(&format!(r#""file:../../../../../..{}":"YQ==""#, file.display())),
        body(r#""file:1/model.onnx":"YQ==","config":"{}""#),
        body(&format!(r#""url":"{url}""#)),
    ];
    for body in overridden {
        let (status, answer) = siege.post("/v2/repository/models/person-192/load", "", &body).await;
        assert!(matches!(status, 400 | 401 | 403 | 404), "{answer}");
    }
    for path in [
        format!("/models?url={url}&initial_workers=1"),
        format!("/workflows?url={url}"),
        format!("/v1/detect?url={url}"),
    ] {
        let (status, answer) = siege.post(&path, "", &[]).await;
        assert!((400..500).contains(&status), "{path}: {answer}");
    }
    let (status, answer) = siege
        .post("/v1/detect", "content-type: application/json\r\n", format!(r#"{{"image":"{url}"}}"#).as_bytes())
        .await;
    assert!((400..500).contains(&status), "{answer}");
    // Whoever called has called by now, and would wait to be let in.
    let called = tokio::time::timeout(std::time::Duration::ZERO, lure.accept()).await;
    assert!(called.is_err() && !file.exists());
    siege.held().await;
}

/// A pickle that would make a file when it is loaded.
fn pickle(file: &Path) -> Vec<u8> {
    format!("cos\nsystem\n(S'touch {}'\ntR.", file.display()).into_bytes()
}

async fn nothing_is_unpickled() {
    let siege = Siege::begin().await;
    let outside = tempfile::tempdir().expect("tempdir");
    let file = outside.path().join("unpickled");
    let payload = pickle(&file);
    for (headers, expected) in [
        ("content-type: application/vnd.bentoml+pickle\r\n", 415),
        (
            "content-type: application/octet-stream\r\npayload-container: NdarrayContainer\r\npayload-meta: {\"format\":\"pickle5\"}\r\n",
            415,
        ),
        ("", 415),
    ] {
        let (status, answer) = siege.post("/v1/detect", headers, &payload).await;
        assert_eq!(status, expected, "{headers}: {answer}");
        assert_eq!(siege.post("/v2/models/person-192/infer", headers, &payload).await.0, 400, "{headers}");
    }
    assert!(!file.exists());
    siege.held().await;
}

async fn names_of_shared_memory_are_refused_and_not_told() {
    let siege = Siege::begin().await;
    let long = "r".repeat(1 << 20);
    for region in ["triton_python_backend_shm_region_4f50c226", "/../../dev/shm/x", "", &long] {
        let body = format!(
            r#"{{"inputs":[{{"name":"images","datatype":"FP32","shape":[1,3,192,192],"parameters":{{"shared_memory_region":"{region}","shared_memory_byte_size":442368}}}}]}}"#
        );
        let (status, answer) = siege.post("/v2/models/person-192/infer", "", body.as_bytes()).await;
        assert_eq!(status, 400, "{answer}");
        assert!(!answer.contains("/dev/shm") && answer.len() < 4096, "{answer}");
        let name = if region.len() > 100 || region.is_empty() { "x" } else { region };
        for kind in ["systemsharedmemory", "cudasharedmemory"] {
            let path = format!("/v2/{kind}/region/{name}/register");
            let (status, answer) = siege.post(&path, "", br#"{"key":"/x","offset":0,"byte_size":64}"#).await;
            assert_eq!(status, 404, "{path}: {answer}");
        }
    }
    siege.held().await;
}

async fn deep_json_is_refused() {
    let siege = Siege::begin().await;
    let (open, close) = ("[".repeat(200_000), "]".repeat(200_000));
    let (maps, ends) = (r#"{"a":"#.repeat(100_000), "}".repeat(100_000));
    let images = "content-type: application/json\r\n";
    for (path, body) in [
        ("/v1/detect", format!(r#"{{"image":{open}{close}}}"#)),
        ("/v1/detect", format!(r#"{{"images":{maps}1{ends}}}"#)),
        ("/v2/models/person-192/infer", format!(r#"{{"inputs":{open}{close}}}"#)),
        (
            "/v2/models/person-192/infer",
            format!(r#"{{"inputs":[{{"name":"images","datatype":"FP32","shape":[1],"data":{open}{close}}}]}}"#),
        ),
        ("/v2/models/person-192/infer", format!(r#"{{"inputs":[],"parameters":{maps}1{ends}}}"#)),
        ("/v2/models/person-192/infer", format!(r#"{{"inputs":[],"unknown":{maps}1{ends}}}"#)),
        ("/v2/repository/models/person-192/load", format!(r#"{{"parameters":{maps}1{ends}}}"#)),
        ("/v2/repository/index", open.clone()),
    ] {
        let (status, answer) = siege.post(path, images, body.as_bytes()).await;
        assert!((400..500).contains(&status), "{path}: {answer}");
    }
    siege.held().await;
}

async fn streams_that_are_reset_at_once_cost_nobody_else() {
    let siege = Siege::begin().await;
    let reset = |stream: u32| frame(frames::RST_STREAM, 0, stream, &[0, 0, 0, 8]);
    // A window that grows by nothing is an error, for which the server resets the stream.
    let provoked = |stream: u32| frame(frames::WINDOW_UPDATE, 0, stream, &[0; 4]);
    let attack = |ends: bool, then: &dyn Fn(u32) -> Vec<u8>| {
        let flags = frames::END_HEADERS | if ends { frames::END_STREAM } else { 0 };
        let path = if ends { "/v1/models" } else { "/v1/detect" };
        let streams = (0..20_000).map(|number| 2 * number + 1);
        let head = head(if ends { "GET" } else { "POST" }, path);
        let both = streams.map(|stream| [frame(frames::HEADERS, flags, stream, &head), then(stream)].concat());
        both.collect::<Vec<_>>()
    };
    for ends in [true, false] {
        for (name, frames) in [("reset", attack(ends, &reset)), ("provoked", attack(ends, &provoked))] {
            let outcome = frames::send(siege.address(), frames.into_iter()).await;
            println!("{name}, ends: {ends}: {outcome:?}");
            assert_eq!(outcome, Outcome::Ended, "{name}, ends: {ends}");
        }
    }
    siege.held().await;
}

async fn heads_that_never_end_are_ended() {
    let siege = Siege::begin().await;
    let first = |block: &[u8]| frame(frames::HEADERS, frames::END_STREAM, 1, block);
    let more = |block: &[u8]| frame(frames::CONTINUATION, 0, 1, block);
    // `x: yyy…` 4 kB each, written out and never indexed.
    let mut field = vec![0x00, 0x01, b'x', 0x7F];
    field.extend([0x81, 0x1F]);
    field.resize(field.len() + 127 + 1 + 31 * 128, b'y');
    let begun = || std::iter::once(first(&head("GET", "/livez")));
    let floods: [(&str, Box<dyn Iterator<Item = Vec<u8>> + Send>); 3] = [
        ("empty", Box::new(begun().chain((0..100_000).map(|_| more(&[]))))),
        ("large", Box::new(begun().chain((0..20_000).map(|_| more(&field))))),
        // Each byte names the last entry of the table again: little is sent, much is meant.
        ("bomb", Box::new(std::iter::once(first(&bomb())).chain((0..1000).map(|_| more(&[0xBE; 16_000]))))),
    ];
    for (name, flood) in floods {
        let outcome = frames::send(siege.address(), flood).await;
        println!("{name}: {outcome:?}");
        assert_eq!(outcome, Outcome::Ended, "{name}");
    }
    for (name, frame) in [
        ("settings", frame(frames::SETTINGS, 0, 0, &[])),
        ("ping", frame(frames::PING, 0, 0, b"flooding")),
        ("data", frame(frames::DATA, 0, 1, &[])),
    ] {
        let begun = std::iter::once(self::frame(frames::HEADERS, frames::END_HEADERS, 1, &head("POST", "/v1/detect")));
        let outcome = frames::send(siege.address(), begun.chain((0..50_000).map(|_| frame.clone()))).await;
        println!("{name}: {outcome:?}");
    }
    // Over HTTP/1.1: a head of many fields, and one of a long field.
    let mut many = "GET /livez HTTP/1.1\r\nhost: x\r\n".to_owned();
    (0..100_000).for_each(|number| write!(many, "x{number}: y\r\n").expect("text"));
    for head in [many, format!("GET /livez HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(8 << 20))] {
        let answer = siege.raw(head.as_bytes()).await;
        assert!(matches!(status(&answer), 0 | 400 | 431), "{answer}");
    }
    siege.held().await;
}

/// A head that puts a field of 4 kB into the table of header fields.
fn bomb() -> Vec<u8> {
    let mut block = head("GET", "/livez");
    block.extend([0x40, 0x01, b'x', 0x7F, 0x81, 0x1E]);
    block.resize(block.len() + 127 + 1 + 30 * 128, b'y');
    block
}
