//! The server starts honestly and goes away without losing a request.

use std::{io::BufReader, process::Stdio, time::Duration};

use crate::harness::{Process, Server, listens, ounce, photo, ready, root};

tests![
    while_it_drains_it_says_so_and_still_answers,
    metrics_move_to_the_admin_port_when_there_is_one,
    a_missing_folder_ends_the_start_with_what_to_do,
    a_reader_of_the_log_may_go_away,
    nothing_is_told_to_the_makers_of_the_runtime,
    memory_is_given_back_unless_the_operator_says_otherwise
];

async fn while_it_drains_it_says_so_and_still_answers() {
    let server = Server::start(&root().join("models"), &[("OUNCE_SHUTDOWN__DRAIN_DELAY_MS", "4000")]).await;
    let (client, url) = (server.client.clone(), server.url.clone());
    let ending = std::thread::spawn(move || server.end());
    let ready = loop {
        let response = client.get(format!("{url}/readyz")).send().await.expect("still there");
        if response.status() != 200 {
            break response;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(ready.status(), 503);
    assert!(ready.headers().contains_key("retry-after"));
    let answer = client.post(format!("{url}/v1/detect")).body(photo()).send().await.expect("still there");
    assert_eq!(answer.status(), 200, "a request in the drain delay is answered");
    ending.join().expect("no panic").expect("a clean end");
    assert!(client.get(format!("{url}/livez")).send().await.is_err(), "nobody listens any more");
}

async fn metrics_move_to_the_admin_port_when_there_is_one() {
    let server = Server::start(&root().join("models"), &[("OUNCE_ADMIN_LISTEN", "127.0.0.1:0")]).await;
    assert_eq!(server.get("/metrics").await.0, 404);
}

async fn a_missing_folder_ends_the_start_with_what_to_do() {
    let reason = Server::try_start(&root().join("nowhere"), &[]).await.expect_err("refused");
    assert!(reason.contains("nowhere") && reason.contains("OUNCE_MODELS"), "{reason}");
}

async fn a_reader_of_the_log_may_go_away() {
    let mut serve = ounce();
    serve.env("OUNCE_LOG__FORMAT", "json").args(["serve", "--log", "info", "--listen", "127.0.0.1:0"]);
    let mut server = serve.stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut log = BufReader::new(server.stderr.take().expect("piped"));
    let address = listens(&mut log);
    // From now on every line of the log meets a closed pipe.
    drop(log);
    ready(&format!("http://{address}")).await;
    assert!(server.try_wait().expect("a state").is_none(), "it lives");
    server.kill().and_then(|()| server.wait()).expect("it ends");
}

async fn nothing_is_told_to_the_makers_of_the_runtime() {
    let mut serve = ounce();
    serve.env_remove("ORT_DISABLE_TELEMETRY").args(["serve", "--listen", "127.0.0.1:0"]);
    let server = Process::run(serve);
    server.ready().await;
    assert!(variables(&server).contains(&"ORT_DISABLE_TELEMETRY=1".to_owned()));
}

async fn memory_is_given_back_unless_the_operator_says_otherwise() {
    let mut serve = ounce();
    serve.env("ORT_DISABLE_TELEMETRY", "1").env("MALLOC_ARENA_MAX", "7").env_remove("MALLOC_TRIM_THRESHOLD_");
    serve.args(["serve", "--listen", "127.0.0.1:0"]);
    let server = Process::run(serve);
    server.ready().await;
    let variables = variables(&server);
    for wanted in ["ORT_DISABLE_TELEMETRY=1", "MALLOC_ARENA_MAX=7", "MALLOC_TRIM_THRESHOLD_=4194304"] {
        assert!(variables.contains(&wanted.to_owned()), "{wanted}: {variables:?}");
    }
}

/// The environment that a process has begun with.
fn variables(server: &Process) -> Vec<String> {
    let all = std::fs::read(format!("/proc/{}/environ", server.child.id())).expect("Linux");
    all.split(|byte| *byte == 0).map(|variable| String::from_utf8_lossy(variable).into_owned()).collect()
}
