//! Three replicas behind HAProxy and nginx, with the files that k8s/balancer has for them: no client notices a restart.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use serde_json::Value;
use tokio::task::JoinSet;

use crate::harness::{
    Process, ended, free_port, on_a_free_port, only, ounce, photo, png, program, root, series, sum, until,
};

tests![
    behind_haproxy_nobody_notices_restarts_nor_a_replica_that_dies,
    behind_nginx_nobody_notices_restarts_nor_a_replica_that_dies,
    behind_haproxy_without_retries_a_dead_replicas_requests_fail_and_no_others,
    behind_nginx_without_retries_a_dead_replicas_requests_fail_and_no_others,
    haproxy_passes_refusals_on,
    nginx_passes_refusals_on
];

/// Requests that are under way at any time.
const CLIENTS: usize = 6;

/// A replica that can be killed and comes back where it was.
struct Replica {
    port: u16,
    models: tempfile::TempDir,
    settings: Vec<(&'static str, &'static str)>,
    process: Process,
}

impl Replica {
    fn start(settings: &[(&'static str, &'static str)]) -> Self {
        // Longer than HAProxy needs to notice that it is not ready, which is a second.
        let drain = [("OUNCE_SHUTDOWN__DRAIN_DELAY_MS", "3000")];
        let models = only(&["vww-person"]);
        let settings: Vec<_> = drain.into_iter().chain(settings.iter().copied()).collect();
        let process = Self::run(0, models.path(), &settings);
        Self { port: process.address.port(), models, settings, process }
    }

    fn run(port: u16, models: &Path, settings: &[(&str, &str)]) -> Process {
        let mut command = ounce();
        command.args(["serve", "--listen", &format!("127.0.0.1:{port}"), "--models"]).arg(models);
        command.envs(settings.iter().copied());
        Process::run(command)
    }

    /// Where the balancer expects it.
    fn again(&mut self) {
        self.process = Self::run(self.port, self.models.path(), &self.settings);
    }

    /// Asks it to end and waits until it has.
    async fn drain(&mut self) {
        self.process.signal("-TERM");
        assert!(ended(&mut self.process.child).await.success());
    }

    /// The sum of the series of a metric; 0 while there is none.
    async fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let Ok(response) = reqwest::get(format!("http://127.0.0.1:{}/metrics", self.port)).await else { return 0.0 };
        response.text().await.map_or(0.0, |text| sum(&series(&text), name, labels))
    }

    /// Waits until the balancer gives it requests.
    async fn until_it_answers(&self) {
        until("it has answered", async || self.metric("ounce_requests_total", &["outcome=\"ok\""]).await >= 3.0).await;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    HaProxy,
    Nginx,
}

/// A balancer with its example file, in which names and ports are replaced; it ends when dropped.
struct Balancer {
    url: String,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Balancer {
    /// Where the program is not installed, the test is ignored.
    async fn start(kind: Kind, replicas: &[Replica], retries: bool) -> Self {
        let (name, file) = match kind {
            Kind::HaProxy => ("haproxy", "haproxy.cfg"),
            Kind::Nginx => ("nginx", "nginx.conf"),
        };
        let folder = tempfile::tempdir().expect("tempdir");
        let target = folder.path().join(file);
        let example = std::fs::read_to_string(root().join("k8s/balancer").join(file)).expect("the example");
        let ports: Vec<_> = replicas.iter().map(|replica| replica.port).collect();
        let start = |port| {
            let text = match kind {
                Kind::HaProxy => haproxy(&example, port, &ports, retries),
                Kind::Nginx => nginx(&example, port, &ports, retries, folder.path()),
            };
            std::fs::write(&target, text).expect("write");
            let mut command = program(name, "REQUIRE_BALANCERS", "Debian has it in the package of that name");
            let command = match kind {
                Kind::HaProxy => command.arg("-db").arg("-f").arg(&target),
                // Its workers are to read the folder, which is ours alone.
                Kind::Nginx => command.arg("-c").arg(&target).args(["-g", "daemon off; user root;"]),
            };
            command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts")
        };
        let has_a_replica = async |port| {
            let answer = reqwest::get(format!("http://127.0.0.1:{port}/readyz")).await;
            answer.is_ok_and(|answer| answer.status() == 200)
        };
        let (port, process) = on_a_free_port(start, has_a_replica).await;
        Self { url: format!("http://127.0.0.1:{port}"), process, _folder: folder }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // Asked to, nginx ends its workers as well.
        let asked = Command::new("kill").arg(self.process.id().to_string()).status();
        let _ = asked.and_then(|_| self.process.wait());
    }
}

/// The text with one thing replaced, which must be there.
fn with(text: &str, old: &str, new: &str) -> String {
    assert_eq!(text.matches(old).count(), 1, "{old}");
    text.replacen(old, new, 1)
}

fn haproxy(example: &str, port: u16, replicas: &[u16], retries: bool) -> String {
    let text = with(example, "bind :8080", &format!("bind 127.0.0.1:{port}"));
    let text = with(&text, "bind :8404", &format!("bind 127.0.0.1:{}", free_port()));
    let servers: String = replicas.iter().map(|port| format!("server ounce-{port} 127.0.0.1:{port}\n    ")).collect();
    let text = with(
        &text,
        r#"server-template ounce- 1-32 "${OUNCE_REPLICAS-ounce}:8080" resolvers names init-addr none"#,
        &servers,
    );
    let text = with(&text, "log stdout format raw local0", "");
    // Without: what could not be sent at all is still sent elsewhere, as is HAProxy's habit.
    if retries { text } else { with(&text, "conn-failure empty-response", "conn-failure") }
}

fn nginx(example: &str, port: u16, replicas: &[u16], retries: bool, folder: &Path) -> String {
    let mut text = with(example, "listen 8080", &format!("listen 127.0.0.1:{port}"));
    for (place, port) in replicas.iter().enumerate() {
        text = with(&text, &format!("server ounce-{}:8080", place + 1), &format!("server 127.0.0.1:{port}"));
    }
    let folder = folder.display();
    let kept = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(|of| format!("{of}_temp_path {folder}/{of};"));
    let text = with(&text, "http {\n", &format!("pid {folder}/pid;\nhttp {{\n{}\n", kept.concat()));
    let text = with(&text, "access_log /dev/stdout ounce", "access_log off");
    if retries { text } else { with(&text, "error timeout non_idempotent http_503;", "error timeout;") }
}

/// An image of several hundred kilobytes: noise, which does not compress.
fn large() -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    let noise = image::RgbImage::from_fn(400, 320, |_, _| image::Rgb([(); 3].map(|()| random.u8(..))));
    let image = png(&noise);
    assert!((300_000..500_000).contains(&image.len()), "{}", image.len());
    image
}

