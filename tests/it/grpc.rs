//! gRPC on the port of HTTP: real clients work unchanged, and what is refused is told by its code and counted once.

use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    harness::{Server, photo, program, python, root, sum, until},
    scraped::metrics,
    triton::it_was_unloaded_and_loaded,
};

tests![
    clients_of_triton_and_grpc_work_unchanged,
    grpcurl_finds_its_way_by_reflection,
    refusals_have_a_code_and_are_counted_once,
    a_server_that_ends_ends_its_streams,
    reflection_serves_what_the_proto_files_say,
];

async fn run(mut command: std::process::Command) -> Vec<u8> {
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("it is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`make test` installs the clients: {said}");
    output.stdout
}

async fn clients_of_triton_and_grpc_work_unchanged() {
    let server = Server::start(&root().join("models"), &[]).await;
    let folder = tempfile::tempdir().expect("tempdir");
    let image = folder.path().join("photo.png");
    std::fs::write(&image, photo()).expect("write");
    let mut client = python(&[]);
    let address = server.url.trim_start_matches("http://");
    client.arg(root().join("tests/it/grpc.py")).args([address, &image.display().to_string()]);
    let report: Value = serde_json::from_slice(&run(client).await).expect("JSON");

    assert_eq!([&report["live"], &report["ready"], &report["model_ready"]], [true, true, true]);
    assert_eq!(report["unknown_ready"], false);
    assert_eq!(report["server"]["name"], "ounce");
    let inputs = json!([{"name": "image", "datatype": "FP32", "shape": ["-1", "3", "150", "150"]}]);
    assert_eq!(report["metadata"]["inputs"], inputs);
    let config = &report["config"];
    assert_eq!(config["input"], json!([{"name": "image", "data_type": "TYPE_FP32", "dims": ["3", "150", "150"]}]));
    assert!(config["max_batch_size"].as_u64().is_some_and(|most| most > 1), "{config}");

    // However the same data comes, the answer is the same; encoded pictures get that of HTTP.
    let numbers = |value: &Value| -> Vec<f64> {
        value.as_array().expect("a list").iter().map(|number| number.as_f64().expect("a number")).collect()
    };
    let raw = numbers(&report["raw"]);
    assert_eq!(raw.len(), 2, "a batch of two: {report}");
    for name in ["gzip", "deflate", "typed"] {
        assert!(raw.iter().zip(numbers(&report[name])).all(|(a, b)| (a - b).abs() < 1e-6), "{name}: {report}");
    }
    let (_, answer) = server.post("/v1/classify", "image/png", photo()).await;
    let yes = answer["classes"].as_array().expect("classes").iter().find(|class| class["label"] == "pedestrian");
    let yes = yes.expect("a label")["score"].as_f64().expect("a score");
    let pictures = [numbers(&report["pictures"]), numbers(&report["typed_pictures"])].concat();
    assert!(pictures.len() == 3 && pictures.iter().all(|p| (p - yes).abs() < 1e-3), "{pictures:?} {answer}");
    assert!(report["classes"][0].as_str().is_some_and(|class| class.ends_with("pedestrian")), "{report}");
    assert_eq!((&report["request_id"], &report["together"]), (&json!("r7"), &json!([true, true])));
    let took = &report["parameters"];
    assert!(took["cost_usd"].as_f64().is_some_and(|usd| usd > 0.0) && took["variant"].is_string(), "{took}");

    let streamed: Vec<_> = report["streamed"].as_array().expect("a list").iter().filter_map(Value::as_u64).collect();
    assert!(streamed.iter().copied().eq((0..1000).filter(|i| *i != 500)), "in order, but for one: {streamed:?}");
    let [refused] = &report["stream_errors"].as_array().expect("a list")[..] else { unreachable!("{report}") };
    assert!(refused.as_str().is_some_and(|why| why.contains("there is no model `nobody`")), "{refused}");
    let stats = &report["stats"];
    let count: u64 = stats["inference_count"].as_str().and_then(|n| n.parse().ok()).expect("a count");
    assert!(count >= 999 && stats["batch_stats"][0]["compute_infer"]["count"].is_string(), "{stats}");

    assert_eq!(report["health"], json!(["SERVING", "SERVING", "SERVING", 1]));
    assert_eq!(report["watched"], 3, "the model is not known once it is unloaded");
    let services = ["grpc.health.v1.Health", "grpc.reflection", "inference.GRPCInferenceService"];
    let found = report["services"].to_string();
    assert!(services.iter().all(|service| found.contains(service)), "{found}");
    assert_eq!(report["methods"].as_array().map(Vec::len), Some(12), "{report}");
    it_was_unloaded_and_loaded(&report);

    let errors = &report["errors"];
    for (what, code, sentence) in [
        ("unknown model", "NOT_FOUND", "there is no model `nobody`"),
        ("unknown version", "NOT_FOUND", "has no version `99`"),
        ("wrong shape", "INVALID_ARGUMENT", "f32[?, 3, 150, 150]"),
        ("unknown output", "INVALID_ARGUMENT", "`outputs.no`: there is no such output"),
        ("no picture", "INVALID_ARGUMENT", ""),
        ("huge", "INVALID_ARGUMENT", "has more than there can be"),
        ("both", "INVALID_ARGUMENT", "send it in one of them"),
        ("many inputs", "INVALID_ARGUMENT", "`inputs`: are 65536, but the model has 1"),
        ("too large", "INVALID_ARGUMENT", "more than the limit"),
        ("shared memory", "UNIMPLEMENTED", "shared memory is not offered"),
        ("unknown health", "NOT_FOUND", "there is no service `nobody`"),
        ("load parameter", "INVALID_ARGUMENT", "`config`: is not taken"),
    ] {
        let error = errors[what].as_str().expect("text");
        assert!(error.contains(code) && error.contains(sentence), "{what}: {error}");
    }
    let late = errors["too late"].as_str().expect("text");
    assert!(["DEADLINE_EXCEEDED", "UNAVAILABLE"].iter().any(|code| late.contains(code)), "{late}");

    // What was given up in the middle holds nothing any more.
    until("it holds nothing", async || {
        let all = metrics_of(&server).await;
        sum(&all, "ounce_memory_bytes", &["use=\"used\""]) + sum(&all, "ounce_queue_depth", &[]) == 0.0
    })
    .await;
}

