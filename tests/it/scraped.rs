//! A real Prometheus that scrapes a server, for the tests that ask it.

use std::{
    path::Path,
    process::{Child, Command},
    time::Duration,
};

use serde_json::{Value, json};

use crate::harness::{self, Server, on_a_free_port, photo, png, root, series, sum, until};

/// A program of the Debian package `prometheus`; where it is not installed, the test is ignored.
pub(crate) fn program(name: &str) -> Command {
    harness::program(name, "REQUIRE_PROMETHEUS", "Debian has it in the package prometheus")
}

/// A server of the shipped models.
pub(crate) async fn server() -> Server {
    Server::start(&root().join("models"), &[]).await
}

/// Answers of both models, in both protocols, and refusals.
pub(crate) async fn traffic(server: &Server) {
    for path in ["/v1/detect", "/v1/classify"] {
        assert_eq!(server.post(path, "image/png", photo()).await.0, 200);
        assert_eq!(server.post(path, "image/png", b"no picture".to_vec()).await.0, 415);
        assert_eq!(server.post(&format!("{path}?variant=none"), "image/png", photo()).await.0, 400);
    }
    use base64::Engine as _;
    let image = base64::prelude::BASE64_STANDARD.encode(photo());
    let input = json!({"name": "image", "datatype": "BYTES", "shape": [1], "data": [image]});
    let body = json!({"inputs": [input]}).to_string().into_bytes();
    assert_eq!(server.post("/v2/models/pedestrian/infer", "application/json", body).await.0, 200);
}

/// What Prometheus would read.
pub(crate) async fn metrics(server: &Server) -> String {
    let response = server.client.get(format!("{}/metrics", server.url)).send().await.expect("an answer");
    response.text().await.expect("text")
}

/// A large image whose client gives up until that is counted.
pub(crate) async fn client_that_goes_away(server: &Server) -> Vec<u8> {
    let large = png(&image::RgbImage::new(4000, 4000));
    until("a client that goes away is counted", async || {
        let impatient = server.client.post(format!("{}/v1/detect", server.url)).body(large.clone());
        let _ = impatient.timeout(Duration::from_millis(30)).send().await;
        sum(&series(&metrics(server).await), "ounce_cancelled_total", &[]) > 0.0
    })
    .await;
    large
}

/// A Prometheus that scrapes one server, five times a second, as a pod of a cluster; it ends when dropped.
pub(crate) struct Prometheus {
    process: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Starts it, with a file of rules if there is one, and waits until it answers.
    pub(crate) async fn start(server: &Server, rules: Option<&Path>) -> Self {
        let folder = tempfile::tempdir().expect("tempdir");
        let config = folder.path().join("prometheus.yml");
        let target = server.url.trim_start_matches("http://");
        // JSON is YAML.
        let labels = json!({"namespace": "shop", "pod": "ounce-0"});
        let text = json!({
            "global": {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"},
            "rule_files": rules.into_iter().collect::<Vec<_>>(),
            "scrape_configs": [{"job_name": "ounce", "static_configs": [{"targets": [target], "labels": labels}]}],
        });
        std::fs::write(&config, text.to_string()).expect("write");
        let start = |port| {
            let mut program = program("prometheus");
            program
                .arg(format!("--config.file={}", config.display()))
                .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
                .arg(format!("--web.listen-address=127.0.0.1:{port}"))
                .args(["--log.level=error"]);
            program.spawn().expect("it starts")
        };
        let up = async |port| {
            reqwest::get(format!("http://127.0.0.1:{port}/-/ready")).await.is_ok_and(|answer| answer.status() == 200)
        };
        let (port, process) = on_a_free_port(start, up).await;
        Self { process, url: format!("http://127.0.0.1:{port}"), _folder: folder }
    }

    /// The numbers that a query has now; none while it is not up yet.
    pub(crate) async fn ask(&self, client: &reqwest::Client, query: &str) -> Vec<f64> {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("query", query).finish();
        let answer = self.get(client, &format!("/api/v1/query?{query}")).await;
        assert_ne!(answer["errorType"], "bad_data", "{query}: {answer}");
        assert_ne!(answer["errorType"], "execution", "{query}: {answer}");
        let series = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        series.iter().filter_map(|series| series["value"][1].as_str()?.parse().ok()).collect()
    }

    /// What its API answers; nothing while it is not up yet.
    pub(crate) async fn get(&self, client: &reqwest::Client, path: &str) -> Value {
        let Ok(response) = client.get(format!("{}{path}", self.url)).send().await else { return Value::Null };
        response.json().await.unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
