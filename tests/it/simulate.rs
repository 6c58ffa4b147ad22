//! A day on paper, from the command line: by what a server has learned, or by a number of one's own.

use std::process::Output;

use serde_json::Value;

use crate::harness::{Process, is_chart, ounce, photo, root, until};

tests![
    a_day_for_ten_thousand_replicas_is_a_matter_of_a_moment,
    a_server_says_what_it_has_learned,
    what_cannot_be_read_is_said
];

fn simulate(arguments: &[&str]) -> Output {
    ounce().arg("simulate").args(arguments).output().expect("the binary starts")
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

fn outcomes(output: &Output) -> Vec<Value> {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| unreachable!("{}", told(output)));
    report["outcomes"].as_array().expect("outcomes").clone()
}

fn a_day_for_ten_thousand_replicas_is_a_matter_of_a_moment() {
    let folder = tempfile::tempdir().expect("tempdir");
    let chart = folder.path().join("day.svg");
    let drawn = simulate(&["--capacity", "300", "--peak", "2400000", "-o", &chart.to_string_lossy()]);
    assert!(drawn.status.success(), "{}", told(&drawn));
    assert!(is_chart(&chart), "an SVG file");
    let day = outcomes(&simulate(&["--capacity", "300", "--peak", "2400000", "--json"]));
    let [fixed, .., ounce] = &day[..] else { unreachable!("{day:?}") };
    assert_eq!(fixed["replicas"][2], 10_000);
    let usd = |outcome: &Value| outcome["usd_per_day"].as_f64().expect("dollars");
    assert!(usd(ounce) < 0.5 * usd(fixed), "{day:?}");
}

async fn a_server_says_what_it_has_learned() {
    let server = Process::start(&root().join("models"), &[("OUNCE_COST__USD_PER_HOUR", "2.5")]).await;
    let nothing = simulate(&["--url", &server.url, "--peak", "100"]);
    assert!(told(&nothing).contains("has answered nothing yet"), "{}", told(&nothing));
    until("it knows what it can give", async || {
        let classified = server.client.post(format!("{}/v1/classify", server.url)).body(photo()).send().await;
        assert_eq!(classified.expect("an answer").status(), 200);
        let answer = server.client.post(format!("{}/v1/detect", server.url)).body(photo()).send().await;
        assert_eq!(answer.expect("an answer").status(), 200);
        server.metrics().await.keys().filter(|name| name.starts_with("ounce_capacity_per_second")).count() == 2
    })
    .await;
    let two = simulate(&["--url", &server.url, "--peak", "100"]);
    assert_eq!(two.status.code(), Some(1));
    assert!(told(&two).contains("--model") && told(&two).contains("pedestrian"), "{}", told(&two));
    let day = outcomes(&simulate(&["--url", &server.url, "--model", "pedestrian", "--peak", "1", "--json"]));
    // One replica is enough, all day.
    assert_eq!(day[0]["usd_per_day"], 60.0, "{day:?}");
}

fn what_cannot_be_read_is_said() {
    let folder = tempfile::tempdir().expect("tempdir");
    let trace = folder.path().join("trace.csv");
    std::fs::write(&trace, "seconds,rate\n0,10\nsixty,20\n").expect("written");
    let refused = simulate(&["--capacity", "300", "--trace", &trace.to_string_lossy()]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(told(&refused).contains("line 3: \"sixty,20\" is not as in `60,120.5`"), "{}", told(&refused));
    let nowhere = simulate(&["--url", "http://127.0.0.1:1", "--peak", "10"]);
    assert!(told(&nowhere).contains("http://127.0.0.1:1/metrics does not answer"), "{}", told(&nowhere));
    assert!(told(&simulate(&["--peak", "10"])).contains("--url"));
    let crossed = simulate(&["--capacity", "300", "--peak", "10", "--min-replicas", "5", "--max-replicas", "3"]);
    assert!(told(&crossed).contains("--min-replicas 5 is more than --max-replicas 3"), "{}", told(&crossed));
}
