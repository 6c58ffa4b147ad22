//! Every dollar is on an account, and no request pays for another.

use std::{
    collections::BTreeMap,
    fs,
    ops::RangeInclusive,
    path::Path,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};

use crate::harness::{Process, photo, root, sum};

tests![
    all_accounts_are_the_price_times_the_time_and_the_answers_are_the_account_of_requests,
    a_heavier_variant_costs_as_much_more_as_it_takes
];

/// As exactly as the system tells what a process has used: two counts, at the beginning and at the end.
const HUNDREDTHS: f64 = 0.04;

/// Three tenants: two by their keys, and all others.
const TENANTS: [(&str, Option<&str>); 3] = [("acme", Some("k-acme")), ("bob", Some("k-bob")), ("default", Some("k-x"))];

/// A dollar a second, so that dollars are seconds.
const SETTINGS: [(&str, &str); 3] = [
    ("OUNCE_COST__USD_PER_HOUR", "3600"),
    ("OUNCE_TENANTS__ACME__API_KEYS", "k-acme,k-acme-old"),
    ("OUNCE_TENANTS__BOB__API_KEYS", "k-bob"),
];

/// The numbers of a server, and moments between which they were told: what is asserted of them holds however long a busy
/// machine took to ask.
struct Reading {
    metrics: BTreeMap<String, f64>,
    /// Just before and after it was asked: the time, and the CPU seconds that it had used.
    around: [(Instant, f64); 2],
}

impl Reading {
    async fn of(server: &Process) -> Self {
        let now = || (Instant::now(), server.cpu_seconds());
        let before = now();
        let metrics = server.metrics().await;
        Self { metrics, around: [before, now()] }
    }

    /// The least and the most time that can have passed between the two, and the CPU seconds.
    fn since(&self, earlier: &Self) -> (RangeInclusive<f64>, RangeInclusive<f64>) {
        let ([from, to], [earliest, latest]) = (self.around, earlier.around);
        let seconds = (from.0 - latest.0).as_secs_f64()..=(to.0 - earliest.0).as_secs_f64();
        (seconds, from.1 - latest.1..=to.1 - earliest.1)
    }
}

/// The shipped models in a folder of our own.
fn copies() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("tempdir");
    for model in ["pedestrian", "pedestrian-presence"] {
        copy(&root().join("models").join(model), &folder.path().join(model));
    }
    folder
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("mkdir");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("copy");
        }
    }
}

/// One request: detect or classify, whole or torn. What it cost, where it was answered.
async fn ask(server: &Process, number: usize) -> Option<f64> {
    let (_, key) = TENANTS[number % TENANTS.len()];
    let path = if number.is_multiple_of(4) { "/v1/classify" } else { "/v1/detect" };
    let mut image = photo();
    // A torn one is found out when it is decoded, and that costs, too.
    if number % 50 == 49 {
        image.truncate(image.len() * 2 / 3);
    }
    let mut request = server.client.post(format!("{}{path}", server.url)).body(image);
    request = match key {
        Some(key) if number.is_multiple_of(2) => request.header("authorization", format!("Bearer {key}")),
        Some(key) => request.header("x-api-key", key),
        None => request,
    };
    let response = request.send().await.expect("the server answers");
    let answered = response.status() == 200;
    let answer: Value = response.json().await.expect("JSON");
    assert_eq!(answered, number % 50 != 49, "{answer}");
    answered.then(|| answer["cost"]["usd"].as_f64().expect("dollars"))
}

