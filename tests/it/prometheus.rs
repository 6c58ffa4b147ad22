//! A real Prometheus reads the metrics: it finds nothing to mend in them, and they answer the five questions of docs/metrics.md.

use std::{io::Write, process::Stdio};

use crate::{
    harness::{root, until},
    scraped::{Prometheus, client_that_goes_away, metrics, program, server, traffic},
};

tests![promtool_finds_nothing_to_mend, the_five_questions_of_the_docs_have_answers];

async fn promtool_finds_nothing_to_mend() {
    let mut promtool = program("promtool");
    let server = server().await;
    traffic(&server).await;
    client_that_goes_away(&server).await;

    let text = metrics(&server).await;
    let mut check = promtool.args(["check", "metrics"]);
    check = check.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().expect("it starts");
    check.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
    let said = check.wait_with_output().expect("it ends");
    let all = [said.stdout, said.stderr].concat();
    assert_eq!((said.status.code(), String::from_utf8_lossy(&all).as_ref()), (Some(0), ""), "{text}");
}

/// The queries of docs/metrics.md: those of the block under the heading, each after a comment that says what it asks.
fn questions() -> Vec<String> {
    let page = std::fs::read_to_string(root().join("docs/metrics.md")).expect("the page");
    let (_, section) = page.split_once("## Five questions for Prometheus").expect("the heading");
    let (_, block) = section.split_once("```promql\n").expect("the block");
    let (block, _) = block.split_once("```").expect("its end");
    block.split("# ").skip(1).filter_map(|question| Some(question.split_once('\n')?.1.trim().to_owned())).collect()
}

async fn the_five_questions_of_the_docs_have_answers() {
    let questions = questions();
    assert_eq!(questions.len(), 5, "{questions:?}");
    let server = server().await;
    let prometheus = Prometheus::start(&server, None).await;
    for question in questions {
        until(&question, async || {
            traffic(&server).await;
            prometheus.ask(&server.client, &question).await.iter().any(|number| number.is_finite())
        })
        .await;
    }
}
