//! Starts servers on free ports, and finds what tests share.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Once,
    thread::JoinHandle,
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use ounce::{
    config::Layers,
    server::{self, Listeners},
};
use serde_json::Value;
use tokio::{net::TcpSocket, runtime::Runtime, sync::oneshot};

use crate::runner::ignore;

/// A running server; it is shut down when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

impl Server {
    /// Serves a folder of models, with settings as environment variables would give them.
    pub(crate) async fn start(models: &Path, settings: &[(&str, &str)]) -> Self {
        Self::try_start(models, settings).await.expect("the server starts")
    }

    /// As [`Server::start`], for servers that are meant to refuse.
    pub(crate) async fn try_start(models: &Path, settings: &[(&str, &str)]) -> Result<Self, String> {
        quiet();
        let models = ("OUNCE_MODELS".to_owned(), models.display().to_string());
        let port = ("OUNCE_LISTEN".to_owned(), "127.0.0.1:0".to_owned());
        // Only one server of a machine can have the admin port that is the default.
        let admin = ("OUNCE_ADMIN_LISTEN".to_owned(), String::new());
        let flavour = std::env::var_os("OUNCE_RUNTIME__FLAVOUR").map(|flavour| flavour.to_string_lossy().into_owned());
        let flavour = flavour.map(|flavour| ("OUNCE_RUNTIME__FLAVOUR".to_owned(), flavour));
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let layers = Layers::defaults()
            .and_then(|layers| layers.env([models, port, admin].into_iter().chain(flavour).chain(settings)));
        let config = layers.and_then(|layers| layers.build()).map_err(|error| error.to_string())?;
        let (stop, stopped) = oneshot::channel();
        let (address, bound) = oneshot::channel();
        // A runtime of its own, so that a test that blocks does not block the server.
        let thread = std::thread::spawn(move || {
            let runtime = Runtime::new().expect("runtime");
            runtime.block_on(async {
                let listeners = Listeners::bind(&config).await.map_err(|error| format!("{error:#}"))?;
                let _ = address.send(listeners.main.local_addr().expect("bound"));
                let shutdown = async { drop(stopped.await) };
                server::run(config, listeners, shutdown).await.map_err(|error| format!("{error:#}"))
            })
        });
        let url = format!("http://{}", bound.await.map_err(|_| "it did not bind".to_owned())?);
        let mut server = Self { url, client: reqwest::Client::new(), stop: Some(stop), thread: Some(thread) };
        loop {
            if server.thread.as_ref().is_some_and(JoinHandle::is_finished) {
                let ended = server.thread.take().expect("there").join().expect("no panic");
                return Err(ended.expect_err("a server that ends by itself has a reason"));
            }
            match server.client.get(format!("{}/readyz", server.url)).send().await {
                Ok(response) if response.status() == 200 => return Ok(server),
                _ => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            }
        }
    }

    /// Posts a body and returns status and JSON.
    pub(crate) async fn post(&self, path: &str, content_type: &str, body: Vec<u8>) -> (u16, Value) {
        let request = self.client.post(format!("{}{path}", self.url)).header("content-type", content_type);
        let response = request.body(body).send().await.expect("the server answers");
        let status = response.status().as_u16();
        (status, response.json().await.expect("JSON"))
    }

    /// Posts a file as an image.
    pub(crate) async fn image(&self, path: &str, file: &Path) -> (u16, Value) {
        let bytes = std::fs::read(file).expect("the image is there");
        self.post(path, "application/octet-stream", bytes).await
    }

