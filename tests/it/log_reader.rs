//! Whoever reads the log may stall: requests are answered all the same, and the log says later what it lacks.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStderr, Stdio},
};

use futures_util::future::join_all;

use crate::harness::{ended, listens, ounce, photo, ready, series, until};

tests![
    two_thousand_requests_are_answered_while_nobody_reads_the_log,
    a_clean_end_and_a_failed_start_are_told_whole,
    an_end_does_not_wait_for_a_reader_that_stalls
];

/// A server whose log comes through a pipe, and that pipe.
struct Logged {
    child: Child,
    log: BufReader<ChildStderr>,
    url: String,
}

impl Logged {
    async fn start(filter: &str) -> Self {
        let mut serve = ounce();
        serve.env("OUNCE_ADMIN_LISTEN", "").env("OUNCE_LOG__FORMAT", "json").args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--log",
            filter,
        ]);
        let mut child = serve.stderr(Stdio::piped()).spawn().expect("the binary starts");
        let mut log = BufReader::new(child.stderr.take().expect("piped"));
        let url = format!("http://{}", listens(&mut log));
        ready(&url).await;
        Self { child, log, url }
    }

    /// Asks until lines are dropped: a pipe holds 64 KiB, and ounce a bounded number of lines more.
    async fn fill(&self, client: &reqwest::Client) {
        let url = format!("{}/nowhere", self.url);
        until("lines are dropped", async || {
            let answers = join_all((0..100).map(|_| client.get(&url).send())).await;
            assert!(answers.into_iter().all(|answer| answer.expect("an answer").status() == 404));
            self.dropped(client).await > 0.0
        })
        .await;
    }

    async fn dropped(&self, client: &reqwest::Client) -> f64 {
        let answer = client.get(format!("{}/metrics", self.url)).send().await.expect("an answer");
        series(&answer.text().await.expect("text"))["ounce_log_lines_dropped_total"]
    }

    fn terminate(&self) {
        let sent = std::process::Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

async fn two_thousand_requests_are_answered_while_nobody_reads_the_log() {
    let mut server = Logged::start("info").await;
    let client = reqwest::Client::new();
    assert_eq!(server.dropped(&client).await, 0.0);
    for _ in 0..2000 {
        let answer = client.post(format!("{}/v1/classify", server.url)).body(photo()).send().await;
        assert_eq!(answer.expect("an answer").status(), 200);
    }
    server.fill(&client).await;

    // The reader goes on, and finds whole lines, and then how many are missing.
    let mut line = String::new();
    let (mut lines, mut lost) = (0, None);
    while lost.is_none() {
        line.clear();
        assert!(server.log.read_line(&mut line).expect("a line") > 0, "the log ended");
        let said: serde_json::Value = serde_json::from_str(&line).expect("a whole line");
        lines += 1;
        if said["message"].as_str().is_some_and(|text| text.starts_with("lines of the log were dropped here")) {
            lost = said["lines"].as_f64();
        }
    }
    assert!(lines > 1000, "{lines}");
    assert_eq!(lost, Some(server.dropped(&client).await));
}

async fn a_clean_end_and_a_failed_start_are_told_whole() {
    let mut server = Logged::start("info").await;
    server.terminate();
    let mut rest = String::new();
    server.log.read_to_string(&mut rest).expect("the log");
    assert!(server.child.wait().expect("it ends").success());
    let last = rest.lines().last().expect("a line");
    assert!(last.contains("\"stopped\""), "{rest}");

    let mut serve = ounce();
    serve.env("OUNCE_ADMIN_LISTEN", "");
    let output = serve.args(["serve", "--listen", "127.0.0.1:0", "--models", "nowhere"]).output().expect("it starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(told.contains("listening") && told.contains("ounce: nothing is served"), "{told}");
}

async fn an_end_does_not_wait_for_a_reader_that_stalls() {
    let mut server = Logged::start("info").await;
    let client = reqwest::Client::new();
    server.fill(&client).await;
    server.terminate();
    assert!(ended(&mut server.child).await.success());
}
