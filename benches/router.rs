//! Raises the load to twice what the accurate variant can answer, with the router and without it: `cargo bench --bench
//! router`.
//!
//! The model is `tests/models/mobilenets`: two public classifiers of the same classes, of which the accurate one is far
//! slower. Poisson arrivals rise from half of its capacity to twice that, stay, and fall again, whether answers come or
//! not. Every request has a deadline of 100 ms, and one in ten also asks for an accuracy that only the accurate variant
//! has. In one run the router chooses, and in the other every request names the accurate variant. It draws
//! docs/router.svg and needs `../shared`.

mod server;

use std::{collections::BTreeMap, ffi::OsStr, fs, time::Duration};

use bytes::Bytes;
use ounce::tools::plot::{Axis, Chart, Reference, Series};
use reqwest::Client;
use tokio::{task::JoinSet, time::Instant};

use server::Server;

const DEADLINE_MS: u64 = 100;
/// Seconds in which the load rises.
const RISE: f64 = 15.0;
/// Seconds at the highest load.
const PEAK: f64 = 30.0;
/// Seconds in which the load falls.
const FALL: f64 = 15.0;
/// Seconds at the lowest load again.
const REST: f64 = 20.0;

#[derive(Debug, Clone)]
struct Answer {
    second: usize,
    strict: bool,
    in_time: bool,
    variant: Option<String>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let images = fs::read_dir("../shared/datasets/people/valid/images").expect("../shared is here");
    let first = images.flatten().map(|image| image.path()).min().expect("an image");
    let photo: Bytes = fs::read(first).expect("it can be read").into();
    let capacity = {
        let server = RouterServer::start().await;
        server.capacity(&photo).await
    };
    println!("the accurate variant alone answers {capacity:.0} a second");
    let mut chart = Chart::new(
        "twice what the accurate variant can answer, with the router and without",
        Axis::linear("seconds"),
        Axis::linear("a second"),
    );
    let seconds = (RISE + PEAK + FALL + REST) as usize;
    let offered = (0..=seconds).map(|second| (second as f64, capacity * load(second as f64))).collect();
    chart.series.push(Series::line("offered", offered));
    let mut in_time = Vec::new();
    for (name, query) in [("with the router", ""), ("without", "&variant=v2")] {
        let server = RouterServer::start().await;
        let outcomes = server.ramp(&photo, capacity, query).await;
        let good = |second: usize| outcomes.iter().filter(|o| o.second == second && o.in_time).count() as f64;
        let line = (0..seconds).map(|second| (second as f64 + 0.5, good(second))).collect();
        chart.series.push(Series::line(format!("in time {name}"), line));
        let mut variants: BTreeMap<String, usize> = BTreeMap::new();
        outcomes
            .iter()
            .filter_map(|o| o.variant.clone())
            .for_each(|variant| *variants.entry(variant).or_default() += 1);
        let all = outcomes.iter().filter(|o| o.in_time).count();
        let much = outcomes.iter().filter(|o| o.in_time && load(o.second as f64 + 0.5) > 1.0).count();
        in_time.push((all, much));
        println!("{name}: {all} of {} in time; answers by variant: {variants:?}", outcomes.len());
        if query.is_empty() {
            let accurate = |second: usize| {
                outcomes
                    .iter()
                    .filter(|o| o.second == second && o.in_time && o.variant.as_deref() == Some("v2"))
                    .count()
            };
            let line = (0..seconds).map(|second| (second as f64 + 0.5, accurate(second) as f64)).collect();
            chart.series.push(Series::line("of them by the accurate variant", line));
            let strict: Vec<_> = outcomes.iter().filter(|o| o.strict).collect();
            let kept = strict.iter().all(|o| o.variant.as_deref().is_none_or(|variant| variant == "v2"));
            let strict_in_time = strict.iter().filter(|o| o.in_time).count();
            println!(
                "  those that want more accuracy: {strict_in_time} of {} in time, floor kept: {kept}",
                strict.len()
            );
            let switches = server.metric("ounce_router_switches_total").await;
            println!("  switches: {switches} in {seconds} s, {:.1} a minute", switches * 60.0 / seconds as f64);
        }
    }
    let ratio = |of: &dyn Fn((usize, usize)) -> usize| of(in_time[0]) as f64 / of(in_time[1]) as f64;
    println!(
        "with the router {:.2} times the answers in time; {:.2} times while more come than the accurate variant can answer",
        ratio(&|(all, _)| all),
        ratio(&|(_, much)| much)
    );
    chart.across.push(Reference { at: capacity, label: "capacity of the accurate variant".to_owned() });
    fs::write("docs/router.svg", chart.svg().expect("a chart")).expect("docs/router.svg can be written");
}