    /// Gets JSON.
    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let response = self.client.get(format!("{}{path}", self.url)).send().await.expect("the server answers");
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or(Value::Null))
    }

    /// Shuts it down and waits for the end.
    pub(crate) fn end(mut self) -> Result<(), String> {
        self.stop.take().expect("still running").send(()).expect("still running");
        self.thread.take().expect("still running").join().expect("no panic")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The binary as a process of its own, on a free port that it tells in its log; it is killed when dropped.
pub(crate) struct Process {
    pub(crate) address: SocketAddr,
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    pub(crate) child: Child,
}

impl Process {
    /// Starts it with these settings, and waits until it is ready.
    pub(crate) async fn start(models: &Path, settings: &[(&str, &str)]) -> Self {
        let this = Self::listening(models, settings);
        this.ready().await;
        this
    }

    /// Starts it with these settings, and waits until it listens.
    pub(crate) fn listening(models: &Path, settings: &[(&str, &str)]) -> Self {
        let mut command = ounce();
        command.args(["serve", "--listen", "127.0.0.1:0", "--models"]).arg(models);
        command.env("OUNCE_ADMIN_LISTEN", "").envs(settings.iter().copied());
        Self::run(command)
    }

    /// Runs `ounce serve …`, and waits until it listens. From then on, the log of it goes where ours goes.
    pub(crate) fn run(mut command: Command) -> Self {
        command.envs([("OUNCE_LOG__FILTER", "error,ounce::server=info"), ("OUNCE_LOG__FORMAT", "json")]);
        let mut child = command.stderr(Stdio::piped()).spawn().expect("the binary starts");
        let mut log = BufReader::new(child.stderr.take().expect("piped"));
        let address = listens(&mut log);
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::stderr()));
        Self { address, url: format!("http://{address}"), client: reqwest::Client::new(), child }
    }

    /// Waits until it is ready.
    pub(crate) async fn ready(&self) {
        ready(&self.url).await;
    }

    /// Sends it a signal, as `kill` names it.
    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Kills it and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("it ends");
    }

    /// What Prometheus would scrape, by the series' name with its labels.
    pub(crate) async fn metrics(&self) -> BTreeMap<String, f64> {
        let response = self.client.get(format!("{}/metrics", self.url)).send().await.expect("an answer");
        series(&response.text().await.expect("text"))
    }

    /// CPU seconds that it has used, as the system has counted them.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("Linux");
        let after_name = stat.rsplit(')').next().expect("a name");
        let ticks = |place: usize| -> f64 {
            after_name.split_whitespace().nth(place).and_then(|ticks| ticks.parse().ok()).expect("ticks")
        };
        // Hundredths of a second, in user and in system mode.
        (ticks(11) + ticks(12)) / 100.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// The address that a server says it listens on, in the JSON lines of its log.
pub(crate) fn listens(log: &mut impl BufRead) -> SocketAddr {
    let mut seen = String::new();
    for line in log.lines().map_while(Result::ok) {
        let said = serde_json::from_str::<Value>(&line).unwrap_or_default();
        if said["message"] == "listening" {
            return said["address"].as_str().and_then(|address| address.parse().ok()).expect("an address");
        }
        seen += &line;
        seen += "\n";
    }
    panic!("it ended before it listened: {seen}");
}

/// Starts a server; returns it, its URL, and all lines that it logs once it listens. They are there when it has ended.
pub(crate) fn logged(mut serve: Command) -> (Child, String, std::thread::JoinHandle<Vec<String>>) {
    let mut server = serve.stderr(Stdio::piped()).spawn().expect("the binary starts");
    let mut log = BufReader::new(server.stderr.take().expect("piped"));
    let url = format!("http://{}", listens(&mut log));
    let lines = std::thread::spawn(move || log.lines().map_while(Result::ok).collect());
    (server, url, lines)
}

/// Waits until a server takes requests.
pub(crate) async fn ready(url: &str) {
    let url = format!("{url}/readyz");
    until("the server is ready", async || reqwest::get(&url).await.is_ok_and(|answer| answer.status() == 200)).await;
}

/// An address at which nobody listens, as long as this lives: the port is taken, so that nobody else gets it.
pub(crate) struct Nobody {
    pub(crate) address: SocketAddr,
    _socket: TcpSocket,
}

impl Nobody {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        Self { address: socket.local_addr().expect("bound"), _socket: socket }
    }
}

/// Serves these routes at a socket, for as long as the test runs.
pub(crate) fn serve_routes(listener: tokio::net::TcpListener, routes: axum::Router) {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let service = TowerToHyperService::new(routes.clone());
            let connection = auto::Builder::new(TokioExecutor::new());
            tokio::spawn(async move { connection.serve_connection(TokioIo::new(stream), service).await.is_ok() });
        }
    });
}

/// A port that is free now; somebody else may take it before a program does, so try it with [`on_a_free_port`].
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port()
}

/// Starts a program that has to be told its port, and waits until it is up. When it ends before, somebody else may have been
/// faster at the port: then it is tried on another.
pub(crate) async fn on_a_free_port(mut start: impl FnMut(u16) -> Child, up: impl AsyncFn(u16) -> bool) -> (u16, Child) {
    for _ in 0..3 {
        let port = free_port();
        let mut child = start(port);
        let mut ended = false;
        until("the program is up", async || {
            ended = child.try_wait().expect("a state").is_some();
            ended || up(port).await
        })
        .await;
        if !ended {
            return (port, child);
        }
    }
    panic!("it ends by itself, whatever its port");
}

/// A program that a user need not have: without it, the test is ignored, or fails where the environment has `required`.
pub(crate) fn program(path: impl AsRef<OsStr>, required: &str, hint: &str) -> Command {
    let name = path.as_ref().display();
    let there = |asks| Command::new(&path).arg(asks).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !["--version", "-v"].into_iter().any(|asks| there(asks).is_ok_and(|status| status.success())) {
        ignore(required, &format!("{name} is not installed ({hint})"));
    }
    Command::new(path)
}