/// Where the story stood when a request began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Before,
    /// A replica had been killed. Until the system has taken its sockets away and the balancer has seen that, requests are still sent to it.
    Dying,
    Gone,
}

/// What went wrong with a request.
#[derive(Debug, PartialEq, Eq)]
struct Failure {
    began: When,
    why: String,
}

/// Clients that ask on and on, one in six of them with a large image.
struct Load {
    /// How many answers each has had.
    answers: Arc<Vec<AtomicUsize>>,
    enough: Arc<AtomicBool>,
    now: Arc<Mutex<When>>,
    clients: JoinSet<Vec<Failure>>,
}

impl Load {
    fn start(url: &str) -> Self {
        let answers: Arc<Vec<AtomicUsize>> = Arc::new((0..CLIENTS).map(|_| AtomicUsize::new(0)).collect());
        let (enough, now) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(When::Before)));
        let mut clients = JoinSet::new();
        for place in 0..CLIENTS {
            let (answers, enough) = (Arc::clone(&answers), Arc::clone(&enough));
            let now = Arc::clone(&now);
            let (image, client) = (if place == 0 { large() } else { photo() }, reqwest::Client::new());
            let url = format!("{url}/v1/classify");
            clients.spawn(async move {
                let mut failures = Vec::new();
                while !enough.load(Ordering::Relaxed) {
                    let began = *now.lock().expect("no panic");
                    let mut fail = |why| failures.push(Failure { began, why });
                    match client.post(&url).body(image.clone()).send().await {
                        Ok(answer) if answer.status() == 200 => {
                            let answer: Result<Value, _> = answer.json().await;
                            assert!(answer.expect("JSON")["classes"].is_array());
                        }
                        Ok(answer) => fail(answer.status().to_string()),
                        Err(error) => fail(format!("{error:?}")),
                    }
                    answers[place].fetch_add(1, Ordering::Relaxed);
                }
                failures
            });
        }
        Self { answers, enough, now, clients }
    }

    fn counts(&self) -> Vec<usize> {
        self.answers.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// Waits for so many more answers, and tells how many clients have had none of them.
    async fn more(&self, wanted: usize) -> usize {
        let before = self.counts();
        let had: usize = before.iter().sum();
        until("they go on", async || self.counts().iter().sum::<usize>() >= had + wanted).await;
        self.counts().iter().zip(before).filter(|(now, before)| **now == *before).count()
    }

    /// From now on, requests begin then.
    fn now(&self, now: When) {
        *self.now.lock().expect("no panic") = now;
    }

    /// What went wrong.
    async fn end(self) -> Vec<Failure> {
        self.enough.store(true, Ordering::Relaxed);
        self.clients.join_all().await.into_iter().flatten().collect()
    }
}

