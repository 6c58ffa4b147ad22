//! A real Prometheus reads the metrics: it finds nothing to mend in them, and they answer the README's questions.

use std::{
    io::Write,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{Server, photo, png, root, until};

/// A program of the Debian package `prometheus`; where it is not installed, the test says that it is skipped.
fn program(name: &str) -> Option<Command> {
    let there = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if there.is_ok_and(|status| status.success()) {
        return Some(Command::new(name));
    }
    assert!(std::env::var_os("REQUIRE_PROMETHEUS").is_none(), "{name} is not installed");
    eprintln!("SKIPPED: {name} is not installed (Debian has it in the package prometheus)");
    None
}

async fn server() -> Server {
    Server::start(&root().join("models"), &[]).await
}

/// Answers of both models, in both protocols, and refusals.
async fn traffic(server: &Server) {
    for path in ["/v1/detect", "/v1/classify"] {
        assert_eq!(server.post(path, "image/png", photo()).await.0, 200);
        assert_eq!(server.post(path, "image/png", b"no picture".to_vec()).await.0, 415);
        assert_eq!(server.post(&format!("{path}?variant=none"), "image/png", photo()).await.0, 400);
    }
    use base64::Engine as _;
    let picture = base64::prelude::BASE64_STANDARD.encode(photo());
    let input = json!({"name": "image", "datatype": "BYTES", "shape": [1], "data": [picture]});
    let body = json!({"inputs": [input]}).to_string().into_bytes();
    assert_eq!(server.post("/v2/models/pedestrian/infer", "application/json", body).await.0, 200);
}

async fn metrics(server: &Server) -> String {
    let response = server.client.get(format!("{}/metrics", server.url)).send().await.expect("an answer");
    response.text().await.expect("text")
}

#[tokio::test]
async fn promtool_finds_nothing_to_mend() {
    let Some(mut promtool) = program("promtool") else { return };
    let server = server().await;
    traffic(&server).await;
    let large = png(&image::RgbImage::new(4000, 4000));
    until("a client that goes away is counted", async || {
        let impatient = server.client.post(format!("{}/v1/detect", server.url)).body(large.clone());
        let _ = impatient.timeout(Duration::from_millis(30)).send().await;
        metrics(&server).await.contains("ounce_cancelled_total{")
    })
    .await;

    let text = metrics(&server).await;
    let mut check = promtool.args(["check", "metrics"]);
    check = check.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().expect("it starts");
    check.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
    let said = check.wait_with_output().expect("it ends");
    let all = [said.stdout, said.stderr].concat();
    assert_eq!((said.status.code(), String::from_utf8_lossy(&all).as_ref()), (Some(0), ""), "{text}");
}

/// A Prometheus that scrapes one server; it ends when dropped.
struct Prometheus {
    process: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(mut program: Command, server: &Server) -> Self {
        let folder = tempfile::tempdir().expect("tempdir");
        let config = folder.path().join("prometheus.yml");
        let target = server.url.trim_start_matches("http://");
        let text = format!(
            "scrape_configs:\n- job_name: ounce\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\n  static_configs:\n  - targets: ['{target}']\n"
        );
        std::fs::write(&config, text).expect("write");
        // Free now, and nobody else is likely to take it before Prometheus does.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let process = program
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={port}"))
            .args(["--log.level=error"])
            .spawn()
            .expect("it starts");
        Self { process, url: format!("http://{port}"), _folder: folder }
    }

    /// The numbers that a query has now; none while it is not up yet.
    async fn ask(&self, client: &reqwest::Client, query: &str) -> Vec<f64> {
        let request = client.get(format!("{}/api/v1/query?{}", self.url, form_urlencoded(query)));
        let Ok(response) = request.send().await else { return Vec::new() };
        let Ok(answer) = response.json::<Value>().await else { return Vec::new() };
        assert_ne!(answer["errorType"], "bad_data", "{query}: {answer}");
        let series = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        series.iter().filter_map(|series| series["value"][1].as_str()?.parse().ok()).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn form_urlencoded(query: &str) -> String {
    form_urlencoded::Serializer::new(String::new()).append_pair("query", query).finish()
}

/// The queries of the README: those of the block under the heading, each after a comment that says what it asks.
fn questions() -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("the README");
    let (_, section) = readme.split_once("## Five questions for Prometheus").expect("the heading");
    let (_, block) = section.split_once("```promql\n").expect("the block");
    let (block, _) = block.split_once("```").expect("its end");
    block.split("# ").skip(1).filter_map(|question| Some(question.split_once('\n')?.1.trim().to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_five_questions_of_the_readme_have_answers() {
    let questions = questions();
    assert_eq!(questions.len(), 5, "{questions:?}");
    let Some(program) = program("prometheus") else { return };
    let server = server().await;
    let prometheus = Prometheus::start(program, &server);
    for question in questions {
        until(&question, async || {
            traffic(&server).await;
            prometheus.ask(&server.client, &question).await.iter().any(|number| number.is_finite())
        })
        .await;
    }
}