async fn all_accounts_are_the_price_times_the_time_and_the_answers_are_the_account_of_requests() {
    const REQUESTS: usize = 1_000;
    let models = copies();
    let server = Process::start(models.path(), &SETTINGS).await;
    let first = Reading::of(&server).await;
    let mut told: BTreeMap<&str, f64> = BTreeMap::new();
    // In five rushes with nothing between them, and a reload in the middle of one.
    for rush in 0..5 {
        let numbers = rush * REQUESTS / 5..(rush + 1) * REQUESTS / 5;
        let asked = stream::iter(numbers).map(|number| {
            let server = &server;
            async move { (number, ask(server, number).await) }
        });
        let asking = asked.buffer_unordered(8).collect::<Vec<_>>();
        let reload = async {
            if rush == 2 {
                let url = format!("{}/v2/repository/models/pedestrian/load", server.url);
                assert_eq!(server.client.post(url).send().await.expect("an answer").status(), 200);
            }
        };
        let (answers, ()) = tokio::join!(asking, reload);
        for (number, usd) in answers {
            *told.entry(TENANTS[number % TENANTS.len()].0).or_default() += usd.unwrap_or_default();
        }
        // The next one finds it idle.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let last = Reading::of(&server).await;

    let spent = |labels: &[&str]| {
        let of = |series| sum(series, "ounce_cost_usd_total", labels);
        of(&last.metrics) - of(&first.metrics)
    };
    let all = spent(&[]);
    let (seconds, cpu_seconds) = last.since(&first);
    // One in a hundred: what goes on while the books are balanced is on two accounts until it has ended.
    let expected = seconds.start() * 0.99..=seconds.end() * 1.01;
    assert!(expected.contains(&all), "{all} dollars in {seconds:?} seconds at a dollar a second");
    for (tenant, told) in &told {
        let booked = spent(&["account=\"request\"", &format!("tenant=\"{tenant}\"")]);
        assert!((booked / told - 1.0).abs() < 0.001, "{tenant}: {booked} booked, {told} told");
    }
    let tenants: f64 = told.keys().map(|tenant| spent(&["request", &format!("tenant=\"{tenant}\"")])).sum();
    assert!((tenants / spent(&["account=\"request\""]) - 1.0).abs() < 1e-9, "no other tenant");

    // Idle time by another clock: what the system says that the process left of its CPUs.
    let cpus = sum(&last.metrics, "ounce_capacity_cpus", &[]);
    let idle = seconds.start() - cpu_seconds.end() / cpus..=seconds.end() - cpu_seconds.start() / cpus;
    let booked = spent(&["account=\"idle\""]);
    // It counts in hundredths of a second.
    let expected = idle.start() - HUNDREDTHS..=idle.end() + HUNDREDTHS;
    assert!(expected.contains(&booked), "{booked} booked, {idle:?} by the system's count");
    for account in ["request", "unanswered", "overhead", "idle", "reload"] {
        assert!(spent(&[&format!("account=\"{account}\"")]) > 0.0, "{account}");
    }
    assert!(sum(&first.metrics, "ounce_cost_usd_total", &["warmup"]) > 0.0);
    let share = |account: &str| 100.0 * spent(&[account]) / all;
    println!(
        "of {all:.3} dollars: requests {:.1} %, unanswered {:.2} %, reload {:.2} %, overhead {:.1} %, idle {:.1} %",
        share("\"request\""),
        share("\"unanswered\""),
        share("\"reload\""),
        share("\"overhead\""),
        share("\"idle\"")
    );
}

async fn a_heavier_variant_costs_as_much_more_as_it_takes() {
    let server = Process::start(&root().join("models"), &SETTINGS).await;
    // Many images a request, so that little of what the process uses is for sockets and JSON.
    let images: Vec<String> = (0..16).map(|_| base64(&photo())).collect();
    let model = server.client.get(format!("{}/v1/models/pedestrian", server.url)).send().await.expect("an answer");
    let model: Value = model.json().await.expect("JSON");
    let ask = async |variant: &str| {
        let input = json!({"name": model["inputs"][0]["name"], "datatype": "BYTES", "shape": [16], "data": images});
        let wanted = json!([{"name": model["outputs"][0]["name"], "parameters": {"binary_data": true}}]);
        let body = json!({"inputs": [input], "outputs": wanted, "parameters": {"variant": variant}});
        let url = format!("{}/v2/models/pedestrian/infer", server.url);
        let response = server.client.post(url).json(&body).send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        let length: usize =
            response.headers()["inference-header-content-length"].to_str().expect("text").parse().expect("n");
        let bytes = response.bytes().await.expect("a body");
        let answer: Value = serde_json::from_slice(&bytes[..length]).expect("JSON");
        answer["parameters"]["cost_usd"].as_f64().expect("dollars")
    };
    // In turn, so that a busy moment of the machine strikes both; the system counts in hundredths of a second.
    let mut usd = [0.0; 2];
    let mut cpu = [0.0; 2];
    for turn in 0..12 {
        let which = turn % 2;
        let before = server.cpu_seconds();
        for _ in 0..10 {
            usd[which] += ask(["int8", "fp32"][which]).await;
        }
        cpu[which] += server.cpu_seconds() - before;
    }
    let (dearer, longer) = (usd[1] / usd[0], cpu[1] / cpu[0]);
    println!("fp32 over int8: {dearer:.3} times the cost, {longer:.3} times the CPU time by the system's count");
    // Which of the two is the heavier one is the machine's business.
    assert!((dearer / longer - 1.0).abs() < 0.1, "{dearer} times the cost, {longer} times the CPU time");
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