/// Three replicas that are ready.
async fn three_replicas(settings: &[(&'static str, &'static str)]) -> Vec<Replica> {
    let replicas: Vec<_> = (0..3).map(|_| Replica::start(settings)).collect();
    for replica in &replicas {
        replica.process.ready().await;
    }
    replicas
}

/// What goes wrong while three replicas are restarted one after another and one is taken away; then, while one is killed
/// that had stood still, and how many requests it had.
async fn story(kind: Kind, retries: bool) -> (Vec<Failure>, Vec<Failure>, usize) {
    let mut replicas = three_replicas(&[]).await;
    let balancer = Balancer::start(kind, &replicas, retries).await;

    let load = Load::start(&balancer.url);
    for replica in &replicas {
        replica.until_it_answers().await;
    }
    for replica in &mut replicas {
        replica.drain().await;
        replica.again();
        replica.until_it_answers().await;
    }
    // One goes for good; it is as if the number of replicas were lowered.
    replicas[0].drain().await;
    load.more(30).await;
    let graceful = load.end().await;

    replicas[0].again();
    let load = Load::start(&balancer.url);
    for replica in &replicas {
        replica.until_it_answers().await;
    }
    // Who has no answer while the others have many waits for the replica that stands still.
    replicas[1].process.signal("-STOP");
    until("it has a request", async || load.more(10).await > 0).await;
    load.more(50).await;
    let waiting = load.more(50).await;
    load.now(When::Dying);
    replicas[1].process.kill();
    // The balancer hears of closed sockets when it next looks: it has, once it has answered everybody again.
    load.more(12).await;
    load.now(When::Gone);
    load.more(50).await;
    replicas[1].again();
    replicas[1].until_it_answers().await;
    if retries {
        // And one that was at work.
        replicas[2].process.kill();
        load.more(50).await;
    }
    let abrupt = load.end().await;
    (graceful, abrupt, waiting)
}

/// With retries nobody notices anything.
async fn nobody_notices(kind: Kind) {
    let (graceful, abrupt, waiting) = story(kind, true).await;
    assert!(waiting > 0, "the one that was killed had a request");
    assert_eq!((graceful, abrupt), (Vec::new(), Vec::new()));
}

/// Without, only those do whose request the killed replica had, or was sent while it was dying.
async fn only_the_killed_ones_requests_fail(kind: Kind) {
    let (mut graceful, mut abrupt, waiting) = story(kind, false).await;
    if kind == Kind::Nginx {
        // It does not know that a replica is still loading, and passes on that it says so.
        let torn = |failure: &Failure| !failure.why.starts_with("503");
        graceful.retain(torn);
        abrupt.retain(torn);
    }
    assert_eq!(graceful, [], "a restart tears nobody's request");
    let began = |when| abrupt.iter().filter(|failure| failure.began == when).count();
    assert!((1..=waiting).contains(&began(When::Before)), "it had {waiting} requests: {abrupt:?}");
    assert_eq!(began(When::Gone), 0, "nothing is lost to a replica that is gone: {abrupt:?}");
}

async fn behind_haproxy_nobody_notices_restarts_nor_a_replica_that_dies() {
    nobody_notices(Kind::HaProxy).await;
}

async fn behind_nginx_nobody_notices_restarts_nor_a_replica_that_dies() {
    nobody_notices(Kind::Nginx).await;
}

async fn behind_haproxy_without_retries_a_dead_replicas_requests_fail_and_no_others() {
    only_the_killed_ones_requests_fail(Kind::HaProxy).await;
}

async fn behind_nginx_without_retries_a_dead_replicas_requests_fail_and_no_others() {
    only_the_killed_ones_requests_fail(Kind::Nginx).await;
}

/// A refusal for want of room or money reaches the client as it is, and costs no other replica anything.
async fn refusals_are_passed_on(kind: Kind) {
    let replicas = three_replicas(&[("OUNCE_COST__BUDGET_USD_PER_HOUR", "0")]).await;
    let balancer = Balancer::start(kind, &replicas, true).await;
    let request = reqwest::Client::new().post(format!("{}/v1/classify", balancer.url)).body(photo());
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let request =
        request.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01")).header("x-request-id", "mine");
    let answer = request.send().await.expect("an answer");
    assert_eq!((answer.status().as_u16(), &answer.headers()["x-request-id"]), (429, &"mine".parse().expect("a value")));
    assert!(answer.headers()["traceparent"].to_str().is_ok_and(|ours| ours.contains(trace)));
    assert!(answer.headers().contains_key("retry-after"));
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let mut refused = 0.0;
    for replica in &replicas {
        refused += replica.metric("ounce_refused_total", &[]).await;
    }
    assert_eq!(refused, 1.0, "it was asked of one replica, once");
}

async fn haproxy_passes_refusals_on() {
    refusals_are_passed_on(Kind::HaProxy).await;
}

async fn nginx_passes_refusals_on() {
    refusals_are_passed_on(Kind::Nginx).await;
}
