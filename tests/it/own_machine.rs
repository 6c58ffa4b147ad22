//! Without keys only programs on the server's own machine change what is served, on a port of their own; and nothing of a key is told to a log.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Child, Stdio},
};

use serde_json::Value;

use crate::{
    harness::{Server, ounce, root, until},
    runner::ignore,
};

tests![
    a_web_page_on_the_same_machine_unloads_nothing,
    another_machine_unloads_nothing,
    calls_that_change_something_have_a_port_of_their_own,
    a_server_goes_on_when_somebody_has_the_admin_port,
    whoever_opens_a_server_to_others_is_warned,
    a_key_is_in_no_log_and_in_no_settings
];

const UNLOAD: &str = "/v2/repository/models/pedestrian/unload";
const LOAD: &str = "/v2/repository/models/pedestrian/load";

/// Posts an empty body with these lines of a head, and returns the status and the body.
fn post(address: SocketAddr, path: &str, head: &str) -> (u16, String) {
    let mut socket = TcpStream::connect(address).expect("connects");
    let request = format!("POST {path} HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n{head}\r\n");
    socket.write_all(request.as_bytes()).expect("writes");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("text");
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

async fn a_web_page_on_the_same_machine_unloads_nothing() {
    let server = Server::start(&root().join("models"), &[]).await;
    let address: SocketAddr = server.url.trim_start_matches("http://").parse().expect("an address");
    for head in [
        format!("Host: {address}\r\nOrigin: https://evil.com\r\n"),
        format!("Host: {address}\r\nOrigin: null\r\n"),
        format!("Host: {address}\r\nOrigin: http://localhost:3000\r\n"),
        format!("Host: {address}\r\nSec-Fetch-Site: cross-site\r\n"),
        format!("Host: {address}\r\nSec-Fetch-Site: same-site\r\n"),
        // Its owner has made the name point here.
        format!("Host: evil.com:{}\r\n", address.port()),
        "Host: evil.com\r\nOrigin: http://evil.com\r\nSec-Fetch-Site: same-origin\r\n".to_owned(),
        "Host: localhost.evil.com\r\n".to_owned(),
        // Through a proxy on this machine, for somebody elsewhere.
        format!("Host: {address}\r\nX-Forwarded-For: 203.0.113.9\r\n"),
    ] {
        let (status, body) = post(address, UNLOAD, &head);
        assert!(status == 403 && body.contains("/errors#not-local"), "{head}: {status} {body}");
    }
    assert_eq!(server.get("/v1/models/pedestrian").await.0, 200, "it is still served");
    let here = format!("Host: localhost:{}\r\n", address.port());
    assert_eq!(post(address, UNLOAD, &here).0, 200);
    let page_of_ours = format!("{here}Origin: http://localhost:{}\r\nSec-Fetch-Site: same-origin\r\n", address.port());
    assert_eq!(post(address, LOAD, &page_of_ours).0, 200, "the page at /docs may");
}

async fn another_machine_unloads_nothing() {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    // Nothing is sent; the system says which address it would send from.
    let own = socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()).map(|address| address.ip());
    let Some(own) = own.ok().filter(|ip: &IpAddr| !ip.is_loopback()) else {
        ignore("REQUIRE_NETWORK", "this machine has no address but the loopback's");
    };
    let server = Server::start(&root().join("models"), &[("OUNCE_LISTEN", "0.0.0.0:0")]).await;
    let port = server.url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let address = SocketAddr::new(own, port);
    let (status, body) = post(address, UNLOAD, &format!("Host: {address}\r\n"));
    assert_eq!(status, 403, "{body}");
    let problem: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(
        problem["detail"].as_str().expect("text").replace(&own.to_string(), "IP"),
        "without keys, calls that change something are taken from this machine only, and this one comes from IP; call from there, or \
         let the server want keys with auth.mode = \"keys\""
    );
}

/// A server as a process, with what it has logged until it was ready.
struct Logged {
    child: Child,
    log: Vec<Value>,
    rest: BufReader<std::process::ChildStderr>,
}

impl Logged {
    fn start(settings: &[(&str, &str)]) -> Self {
        let mut command = ounce();
        command.args(["serve", "--listen", "127.0.0.1:0"]).env("OUNCE_LOG__FORMAT", "json");
        let mut child =
            command.envs(settings.iter().copied()).stderr(Stdio::piped()).spawn().expect("the binary starts");
        let mut rest = BufReader::new(child.stderr.take().expect("piped"));
        let mut log = Vec::new();
        while log.last().is_none_or(|line: &Value| line["message"] != "ready") {
            let mut line = String::new();
            assert_ne!(rest.read_line(&mut line).expect("text"), 0, "it ended before it was ready: {log:?}");
            log.push(serde_json::from_str(&line).unwrap_or_default());
        }
        Self { child, log, rest }
    }

    /// The address in the line of this message.
    fn address(&self, message: &str) -> SocketAddr {
        let line = self.log.iter().find(|line| line["message"] == message).expect("the message");
        line["address"].as_str().and_then(|address| address.parse().ok()).expect("an address")
    }