async fn metrics_of(server: &Server) -> std::collections::BTreeMap<String, f64> {
    crate::harness::series(&metrics(server).await)
}

async fn grpcurl_finds_its_way_by_reflection() {
    let installed = root().join(".checks/bin/grpcurl");
    let path = if installed.exists() { installed } else { "grpcurl".into() };
    let mut grpcurl = program(path, "REQUIRE_GRPCURL", "make .checks/installed");
    let server = Server::start(&root().join("models"), &[]).await;
    let address = server.url.trim_start_matches("http://");
    let question = r#"{"name": "pedestrian"}"#;
    grpcurl.args(["-plaintext", "-d", question, address, "inference.GRPCInferenceService/ModelMetadata"]);
    let answer: Value = serde_json::from_slice(&run(grpcurl).await).expect("JSON");
    assert_eq!((&answer["name"], &answer["inputs"][0]["datatype"]), (&json!("pedestrian"), &json!("FP32")));
}

/// What a call was answered: the code, the text, and all headers.
struct Ended {
    code: String,
    text: String,
    headers: HeaderMap,
}

/// A message with the bytes before it.
fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).expect("short").to_be_bytes();
    [&[0][..], &length, message].concat()
}

/// A client that speaks HTTP/2 from the first byte, as gRPC does.
fn h2() -> reqwest::Client {
    reqwest::Client::builder().http2_prior_knowledge().build().expect("a client")
}

/// Calls a method with a body, which is expected to be refused.
async fn call(server: &Server, path: &str, body: Vec<u8>, headers: &[(&str, &str)]) -> Ended {
    let mut request = h2().post(format!("{}/{path}", server.url)).header("content-type", "application/grpc").body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = request.send().await.expect("an answer");
    assert_eq!(response.status(), 200, "gRPC tells errors by its own code");
    assert_eq!(response.headers()["content-type"], "application/grpc");
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
    Ended { code: header("grpc-status"), text: header("grpc-message"), headers: response.headers().clone() }
}

