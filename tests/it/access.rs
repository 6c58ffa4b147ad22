//! Who may do what where keys are wanted: every endpoint with every kind of key, and how keys come and go.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use ounce::auth::{ApiKey, KeyEntry, KeyHash, Scope};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

use crate::harness::{Server, ounce, root, series, sum, until};

tests![
    every_endpoint_opens_to_its_scope_and_to_no_other,
    no_endpoint_is_missing_from_the_table,
    a_key_is_made_by_one_command_and_named_by_another,
    keys_come_and_go_while_the_server_runs,
    keys_are_taken_as_clients_send_them,
    a_file_of_keys_that_cannot_be_used_ends_the_start
];

/// An endpoint: what it wants, and what it answers with an empty body to those who may ask.
pub(crate) type Endpoint = (&'static str, &'static str, Option<Scope>, u16);

/// Every endpoint. A model is unloaded before it is loaded.
pub(crate) const ENDPOINTS: [Endpoint; 49] = [
    ("GET", "/", None, 200),
    ("GET", "/errors", None, 200),
    ("GET", "/docs", None, 200),
    ("GET", "/docs/", None, 200),
    ("GET", "/openapi.json", None, 200),
    ("GET", "/livez", None, 200),
    ("GET", "/readyz", None, 200),
    ("GET", "/v2/health/live", None, 200),
    ("GET", "/v2/health/ready", None, 200),
    ("GET", "/metrics", Some(Scope::Metrics), 200),
    ("POST", "/v1/detect", Some(Scope::Infer), 400),
    ("POST", "/v1/classify", Some(Scope::Infer), 400),
    ("POST", "/v1/models/{model}/predict", Some(Scope::Infer), 400),
    ("GET", "/v1/models", Some(Scope::Infer), 200),
    ("GET", "/v1/models/{model}", Some(Scope::Infer), 200),
    ("GET", "/v1/models/{model}/frontier", Some(Scope::Infer), 200),
    ("GET", "/v2", Some(Scope::Infer), 200),
    ("GET", "/v2/models/stats", Some(Scope::Infer), 200),
    ("GET", "/v2/models/{model}", Some(Scope::Infer), 200),
    ("GET", "/v2/models/{model}/ready", Some(Scope::Infer), 200),
    ("GET", "/v2/models/{model}/stats", Some(Scope::Infer), 200),
    ("POST", "/v2/models/{model}/infer", Some(Scope::Infer), 400),
    ("GET", "/v2/models/{model}/versions/{version}", Some(Scope::Infer), 200),
    ("GET", "/v2/models/{model}/versions/{version}/ready", Some(Scope::Infer), 200),
    ("GET", "/v2/models/{model}/versions/{version}/stats", Some(Scope::Infer), 200),
    ("POST", "/v2/models/{model}/versions/{version}/infer", Some(Scope::Infer), 400),
    ("POST", "/v2/repository/index", Some(Scope::Admin), 200),
    ("POST", "/v2/repository/models/{model}/unload", Some(Scope::Admin), 200),
    ("POST", "/v2/repository/models/{model}/load", Some(Scope::Admin), 200),
    // A call of gRPC that is none, since it has another content type.
    ("POST", "/inference.GRPCInferenceService/ServerLive", None, 415),
    ("POST", "/inference.GRPCInferenceService/ServerReady", None, 415),
    ("POST", "/inference.GRPCInferenceService/ServerMetadata", Some(Scope::Infer), 415),
    ("POST", "/inference.GRPCInferenceService/ModelReady", Some(Scope::Infer), 415),
    ("POST", "/inference.GRPCInferenceService/ModelMetadata", Some(Scope::Infer), 415),
    ("POST", "/inference.GRPCInferenceService/ModelConfig", Some(Scope::Infer), 415),
    ("POST", "/inference.GRPCInferenceService/ModelStatistics", Some(Scope::Infer), 415),
    ("POST", "/inference.GRPCInferenceService/ModelInfer", Some(Scope::Infer), 415),
    ("POST", "/inference.GRPCInferenceService/ModelStreamInfer", Some(Scope::Infer), 415),
    ("POST", "/inference.GRPCInferenceService/RepositoryIndex", Some(Scope::Admin), 415),
    ("POST", "/inference.GRPCInferenceService/RepositoryModelUnload", Some(Scope::Admin), 415),
    ("POST", "/inference.GRPCInferenceService/RepositoryModelLoad", Some(Scope::Admin), 415),
    ("POST", "/inference.GRPCInferenceService/{*method}", Some(Scope::Infer), 501),
    ("POST", "/grpc.health.v1.Health/Check", None, 415),
    ("POST", "/grpc.health.v1.Health/Watch", None, 415),
    ("POST", "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", None, 200),
    ("POST", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", None, 200),
    // What is nowhere is told so to everybody.
    ("GET", "/nowhere", None, 404),
    ("POST", "/livez", None, 405),
    ("GET", "/v1/detect", Some(Scope::Infer), 405),
];

/// A server that wants keys, and a folder for its file of keys.
struct Guarded {
    server: Server,
    folder: tempfile::TempDir,
}

impl Guarded {
    async fn start(lines: &str) -> Self {
        let folder = tempfile::tempdir().expect("tempdir");
        let file = folder.path().join("keys.jsonl");
        fs::write(&file, lines).expect("write");
        let settings = [("OUNCE_AUTH__MODE", "keys"), ("OUNCE_AUTH__KEYS_FILE", file.to_str().expect("text"))];
        Self { server: Server::start(&root().join("models"), &settings).await, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("keys.jsonl")
    }

    fn request(&self, method: &str, path: &str) -> RequestBuilder {
        let path = path.replace("{model}", "pedestrian-presence").replace("{version}", "1");
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        self.server.client.request(method, format!("{}{path}", self.server.url))
    }

    /// The status of a question that wants `infer`, with these headers.
    async fn ask(&self, headers: &[(&str, &str)]) -> u16 {
        let asked =
            headers.iter().fold(self.request("GET", "/v1/models"), |asked, (name, value)| asked.header(*name, *value));
        asked.send().await.expect("an answer").status().as_u16()
    }

    /// The same, with a key.
    async fn with(&self, key: &str) -> u16 {
        self.ask(&[("authorization", &format!("Bearer {key}"))]).await
    }
}

/// A line for a key that the test has chosen itself.
fn line(key: &str, scopes: &[Scope], expires: Option<SystemTime>) -> String {
    let (hash, scopes) = (KeyHash::of(key), scopes.iter().copied().collect());
    KeyEntry { name: format!("the-{key}"), tenant: "acme".to_owned(), scopes, hash, expires }.to_line() + "\n"
}

async fn every_endpoint_opens_to_its_scope_and_to_no_other() {
    let hour = Duration::from_secs(3600);
    let mut lines = line("expired", &Scope::ALL, Some(SystemTime::now() - hour));
    lines += &line("all", &Scope::ALL, Some(SystemTime::now() + hour));
    for scope in Scope::ALL {
        lines += &line(scope.name(), &[scope], None);
    }
    let guarded = Guarded::start(&lines).await;
    let shown = [
        None,
        Some("wrong"),
        Some("expired"),
        Some("all"),
        Some("infer"),
        Some("feedback"),
        Some("metrics"),
        Some("admin"),
    ];
    let mut refused = [("no-key", 0.0), ("wrong-key", 0.0), ("expired-key", 0.0), ("lacking-scope", 0.0)];
    let mut asked = 0;
    for key in shown {
        for (method, path, scope, answer) in ENDPOINTS {
            let mut request = guarded.request(method, path);
            if let Some(key) = key {
                request = request.header("authorization", format!("Bearer {key}"));
            }
            let response = request.send().await.expect("an answer");
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            asked += 1;
            let wanted = match (scope, key) {
                (None, _) | (Some(_), Some("all")) => None,
                (Some(scope), Some(key)) if key == scope.name() => None,
                (_, None) => Some(("no-key", 401)),
                (_, Some("wrong")) => Some(("wrong-key", 401)),
                (_, Some("expired")) => Some(("expired-key", 401)),
                (_, Some(_)) => Some(("lacking-scope", 403)),
            };
            let Some((kind, refusal)) = wanted else {
                assert_eq!(status, answer, "{method} {path} with {key:?}");
                continue;
            };
            let problem: Value = response.json().await.expect("JSON");
            let told = (status, problem["type"].as_str().expect("a kind").to_owned());
            assert_eq!(told, (refusal, format!("/errors#{kind}")), "{method} {path} with {key:?}");
            let challenge = headers.get("www-authenticate").map(|value| value.to_str().expect("text").to_owned());
            assert_eq!(challenge.is_some_and(|challenge| challenge.starts_with("Bearer")), refusal == 401, "{problem}");
            refused.iter_mut().filter(|(of, _)| *of == kind).for_each(|(_, count)| *count += 1.0);
        }
    }
    println!("{asked} questions, refused: {refused:?}");
    let metrics = guarded.request("GET", "/metrics").header("x-api-key", "metrics").send().await.expect("an answer");
    let metrics = series(&metrics.text().await.expect("text"));
    for (kind, count) in refused {
        let reason = format!("reason=\"{}\"", kind.replace('-', "_"));
        assert_eq!(sum(&metrics, "ounce_refused_total", &[&reason]), count, "{kind}");
    }
}

async fn no_endpoint_is_missing_from_the_table() {
    let guarded = Guarded::start("").await;
    let (_, openapi) = guarded.server.get("/openapi.json").await;
    let mut routes = BTreeSet::new();
    for (path, methods) in openapi["paths"].as_object().expect("paths") {
        for method in methods.as_object().expect("methods").keys() {
            routes.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    assert!(routes.contains("POST /v1/detect") && routes.len() > 15, "the document has our routes: {routes:?}");
    // Those that are added by hand stand in the source.
    for file in files(&root().join("src/api")) {
        let text = fs::read_to_string(&file).expect("text");
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for route in code.split(".route(\"").skip(1) {
            let (path, rest) = route.split_once('"').expect("a path");
            let method = rest.split('(').next().unwrap_or_default().trim_matches([',', ' ', '\n']);
            assert!(["get", "post"].contains(&method), "{path}: this test does not know `{method}`");
            routes.insert(format!("{} {path}", method.to_uppercase()));
        }
        for other in [".nest(", ".route_service(", ".nest_service("] {
            assert!(!code.contains(other), "{} adds routes by {other}), which this test does not read", file.display());
        }
    }
    assert!(routes.contains("GET /errors"), "the source has our routes: {routes:?}");
    let table: BTreeSet<String> = ENDPOINTS.iter().map(|(method, path, ..)| format!("{method} {path}")).collect();
    let missing: Vec<_> = routes.difference(&table).collect();
    assert!(missing.is_empty(), "say in ENDPOINTS, and in api/middleware/auth.rs, which scope these want: {missing:?}");
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What `ounce key new` prints.
fn new_key(arguments: &[&str]) -> String {
    let output = ounce().args(["key", "new"]).args(arguments).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

async fn a_key_is_made_by_one_command_and_named_by_another() {
    let guarded = Guarded::start("# keys, the last line without an end").await;
    let file = guarded.file();
    let key = new_key(&[
        "--tenant",
        "acme",
        "--scopes",
        "infer,metrics",
        "--expires",
        "90d",
        "--file",
        file.to_str().expect("text"),
    ]);
    let key = key.trim_end();
    until("the key opens what it should", async || guarded.with(key).await == 200).await;
    let lines = fs::read_to_string(&file).expect("text");
    assert!(!lines.contains(key) && lines.lines().count() == 2, "the file holds a hash: {lines}");

    // What changes something wants a key, from this machine, too.
    let change = async |arguments: &[&str]| {
        let url = guarded.server.url.clone();
        let output =
            ounce().args(["unload", "pedestrian-presence", "--url", &url]).args(arguments).output().expect("it runs");
        String::from_utf8([output.stdout, output.stderr].concat()).expect("text")
    };
    assert!(change(&[]).await.contains("answers 401: this call needs a key"));
    let admin = guarded.folder.path().join("admin.key").display().to_string();
    let key_of_admin = new_key(&["--tenant", "acme", "--scopes", "admin", "--file", file.to_str().expect("text")]);
    fs::write(&admin, key_of_admin).expect("write");
    until("the key opens what it should", async || change(&["--key-file", &admin]).await == "unloaded\n").await;

    // Without a file both are printed, for a file that is elsewhere.
    let printed = new_key(&["--tenant", "bob", "--scopes", "infer"]);
    let key = printed.lines().find(|line| line.starts_with("ounce_")).expect("the key");
    let entry = printed.lines().find(|line| line.starts_with('{')).expect("the line");
    assert!(!entry.contains(key), "{printed}");
    assert_eq!(guarded.with(key).await, 401);
    fs::write(&file, format!("{entry}\n")).expect("write");
    until("the key opens what it should", async || guarded.with(key).await == 200).await;

    for (arguments, why) in [
        (["--tenant", "acme", "--scopes", "root"], "there is no such scope; there are infer, feedback, metrics, admin"),
        (["--tenant", "a b", "--scopes", "infer"], "it is made of letters, digits, `-` and `_`"),
    ] {
        let output = ounce().args(["key", "new"]).args(arguments).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{said}");
    }
}

async fn keys_come_and_go_while_the_server_runs() {
    let guarded = Guarded::start(&line("first", &[Scope::Infer], None)).await;
    assert_eq!(guarded.with("first").await, 200);

    // As Kubernetes does it: the file is a link into a folder that is itself a link, and that one is swapped.
    let at = |name: &str| guarded.folder.path().join(name);
    fs::create_dir(at("..2")).expect("mkdir");
    fs::write(at("..2/keys.jsonl"), line("second", &[Scope::Infer], None).replace('\n', "\r\n")).expect("write");
    symlink("..2", at("..data")).and_then(|()| symlink("..data/keys.jsonl", at("new"))).expect("links");
    fs::rename(at("new"), guarded.file()).expect("rename");
    until("the new key is known", async || guarded.with("second").await == 200).await;
    assert_eq!(guarded.with("first").await, 401, "what is not in the file any more was taken back");

    // A broken file, then none at all: nobody is locked out, and nobody gets in.
    fs::remove_file(guarded.file()).expect("remove");
    fs::write(guarded.file(), line("third", &[Scope::Infer], None) + "{\"name\":").expect("write");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!((guarded.with("second").await, guarded.with("third").await), (200, 401));
    fs::remove_file(guarded.file()).expect("remove");
    fs::write(guarded.file(), line("third", &[Scope::Infer], None)).expect("write");
    until("the file is whole", async || guarded.with("third").await == 200).await;

    // A key of ten thousand.
    let keys: Vec<_> = (0..10_000).map(|_| ApiKey::generate().expect("random")).collect();
    fs::write(guarded.file(), keys.iter().map(|key| line(key.reveal(), &[Scope::Infer], None)).collect::<String>())
        .expect("write");
    until("they are known", async || guarded.with(keys[9_999].reveal()).await == 200).await;
    fs::write(guarded.file(), "").expect("write");
    until("the last key is taken back", async || guarded.with(keys[9_999].reveal()).await == 401).await;
}

async fn keys_are_taken_as_clients_send_them() {
    let guarded = Guarded::start(&(line("k", &[Scope::Infer], None) + &line("other", &[Scope::Infer], None))).await;
    let bearer = |value: &'static str| vec![("authorization", value)];
    for good in [
        bearer("Bearer k"),
        bearer("bearer k"),
        bearer("BEARER  k \t"),
        vec![("x-api-key", "k")],
        vec![("X-API-Key", " k ")],
        vec![("authorization", "Basic dTpw"), ("x-api-key", "k")],
        vec![("authorization", "Bearer a-gateways-own"), ("x-api-key", "k")],
    ] {
        assert_eq!(guarded.ask(&good).await, 200, "{good:?}");
    }
    for bad in [
        vec![],
        bearer("k"),
        bearer("Bearer"),
        bearer("Bearer K"),
        bearer("Bearer k k"),
        bearer("Basic k"),
        bearer("Bearer the-k"),
        vec![("x-api-key", "")],
        vec![("authorization", "Bearer k"), ("authorization", "Bearer k")],
        vec![("x-api-key", "k"), ("x-api-key", "other")],
        vec![("x-tenant", "acme")],
    ] {
        assert_eq!(guarded.ask(&bad).await, 401, "{bad:?}");
    }
    assert_eq!(guarded.request("GET", "/v1/models?key=k&api_key=k").send().await.expect("an answer").status(), 401);
    // A refused image is read to its end, so that the client sees why.
    let image = guarded.request("POST", "/v1/detect").body(vec![0; 5_000_000]).send().await.expect("an answer");
    assert_eq!(image.status(), 401);
}

async fn a_file_of_keys_that_cannot_be_used_ends_the_start() {
    let folder = tempfile::tempdir().expect("tempdir");
    let file = folder.path().join("keys.jsonl");
    let start = async || {
        let settings = [("OUNCE_AUTH__MODE", "keys"), ("OUNCE_AUTH__KEYS_FILE", file.to_str().expect("text"))];
        let error = Server::try_start(&root().join("models"), &settings).await.expect_err("refused");
        error.replace(&file.display().to_string(), "FILE")
    };
    assert_eq!(
        start().await,
        "the file of keys FILE (auth.keys_file) cannot be used: No such file or directory (os error 2)"
    );
    fs::write(&file, "ounce_secret-by-mistake\n").expect("write");
    assert_eq!(
        start().await,
        "the file of keys FILE (auth.keys_file) cannot be used: line 1: it is no JSON object; `ounce key new` prints such a line"
    );
    fs::write(&file, line("k", &[Scope::Infer], None).repeat(2)).expect("write");
    assert_eq!(
        start().await,
        "the file of keys FILE (auth.keys_file) cannot be used: `the-k` and `the-k` are the same key"
    );
}