/// Offered load at a second, relative to the accurate variant's capacity.
fn load(second: f64) -> f64 {
    let between = |share: f64| 0.5 + 1.5 * share.clamp(0.0, 1.0);
    if second < RISE + PEAK { between(second / RISE) } else { between(1.0 - (second - RISE - PEAK) / FALL) }
}

/// A server with the two classifiers, and a client for it.
struct RouterServer {
    server: Server,
    client: Client,
    _models: tempfile::TempDir,
}

impl RouterServer {
    async fn start() -> Self {
        let models = tempfile::tempdir().expect("a folder");
        let model = fs::canonicalize("tests/models/mobilenets").expect("the model");
        std::os::unix::fs::symlink(model, models.path().join("mobilenets")).expect("a link");
        let log = ["--log", "warn,ounce::inference::tick=info", "--models"].map(AsRef::<OsStr>::as_ref);
        let server = Server::start(log.into_iter().chain([models.path().as_os_str()])).await;
        Self { server, client: Client::new(), _models: models }
    }

    async fn metric(&self, name: &str) -> f64 {
        let text =
            reqwest::get(format!("{}/metrics", self.server.url)).await.expect("an answer").text().await.expect("text");
        let values = text.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit_once(' '));
        values.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
    }

    /// Capacity of the accurate variant in answers a second, by a closed loop with sixteen connections.
    async fn capacity(&self, photo: &Bytes) -> f64 {
        for seconds in [2.0, 6.0] {
            let begun = Instant::now();
            let mut clients = JoinSet::new();
            for _ in 0..16 {
                let post = self.client.post(format!("{}/v1/classify?variant=v2", self.server.url)).body(photo.clone());
                clients.spawn(async move {
                    let mut answers = 0;
                    while begun.elapsed().as_secs_f64() < seconds {
                        let response = post.try_clone().expect("bytes").send().await.expect("an answer");
                        answers += u32::from(response.status() == 200);
                        let _ = response.bytes().await;
                    }
                    answers
                });
            }
            let answers: u32 = clients.join_all().await.into_iter().sum();
            if seconds > 2.0 {
                return f64::from(answers) / begun.elapsed().as_secs_f64();
            }
        }
        0.0
    }

    /// Sends Poisson arrivals at the offered load, each when it is due.
    async fn ramp(&self, photo: &Bytes, capacity: f64, query: &str) -> Vec<Answer> {
        let mut random = fastrand::Rng::with_seed(42);
        let begun = Instant::now();
        let mut requests = JoinSet::new();
        let (mut due, mut number) = (0.0, 0u64);
        loop {
            due -= (1.0 - random.f64()).ln() / (capacity * load(due));
            if due > RISE + PEAK + FALL + REST {
                return requests.join_all().await;
            }
            tokio::time::sleep_until(begun + Duration::from_secs_f64(due)).await;
            number += 1;
            let strict = number.is_multiple_of(10);
            let floor = if strict && query.is_empty() { "&min_accuracy=0.8" } else { "" };
            let url = format!("{}/v1/classify?deadline_ms={DEADLINE_MS}{query}{floor}", self.server.url);
            let (request, due_at) = (self.client.post(url).body(photo.clone()), begun + Duration::from_secs_f64(due));
            requests.spawn(async move {
                let answered = match request.send().await {
                    Ok(response) if response.status() == 200 => response.bytes().await.ok(),
                    Ok(response) => response.bytes().await.ok().and(None),
                    Err(_) => None,
                };
                let in_time = answered.is_some() && due_at.elapsed() <= Duration::from_millis(DEADLINE_MS);
                let answer = answered.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
                let variant = answer.and_then(|answer| answer["variant"].as_str().map(ToOwned::to_owned));
                Answer { second: due as usize, strict, in_time, variant }
            });
        }
    }
}
