//! `ounce bench` loads a server, and tells what it showed: counts, rates, latencies, prices.

use std::process::Output;

use serde_json::Value;

use crate::harness::{Nobody, Server, is_chart, only, ounce, photo, root};

tests![
    a_server_is_measured_by_closed_and_by_open_loops,
    a_sweep_offers_fractions_of_what_it_found,
    refusals_are_counted_apart,
    what_cannot_be_measured_is_told_in_a_sentence
];

async fn bench(url: &str, more: &[&str]) -> Output {
    let (url, more): (String, Vec<String>) = (url.to_owned(), more.iter().map(|arg| (*arg).to_owned()).collect());
    let short = ["--duration", "300ms", "--warmup", "50ms"];
    let run = move || ounce().args(["bench", &url]).args(short).args(more).output().expect("the binary");
    tokio::task::spawn_blocking(run).await.expect("no panic")
}

fn json(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&text).expect("JSON")
}

fn said(output: &Output, code: i32) -> String {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn count(step: &Value, what: &str) -> u64 {
    assert!(step[what].is_u64(), "{what}: {step}");
    step[what].as_u64().unwrap_or_default()
}

async fn a_server_is_measured_by_closed_and_by_open_loops() {
    let server = Server::start(&root().join("models"), &[]).await;
    let folder = tempfile::tempdir().expect("tempdir");
    std::fs::write(folder.path().join("photo.png"), photo()).expect("written");
    let (chart, images) = (folder.path().join("chart.svg"), folder.path().display().to_string());
    let more = ["--picture", &images, "--connections", "1,2", "-o", chart.to_str().expect("a path")];
    let table = bench(&server.url, &more).await;
    let text = String::from_utf8_lossy(&table.stdout);
    println!("{text}");
    assert!(table.status.success(), "{table:?}");
    for expected in ["/v1/detect, 1 picture of", "closed loop", "goodput/s", "\n1 connection ", "\n2 connections "] {
        assert!(text.contains(expected), "{expected}: {text}");
    }
    assert!(table.stderr.is_empty(), "no progress where nobody watches");
    assert!(is_chart(&chart), "an SVG file");

    let more = ["--rate", "40,80", "--json", "--slo-p99", "30s", "-o", chart.to_str().expect("a path")];
    let report = json(&bench(&format!("{}/v1/detect?min_score=0.5&variant=int8", server.url), &more).await);
    assert!(is_chart(&chart), "an SVG file");
    assert_eq!((&report["generated_picture"], &report["slo_p99_ms"]), (&true.into(), &30_000.0.into()), "{report}");
    assert!(
        report["url"].as_str().is_some_and(|url| url.ends_with("/v1/detect?min_score=0.5&variant=int8")),
        "{report}"
    );
    let steps = report["steps"].as_array().expect("steps");
    let offered: Vec<_> = steps.iter().map(|step| (&step["loop"], &step["rate_per_s"])).collect();
    assert_eq!(offered, [(&"open".into(), &40.0.into()), (&"open".into(), &80.0.into())]);
    for step in steps {
        assert!(count(step, "answered") > 0 && count(step, "answered") == count(step, "sent"), "{step}");
        assert_eq!(count(&step["variants"], "int8"), count(step, "answered"), "{step}");
        let number = |name: &str| step[name].as_f64().unwrap_or_else(|| panic!("{name}: {step}"));
        assert!(number("usd_per_million") > 0.0 && number("send_lag_p99_ms") >= 0.0);
        let quantiles = ["p50_ms", "p90_ms", "p99_ms", "p99_9_ms", "max_ms"].map(number);
        assert!(quantiles[0] > 0.0 && quantiles.is_sorted(), "{step}");
        assert_eq!(number("answers_per_s"), number("goodput_per_s"), "within half a minute");
    }
}

async fn a_sweep_offers_fractions_of_what_it_found() {
    let server = Server::start(&root().join("models"), &[]).await;
    let more = ["--sweep", "--connections", "2", "--json", "--header", "x-request-id: mine"];
    let report = json(&bench(&server.url, &more).await);
    let capacity = report["capacity_per_s"].as_f64().expect("a number");
    let steps = report["steps"].as_array().expect("steps");
    assert_eq!((steps.len(), &steps[0]["loop"], &steps[0]["connections"]), (9, &"closed".into(), &2.into()));
    let share = |step: &Value| step["rate_per_s"].as_f64().expect("a rate") / capacity;
    assert!((share(&steps[1]) - 0.1).abs() < 1e-6 && (share(&steps[8]) - 1.5).abs() < 1e-6, "{report}");
}

async fn refusals_are_counted_apart() {
    let server = Server::start(only(&["person-192"]).path(), &[("OUNCE_REQUESTS__MAX_IN_FLIGHT", "1")]).await;
    let report = json(&bench(&server.url, &["--connections", "8", "--json"]).await);
    let step = &report["steps"][0];
    assert!(count(step, "refused") > 0, "{step}");
    assert_eq!(count(step, "sent"), count(step, "answered") + count(step, "refused"), "{step}");
    assert!(step["first_error"].as_str().is_some_and(|why| why.starts_with("429")), "{step}");
    assert_eq!(step["errors"], serde_json::json!({}));
}

async fn what_cannot_be_measured_is_told_in_a_sentence() {
    let server = Server::start(only(&["person-192"]).path(), &[]).await;
    let nobody = Nobody::new();
    let (gone, nowhere) = (format!("http://{}", nobody.address), format!("{}/v1/nowhere", server.url));
    let no_model = format!("{}/v1/detect?model=nobody", server.url);
    let cases: [(&str, &[&str], i32, &str); 10] = [
        (&gone, &[], 1, "connection refused"),
        (&nowhere, &[], 1, "404"),
        (&no_model, &[], 1, "nobody"),
        ("ftp://example.org", &[], 1, "does not begin with http:// or https://"),
        (
            "https://example.org",
            &["--cacert", "/nowhere"],
            1,
            "the authorities of /nowhere cannot be used: No such file",
        ),
        (&server.url, &["--picture", "nothing.jpg"], 1, "cannot read nothing.jpg"),
        (&server.url, &["--picture", "src"], 1, "there is no picture in src"),
        (&server.url, &["-o", "chart.jpg"], 1, "a .svg file"),
        (&server.url, &["--slo-p99", "50"], 2, "500ms, 10s or 2m"),
        (&server.url, &["--rate", "5", "--sweep"], 2, "cannot be used with"),
    ];
    for (url, more, code, expected) in cases {
        let sentence = said(&bench(url, more).await, code);
        assert!(sentence.contains(expected), "{url} {more:?}: {sentence}");
    }
    let text = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(text.path(), b"no picture").expect("written");
    let sentence = said(&bench(&server.url, &["--picture", text.path().to_str().expect("a path")]).await, 1);
    assert!(sentence.contains("nothing was answered: 4"), "{sentence}");
}