async fn refusals_have_a_code_and_are_counted_once() {
    let server = Server::start(&root().join("models"), &[("OUNCE_ADMIN_LISTEN", "127.0.0.1:0")]).await;
    const SERVICE: &str = "inference.GRPCInferenceService";
    let infer = format!("{SERVICE}/ModelInfer");
    let nobody = frame(b"\x0a\x06nobody");
    for (path, body, headers, code, sentence) in [
        (infer.as_str(), nobody.clone(), &[][..], "5", "there is no model `nobody`"),
        (&infer, frame(b"\x0a\x09torn"), &[], "3", "the message cannot be read as Protocol Buffers"),
        (&infer, b"\0\0\0\0\x09torn".to_vec(), &[], "3", "the body ended before its message was whole"),
        (&infer, vec![], &[], "3", "the body ended before its message was whole"),
        (&infer, b"\0\xff\xff\xff\xff".to_vec(), &[], "3", "the message has 4294967295 bytes"),
        (&infer, nobody.clone(), &[("grpc-encoding", "br")], "12", "send gzip, deflate or identity"),
        (&infer, nobody.clone(), &[("grpc-timeout", "soon")], "3", "`grpc-timeout`"),
        (&format!("{SERVICE}/CudaSharedMemoryStatus"), frame(b""), &[], "12", "shared memory is not offered"),
        (&format!("{SERVICE}/RepositoryModelUnload"), frame(b""), &[], "12", "is served on the admin listener"),
        (&format!("{SERVICE}/TraceSetting"), frame(b""), &[], "12", "TraceSetting is not offered"),
        ("nothing.Here/AtAll", frame(b""), &[], "12", "there is nothing at /nothing.Here/AtAll"),
    ] {
        let ended = call(&server, path, body, headers).await;
        let text = ended.text.replace("%20", " ").replace("%60", "`");
        assert!(ended.code == code && text.contains(sentence), "{path}: {} {text}", ended.code);
        assert!(ended.headers.contains_key("x-request-id") && ended.headers.contains_key("traceparent"));
    }
    // Without gRPC's content type, the answer is one of HTTP.
    let request = h2().post(format!("{}/{infer}", server.url)).header("content-type", "application/json").body("{}");
    let plain = request.send().await.expect("an answer");
    assert_eq!(
        (plain.status().as_u16(), plain.headers()["content-type"].as_bytes()),
        (415, &b"application/problem+json"[..])
    );

    // The metrics have moved to the admin listener, whose port nobody knows; the handler tells them all the same.
    let server = Server::start(&root().join("models"), &[]).await;
    for _ in 0..3 {
        call(&server, &infer, nobody.clone(), &[]).await;
    }
    let all = metrics_of(&server).await;
    let route = format!("route=\"/{infer}\"");
    assert_eq!(sum(&all, "ounce_grpc_responses_total", &[&route, "code=\"NOT_FOUND\""]), 3.0);
    assert_eq!(sum(&all, "ounce_http_responses_total", &[&route, "status=\"200\""]), 3.0, "what was really sent");
    assert_eq!(sum(&all, "ounce_http_responses_total", &[&route]), 3.0);
    assert_eq!(sum(&all, "ounce_refused_total", &["reason=\"unknown_model\""]), 3.0);
}

async fn a_server_that_ends_ends_its_streams() {
    // Within the grace, which outlasts this test: streams that never end would hold it.
    let server = Server::start(&root().join("models"), &[("OUNCE_SHUTDOWN__GRACE_MS", "3600000")]).await;
    let (client, url) = (h2(), server.url.clone());
    let (send, receive) = mpsc::unbounded_channel::<Result<Vec<u8>, std::io::Error>>();
    let messages = futures_util::stream::unfold(receive, async |mut receive| Some((receive.recv().await?, receive)));
    let post = |path: &str, body: reqwest::Body| {
        client.post(format!("{url}/{path}")).header("content-type", "application/grpc").body(body).send()
    };
    send.send(Ok(frame(b"\x0a\x06nobody\x1a\x02id"))).expect("it listens");
    let stream = reqwest::Body::wrap_stream(messages);
    let mut answers = post("inference.GRPCInferenceService/ModelStreamInfer", stream).await.expect("an answer");
    let mut watch = post("grpc.health.v1.Health/Watch", frame(b"").into()).await.expect("an answer");
    let first = answers.chunk().await.expect("open").expect("the message is answered");
    let text = String::from_utf8_lossy(&first);
    assert!(text.contains("there is no model `nobody`") && text.ends_with("\x12\x04\x1a\x02id"), "{text:?}");
    assert_eq!(watch.chunk().await.expect("open").expect("a state").as_ref(), frame(b"\x08\x01"));

    let ending = std::thread::spawn(move || server.end());
    assert_eq!(answers.chunk().await.expect("a clean end"), None);
    assert_eq!(watch.chunk().await.expect("open").expect("a state").as_ref(), frame(b"\x08\x02"), "not serving");
    assert_eq!(watch.chunk().await.expect("a clean end"), None);
    drop(client);
    tokio::task::spawn_blocking(move || ending.join()).await.expect("joined").expect("no panic").expect("a clean end");
    drop(send);
}

async fn reflection_serves_what_the_proto_files_say() {
    let folder = tempfile::tempdir().expect("tempdir");
    let made = folder.path().join("descriptors.bin");
    let mut protoc = python(&[]);
    protoc.args(["-m", "grpc_tools.protoc", "--proto_path"]).arg(root().join("proto")).arg("--include_imports");
    protoc.arg(format!("--descriptor_set_out={}", made.display()));
    protoc.args(["open_inference.proto", "grpc/health/v1/health.proto"]);
    run(protoc).await;
    let (made, kept) = (std::fs::read(made), std::fs::read(root().join("proto/descriptors.bin")));
    assert!(made.expect("made") == kept.expect("kept"), "proto/descriptors.bin is not current: `make proto`");
}