    fn said(&self, part: &str) -> bool {
        self.log
            .iter()
            .any(|line| line["level"] == "WARN" && line["message"].as_str().is_some_and(|said| said.contains(part)))
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}

fn calls_that_change_something_have_a_port_of_their_own() {
    let server = Logged::start(&[("OUNCE_ADMIN_LISTEN", "127.0.0.1:0")]);
    let (main, admin) = (server.address("listening"), server.address("the admin port listens"));
    let (status, body) = post(main, UNLOAD, "Host: localhost\r\n");
    assert!(status == 404 && body.contains("it may be on the admin port"), "{body}");
    assert_eq!(post(admin, UNLOAD, "Host: evil.com\r\n").0, 403);
    assert_eq!(post(admin, UNLOAD, "Host: localhost\r\n").0, 200);
    let change = |change: &str, settings: &[(&str, &str)], arguments: &[&str]| {
        let output = ounce().arg(change).args(arguments).envs(settings.iter().copied()).output().expect("it runs");
        String::from_utf8([output.stdout, output.stderr].concat()).expect("text").trim().to_owned()
    };
    // As in a container, which has no curl.
    let here = admin.to_string();
    assert_eq!(change("load", &[("OUNCE_ADMIN_LISTEN", &here)], &["pedestrian"]), "loaded");
    assert_eq!(change("unload", &[], &["pedestrian", "--url", &format!("http://{admin}")]), "unloaded");
    let nobody = change("unload", &[("OUNCE_ADMIN_LISTEN", &here)], &["nobody"]);
    assert_eq!(
        nobody,
        format!("ounce: http://{here} answers 404: there is no model `nobody`; there is `pedestrian-presence`")
    );
}

async fn a_server_goes_on_when_somebody_has_the_admin_port() {
    // Where that fails, somebody else has it.
    let _taken = TcpListener::bind("127.0.0.1:8081");
    let server = Logged::start(&[("OUNCE_ADMIN_LISTEN", "auto")]);
    assert!(
        server.said("NO MODEL CAN BE LOADED OR UNLOADED BY A CALL: cannot listen on 127.0.0.1:8081"),
        "{:?}",
        server.log
    );
    let main = server.address("listening");
    assert_eq!(post(main, UNLOAD, "Host: localhost\r\n").0, 404, "the main port does not take its place");
    let metrics = reqwest::get(format!("http://{main}/metrics")).await.expect("an answer");
    assert_eq!(metrics.status(), 200, "metrics stay where they were");
}

fn whoever_opens_a_server_to_others_is_warned() {
    let warning = "WHOEVER REACHES THIS ADDRESS MAY ASK THIS SERVER";
    let settings = [("OUNCE_LISTEN", "0.0.0.0:0"), ("OUNCE_ADMIN_LISTEN", "")];
    let mut command = ounce();
    command.arg("serve").envs(settings).env("OUNCE_LOG__FORMAT", "json").stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
    let until_ready: Vec<_> = lines.take_while(|line| !line.contains("\"ready\"")).collect();
    child.kill().and_then(|()| child.wait()).expect("it ends");
    assert!(until_ready.iter().any(|line| line.contains(warning) && line.contains("auth.mode")), "{until_ready:?}");
    assert!(!Logged::start(&[("OUNCE_ADMIN_LISTEN", "")]).said(warning), "nobody else reaches the loopback");
}

async fn a_key_is_in_no_log_and_in_no_settings() {
    let folder = tempfile::tempdir().expect("tempdir");
    let file = folder.path().join("keys.jsonl").display().to_string();
    let made = ounce()
        .args(["key", "new", "--tenant", "acme", "--scopes", "infer", "--file", &file])
        .output()
        .expect("it runs");
    let key = String::from_utf8(made.stdout).expect("text").trim().to_owned();
    assert!(key.len() > 40, "{key}");
    let hash = std::fs::read_to_string(&file).expect("text");
    let hash = hash.split("\"sha256\":\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a hash").to_owned();

    let settings = [
        ("OUNCE_AUTH__MODE", "keys"),
        ("OUNCE_AUTH__KEYS_FILE", file.as_str()),
        ("OUNCE_LOG__FILTER", "debug"),
        ("OUNCE_ADMIN_LISTEN", ""),
    ];
    let printed = ounce().args(["serve", "--print-config"]).envs(settings).output().expect("it runs");
    let printed = String::from_utf8(printed.stdout).expect("text");
    assert!(printed.contains("keys_file") && !printed.contains(&key) && !printed.contains(&hash), "{printed}");

    let mut server = Logged::start(&settings);
    let url = format!("http://{}/v1/models", server.address("listening"));
    let client = reqwest::Client::new();
    for (key, status) in [(key.as_str(), 200), ("ounce_wrong", 401)] {
        let asked = client.get(&url).header("authorization", format!("Bearer {key}")).send().await.expect("an answer");
        assert_eq!(asked.status(), status);
    }
    std::fs::write(&file, "ounce_by-mistake\n").expect("write");
    let mut log = String::new();
    until("the broken file is told", async || {
        server.rest.read_line(&mut log).expect("text");
        log.contains("the keys from before stay in force")
    })
    .await;
    for secret in [key.as_str(), hash.as_str(), "ounce_wrong", "ounce_by-mistake"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
    assert!(log.contains("answered"), "the requests are in the log: {log}");
}