/// Series of the text format by name and labels.
pub(crate) fn series(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    lines.filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?))).collect()
}

/// The sum of the series of a metric that have all of these labels.
pub(crate) fn sum(series: &BTreeMap<String, f64>, metric: &str, labels: &[&str]) -> f64 {
    let of = |name: &&String| name.split('{').next() == Some(metric) && labels.iter().all(|label| name.contains(label));
    series.iter().filter(|(name, _)| of(name)).map(|(_, value)| value).sum()
}

/// The project's folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The binary itself, started where the project is.
pub(crate) fn ounce() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ounce"));
    command.current_dir(root());
    command
}

/// Python with what `make test` installed, and with packages of these folders.
pub(crate) fn python(packages: &[PathBuf]) -> Command {
    let paths = packages.iter().cloned().chain([root().join(".python")]);
    let mut command = Command::new(std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into()));
    command.env("PYTHONPATH", std::env::join_paths(paths).expect("paths"));
    command
}

/// A file or folder of `../shared`, which a user's clone does not have: then the test is ignored.
pub(crate) fn shared(path: &str) -> PathBuf {
    let path = root().join("../shared").join(path);
    if !path.exists() {
        ignore("REQUIRE_SHARED", &format!("{} is not here", path.display()));
    }
    path
}

/// A folder with only these of `tests/models` in it.
pub(crate) fn only(models: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("tempdir");
    for model in models {
        std::os::unix::fs::symlink(root().join("tests/models").join(model), folder.path().join(model))
            .expect("symlink");
    }
    folder
}

/// An image that needs no file: a PNG with a figure on a street of its own, 96×128 pixels.
pub(crate) fn photo() -> Vec<u8> {
    let figure = |x: u32, y: u32| (40..56).contains(&x) && (30..110).contains(&y);
    let image = image::RgbImage::from_fn(96, 128, |x, y| {
        if figure(x, y) { image::Rgb([30, 30, 60]) } else { image::Rgb([(120 + x) as u8, 140, (60 + y) as u8]) }
    });
    png(&image)
}

/// Pixels as a PNG file.
pub(crate) fn png(image: &image::RgbImage) -> Vec<u8> {
    let mut png = std::io::Cursor::new(Vec::new());
    image.write_to(&mut png, image::ImageFormat::Png).expect("PNG");
    png.into_inner()
}

/// Whether a file is a chart as subcommands draw them.
pub(crate) fn is_chart(file: &Path) -> bool {
    let svg = std::fs::read_to_string(file).unwrap_or_default();
    svg.starts_with("<svg width=\"860\" height=\"640\"") && svg.ends_with("</svg>\n") && svg.contains("<polyline")
}

/// Waits until a process has ended, for as long as [`until`] does, and returns how it did.
pub(crate) async fn ended(child: &mut Child) -> ExitStatus {
    let mut ended = None;
    until("it ends", async || {
        ended = child.try_wait().expect("a state");
        ended.is_some()
    })
    .await;
    ended.expect("it has ended")
}

/// Asks until the answer is yes; fails when it is not after minutes, since then it never will be `what`, however busy the machine.
pub(crate) async fn until(what: &str, mut yes: impl AsyncFnMut() -> bool) {
    let asking = async {
        while !yes().await {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(300), asking).await.expect(what);
}

/// A white image, over which `slow-on-white` holds a worker for seconds.
pub(crate) fn white() -> Vec<u8> {
    png(&image::RgbImage::from_pixel(8, 8, image::Rgb([255; 3])))
}

/// Intersection over union of two boxes in the wire's form.
pub(crate) fn iou(a: [f64; 4], b: [f64; 4]) -> f64 {
    let area = |r: [f64; 4]| (r[2] - r[0]).max(0.0) * (r[3] - r[1]).max(0.0);
    let joint = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    joint / (area(a) + area(b) - joint)
}

/// A detection of an answer: label, score, box.
pub(crate) fn detections(answer: &Value) -> Vec<(String, f64, [f64; 4])> {
    let number = |value: &Value| value.as_f64().expect("a number");
    let list = answer["detections"].as_array().expect("an answer with detections");
    list.iter()
        .map(|d| {
            let corners = ["x1", "y1", "x2", "y2"].map(|corner| number(&d["box"][corner]));
            (d["label"].as_str().expect("a label").to_owned(), number(&d["score"]), corners)
        })
        .collect()
}

/// Hostile input makes decoders panic on purpose; the server catches it, and the log need not hold the traces.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "error".into());
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
    });
}
