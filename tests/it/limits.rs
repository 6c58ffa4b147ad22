//! Nobody gets more than the operator lets him have, and nobody can pretend to be somebody else to get it.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    net::{IpAddr, TcpStream},
    process::{Child, Stdio},
};

use ounce::auth::{KeyEntry, KeyHash, Scope};
use reqwest::{Response, header::HeaderMap};

use crate::{
    harness::{Server, on_a_free_port, only, photo, program, series, sum, until},
    scraped::metrics,
};

tests![
    a_tenant_over_its_limit_is_refused_and_others_are_not,
    answers_tell_what_is_left,
    nobody_is_limited_unless_the_settings_say_so,
    a_forged_address_from_an_untrusted_peer_changes_nothing,
    a_trusted_proxy_says_who_asks,
    made_up_addresses_free_nobody,
    behind_haproxy_the_clients_address_counts,
    pixels_are_counted_before_they_are_decoded,
    what_was_spent_delays_the_next,
    a_tenant_cannot_take_all_places,
    who_guesses_keys_is_limited_by_his_address,
    who_is_over_its_limit_asks_for_no_replicas
];

/// Nothing flows in while a test runs: two requests, then days of waiting.
const TWO: [(&str, &str); 2] =
    [("OUNCE_LIMITS__REQUESTS_PER_SECOND", "0.00001"), ("OUNCE_LIMITS__BURST_SECONDS", "200000")];

async fn start(settings: &[(&str, &str)]) -> Server {
    Server::start(only(&["vww-person"]).path(), settings).await
}

/// Posts an image with these headers.
async fn ask(server: &Server, headers: &[(&str, &str)]) -> Response {
    let request = server.client.post(format!("{}/v1/classify", server.url)).body(photo());
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.send().await.expect("an answer")
}

/// The statuses of so many requests with these headers.
async fn statuses(server: &Server, headers: &[(&str, &str)], requests: usize) -> Vec<u16> {
    let mut statuses = Vec::new();
    for _ in 0..requests {
        statuses.push(ask(server, headers).await.status().as_u16());
    }
    statuses
}

/// The headers about limits, in which a time is `T`, since it passes.
fn told(headers: &HeaderMap) -> String {
    let ours = |name: &str| name.contains("ratelimit") || name == "retry-after";
    let lines: BTreeMap<_, _> = headers
        .iter()
        .filter(|(name, _)| ours(name.as_str()))
        .collect::<Vec<_>>()
        .into_iter()
        .map(|(name, value)| (name.as_str(), value.to_str().expect("text")))
        .collect();
    let line = |(name, value): (&str, &str)| {
        let timeless = match name {
            "x-ratelimit-reset" | "retry-after" => "T".to_owned(),
            "ratelimit" => value
                .split(", ")
                .map(|item| format!("{};t=T", item.split(";t=").next().unwrap_or_default()))
                .collect::<Vec<_>>()
                .join(", "),
            _ => value.to_owned(),
        };
        format!("{name}: {timeless}")
    };
    lines.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

async fn a_tenant_over_its_limit_is_refused_and_others_are_not() {
    let [rate, burst] = TWO;
    let server = start(&[
        rate,
        burst,
        ("OUNCE_TENANTS__ACME__API_KEYS", "a"),
        ("OUNCE_TENANTS__BOB__API_KEYS", "b"),
        ("OUNCE_TENANTS__BOB__REQUESTS_PER_SECOND", "0.00002"),
        ("OUNCE_TENANTS__CAROL__API_KEYS", "c"),
        ("OUNCE_TENANTS__CAROL__REQUESTS_PER_SECOND", "none"),
    ])
    .await;
    assert_eq!(statuses(&server, &[("x-api-key", "a")], 4).await, [200, 200, 429, 429]);
    assert_eq!(statuses(&server, &[("x-api-key", "b")], 5).await, [200, 200, 200, 200, 429]);
    assert_eq!(statuses(&server, &[("x-api-key", "c")], 5).await, [200; 5]);
    assert_eq!(statuses(&server, &[], 3).await, [200, 200, 429], "and the address of who has no key");

    // Probes and metrics go on, or the server would be restarted for what a client does.
    for path in ["/livez", "/readyz", "/v2/health/ready", "/metrics"] {
        assert_eq!(server.get(path).await.0, 200, "{path}");
    }
    let all = series(&metrics(&server).await);
    let limited = |tenant: &str| {
        let tenant = format!("tenant=\"{tenant}\"");
        sum(&all, "ounce_limited_total", &[tenant.as_str(), "limit=\"requests_per_second\""])
    };
    assert_eq!(["acme", "bob", "carol", "default"].map(limited), [2.0, 1.0, 0.0, 1.0]);
    assert_eq!(sum(&all, "ounce_refused_total", &["reason=\"rate_limited\""]), 4.0);
}

async fn answers_tell_what_is_left() {
    let [rate, burst] = TWO;
    let server = start(&[rate, burst, ("OUNCE_LIMITS__PIXELS_PER_SECOND", "1")]).await;
    let answer = ask(&server, &[]).await;
    assert_eq!(answer.status(), 200);
    insta::assert_snapshot!(told(answer.headers()), @r#"
    ratelimit: "requests";r=1;t=T, "pixels";r=187712;t=T
    ratelimit-policy: "requests";q=2;w=200000, "pixels";q=200000;w=200000
    x-ratelimit-limit: 2
    x-ratelimit-remaining: 1
    x-ratelimit-reset: T
    "#);
    assert_eq!(ask(&server, &[]).await.status(), 200);
    let refused = ask(&server, &[]).await;
    assert_eq!(
        (refused.status().as_u16(), &refused.headers()["content-type"]),
        (429, &"application/problem+json".parse().expect("a value"))
    );
    insta::assert_snapshot!(told(refused.headers()), @r#"
    ratelimit: "requests";r=0;t=T, "pixels";r=175424;t=T
    ratelimit-policy: "requests";q=2;w=200000, "pixels";q=200000;w=200000
    retry-after: T
    x-ratelimit-limit: 2
    x-ratelimit-remaining: 0
    x-ratelimit-reset: T
    "#);
    let mut problem: serde_json::Value = refused.json().await.expect("JSON");
    let said = problem["detail"].as_str().expect("text").split("; try").next().expect("a sentence").to_owned();
    problem["detail"] = said.clone().into();
    problem["error"] = said.into();
    problem["instance"] = "ID".into();
    insta::assert_snapshot!(serde_json::to_string_pretty(&problem).expect("JSON"), @r#"
    {
      "detail": "address 127.0.0.1 may have 0.00001 requests a second, as `limits.requests_per_second` says",
      "error": "address 127.0.0.1 may have 0.00001 requests a second, as `limits.requests_per_second` says",
      "instance": "ID",
      "status": 429,
      "title": "More than this client may ask for",
      "type": "/errors#rate-limited"
    }
    "#);
}

async fn nobody_is_limited_unless_the_settings_say_so() {
    let server = start(&[("OUNCE_TENANTS__ACME__API_KEYS", "a")]).await;
    let answer = ask(&server, &[("x-api-key", "a"), ("x-forwarded-for", "203.0.113.7")]).await;
    assert_eq!((answer.status().as_u16(), told(answer.headers()).as_str()), (200, ""));
}

async fn a_forged_address_from_an_untrusted_peer_changes_nothing() {
    let [rate, burst] = TWO;
    let server = start(&[rate, burst, ("OUNCE_PROXY__TRUSTED", "10.0.0.0/8")]).await;
    assert_eq!(statuses(&server, &[("x-forwarded-for", "203.0.113.1")], 1).await, [200]);
    assert_eq!(statuses(&server, &[("x-forwarded-for", "203.0.113.2")], 1).await, [200]);
    assert_eq!(
        statuses(&server, &[("x-forwarded-for", "203.0.113.3"), ("forwarded", "for=203.0.113.4")], 1).await,
        [429]
    );
}

async fn a_trusted_proxy_says_who_asks() {
    let [rate, burst] = TWO;
    let server = start(&[rate, burst, ("OUNCE_PROXY__TRUSTED", "127.0.0.0/8, ::1")]).await;
    let from = async |lines: &[&str], requests| {
        let lines: Vec<_> = lines.iter().map(|line| ("x-forwarded-for", *line)).collect();
        statuses(&server, &lines, requests).await
    };
    assert_eq!(from(&["203.0.113.1"], 3).await, [200, 200, 429]);
    assert_eq!(from(&["203.0.113.2"], 1).await, [200]);
    assert_eq!(from(&["6.6.6.6, 203.0.113.1"], 1).await, [429], "what a client writes before it changes nothing");
    assert_eq!(from(&["6.6.6.6", "203.0.113.1"], 1).await, [429], "in a line of his own, neither");
    assert_eq!(from(&["203.0.113.1:4711"], 1).await, [429]);
    assert_eq!(from(&["::ffff:203.0.113.1, 127.0.0.9"], 1).await, [429]);
    assert_eq!(from(&["[2001:db8::1]:4711"], 2).await, [200, 200]);
    assert_eq!(from(&["2001:db8::2"], 1).await, [429], "the same network");

    // What cannot be read is the proxy's own: a client cannot get a fresh limit by it.
    assert_eq!(from(&[", ,"], 1).await, [200]);
    assert_eq!(from(&["unknown"], 1).await, [200]);
    assert_eq!(from(&["_hidden"], 1).await, [429]);
    assert_eq!(from(&["999.1.1.1"], 1).await, [429]);
    assert_eq!(from(&[&vec!["unknown"; 1000].join(",")], 1).await, [429]);
    let many = vec!["6.6.6.6"; 1000].join(",");
    assert_eq!(from(&[&many, "203.0.113.1"], 1).await, [429]);

    let rfc = start(&[rate, burst, ("OUNCE_PROXY__TRUSTED", "127.0.0.1"), ("OUNCE_PROXY__HEADER", "forwarded")]).await;
    let from = async |line: &str, requests| {
        statuses(&rfc, &[("forwarded", line), ("x-forwarded-for", "6.6.6.6")], requests).await
    };
    assert_eq!(from("for=\"[2001:db8::1]:4711\"", 3).await, [200, 200, 429]);
    assert_eq!(from("for=_obfuscated, For=\"[2001:db8::9]\";proto=https", 1).await, [429]);
    assert_eq!(from("for=203.0.113.9;by=_me", 1).await, [200]);
}

async fn made_up_addresses_free_nobody() {
    let [rate, burst] = TWO;
    let server = start(&[rate, burst, ("OUNCE_PROXY__TRUSTED", "127.0.0.1")]).await;
    assert_eq!(statuses(&server, &[("x-forwarded-for", "203.0.113.1")], 3).await, [200, 200, 429]);
    let mut random = fastrand::Rng::with_seed(5);
    let mut refused = 0;
    for _ in 0..2_000 {
        let address = std::net::Ipv6Addr::from_bits(random.u128(..)).to_string();
        let request = server.client.get(format!("{}/v1/models", server.url)).header("x-forwarded-for", address);
        refused += usize::from(request.send().await.expect("an answer").status() != 200);
    }
    assert_eq!(refused, 0, "each is somebody else");
    assert_eq!(statuses(&server, &[("x-forwarded-for", "203.0.113.1")], 1).await, [429], "nobody pushed him out");
}

/// HAProxy in front of a server; it ends when dropped.
struct HaProxy(Child);

impl Drop for HaProxy {
    fn drop(&mut self) {
        let _ = self.0.kill().and_then(|()| self.0.wait());
    }
}

async fn behind_haproxy_the_clients_address_counts() {
    let [rate, burst] = TWO;
    // HAProxy asks from an address of its own, clients from others; all of them are this machine.
    let server = start(&[rate, burst, ("OUNCE_PROXY__TRUSTED", "127.0.0.66")]).await;
    let folder = tempfile::tempdir().expect("tempdir");
    let file = folder.path().join("haproxy.cfg");
    let start = |port| {
        let replica = server.url.trim_start_matches("http://");
        let text = format!(
            "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
             frontend in\n bind 127.0.0.1:{port}\n option forwardfor\n default_backend out\n\
             backend out\n source 127.0.0.66\n server ounce {replica}\n"
        );
        std::fs::write(&file, text).expect("write");
        let mut command = program("haproxy", "REQUIRE_BALANCERS", "Debian has it in the package of that name");
        let command = command.arg("-db").arg("-f").arg(&file).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("it starts")
    };
    let up = async |port| {
        let answer = reqwest::get(format!("http://127.0.0.1:{port}/readyz")).await;
        answer.is_ok_and(|answer| answer.status() == 200)
    };
    let (port, child) = on_a_free_port(start, up).await;
    let _haproxy = HaProxy(child);
    let from = async |address: &str, forged: &str| {
        let client = reqwest::Client::builder().local_address(address.parse::<IpAddr>().expect("an address")).build();
        let request = client.expect("a client").post(format!("http://127.0.0.1:{port}/v1/classify")).body(photo());
        request.header("x-forwarded-for", forged).send().await.expect("an answer").status().as_u16()
    };
    assert_eq!([from("127.0.0.2", "1.1.1.1").await, from("127.0.0.2", "1.1.1.2").await], [200, 200]);
    assert_eq!(from("127.0.0.2", "1.1.1.3").await, 429, "forged addresses do not help");
    assert_eq!(from("127.0.0.3", "1.1.1.1").await, 200, "the neighbour has a limit of its own");
}

async fn pixels_are_counted_before_they_are_decoded() {
    let server = start(&[
        ("OUNCE_TENANTS__ACME__API_KEYS", "a"),
        // 96×128 are 12,288.
        ("OUNCE_TENANTS__ACME__PIXELS_PER_SECOND", "0.1"),
        ("OUNCE_TENANTS__ACME__BURST_SECONDS", "200000"),
    ])
    .await;
    let acme = [("x-api-key", "a")];
    let first = ask(&server, &acme).await;
    assert_eq!(
        (first.status().as_u16(), first.headers()["x-ratelimit-remaining"].to_str().expect("text")),
        (200, "7712")
    );
    assert_eq!(ask(&server, &acme).await.status(), 200, "the one that goes past the limit");
    let refused = ask(&server, &acme).await;
    assert_eq!(refused.status(), 429);
    let problem: serde_json::Value = refused.json().await.expect("JSON");
    let detail = problem["detail"].as_str().expect("text");
    assert!(
        detail.starts_with("tenant `acme` may have 0.1 pixels a second, as `tenants.acme.pixels_per_second` says"),
        "{detail}"
    );
    assert_eq!(ask(&server, &[]).await.status(), 200, "others are not limited");

    // Torn after its header: the pixels would have to be decoded to see that, and they are not.
    let request = server.client.post(format!("{}/v1/classify", server.url)).header("x-api-key", "a");
    assert_eq!(request.body(photo()[..200].to_vec()).send().await.expect("an answer").status(), 429);
    let spent = sum(
        &series(&metrics(&server).await),
        "ounce_limited_total",
        &["limit=\"pixels_per_second\"", "tenant=\"acme\""],
    );
    assert_eq!(spent, 2.0);
}

async fn what_was_spent_delays_the_next() {
    let server = start(&[
        ("OUNCE_TENANTS__ACME__API_KEYS", "a"),
        ("OUNCE_TENANTS__ACME__USD_PER_SECOND", "0.0000000000001"),
        ("OUNCE_TENANTS__BOB__API_KEYS", "b"),
        ("OUNCE_TENANTS__BOB__USD_PER_SECOND", "1"),
    ])
    .await;
    assert_eq!(statuses(&server, &[("x-api-key", "a")], 2).await, [200, 429]);
    assert_eq!(statuses(&server, &[("x-api-key", "b")], 3).await, [200; 3]);
    let refused = ask(&server, &[("x-api-key", "a")]).await;
    let headers = refused.headers();
    assert!(headers["ratelimit"].to_str().is_ok_and(|left| left.starts_with("\"nanodollars\";r=0;t=")), "{headers:?}");
}

async fn a_tenant_cannot_take_all_places() {
    let server = start(&[
        ("OUNCE_TENANTS__ACME__API_KEYS", "a"),
        ("OUNCE_TENANTS__ACME__MAX_IN_FLIGHT", "2"),
        ("OUNCE_REQUESTS__BODY_TIMEOUT_MS", "600000"),
        ("OUNCE_BODIES__GRACE_MS", "600000"),
    ])
    .await;
    let hold = || {
        let mut socket = TcpStream::connect(server.url.trim_start_matches("http://")).expect("connects");
        let head = "POST /v1/classify HTTP/1.1\r\nhost: x\r\nx-api-key: a\r\ncontent-length: 1000\r\n\r\nx";
        socket.write_all(head.as_bytes()).expect("writes");
        socket
    };
    let acme = async || ask(&server, &[("x-api-key", "a")]).await;
    let mut held = Vec::new();
    until("both places are taken", async || {
        held.push(hold());
        acme().await.status() == 429
    })
    .await;
    let refused = acme().await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["retry-after"]), (429, &"1".parse().expect("a value")));
    let detail = refused.json::<serde_json::Value>().await.expect("JSON")["detail"].to_string();
    insta::assert_snapshot!(detail, @r#""tenant `acme` may have 2 requests in flight, as `tenants.acme.max_in_flight` says; try again in 1 s""#);
    assert_eq!(statuses(&server, &[], 2).await, [200, 200], "there are places for others");
    drop(held);
    until("clients that are gone have none", async || acme().await.status() == 200).await;
    let _one = hold();
    assert_eq!(statuses(&server, &[("x-api-key", "a")], 20).await, [200; 20], "an answered request has none, either");
}

async fn who_guesses_keys_is_limited_by_his_address() {
    let [rate, burst] = TWO;
    let file = tempfile::NamedTempFile::new().expect("a file");
    let line = |key: &str, tenant: &str, scope: Scope| {
        let (name, tenant) = (key.to_owned(), tenant.to_owned());
        let (scopes, hash) = ([scope].into_iter().collect(), KeyHash::of(key));
        KeyEntry { name, tenant, scopes, hash, expires: None }.to_line() + "\n"
    };
    let lines = [line("good", "acme", Scope::Infer), line("scrape", "acme", Scope::Metrics)];
    std::fs::write(file.path(), lines.concat()).expect("written");
    let path = file.path().to_str().expect("text");
    let unlimited = ("OUNCE_TENANTS__ACME__REQUESTS_PER_SECOND", "none");
    let server = start(&[rate, burst, unlimited, ("OUNCE_AUTH__MODE", "keys"), ("OUNCE_AUTH__KEYS_FILE", path)]).await;
    let guess = |key| [("x-api-key", key)];
    let first = ask(&server, &guess("wrong")).await;
    assert_eq!((first.status().as_u16(), first.headers()["x-ratelimit-remaining"].to_str().expect("text")), (401, "1"));
    // Without a key, with a key for something else, where nothing else is limited: all of it is asking.
    let elsewhere = server.client.get(format!("{}/metrics", server.url)).header("x-api-key", "good").send().await;
    assert_eq!(elsewhere.expect("an answer").status(), 403);
    assert_eq!(statuses(&server, &guess("guess"), 3).await, [429; 3]);
    assert_eq!(statuses(&server, &[], 1).await, [429]);
    let over = ask(&server, &guess("guess")).await;
    assert!(over.headers().contains_key("retry-after") && !over.headers().contains_key("www-authenticate"));
    assert_eq!(statuses(&server, &guess("good"), 5).await, [200; 5], "whose key is known is not kept out by those");
    for path in ["/livez", "/readyz"] {
        assert_eq!(server.get(path).await.0, 200, "{path}");
    }
    let all = server.client.get(format!("{}/metrics", server.url)).header("x-api-key", "scrape").send().await;
    let all = series(&all.expect("an answer").text().await.expect("text"));
    assert_eq!(sum(&all, "ounce_limited_total", &["tenant=\"default\"", "limit=\"requests_per_second\""]), 5.0);
    assert_eq!(sum(&all, "ounce_refused_total", &["reason=\"wrong_key\""]), 1.0);
}

async fn who_is_over_its_limit_asks_for_no_replicas() {
    let [rate, burst] = TWO;
    let server = start(&[rate, burst]).await;
    // The books are balanced at every tick, at which the load is estimated, too.
    let mut ticks = BTreeSet::new();
    until("the load was estimated a few times", async || {
        statuses(&server, &[], 20).await;
        ticks.insert(sum(&series(&metrics(&server).await), "ounce_cost_usd_total", &[]).to_bits());
        ticks.len() > 4
    })
    .await;
    let all = series(&metrics(&server).await);
    let refused = sum(&all, "ounce_refused_total", &["reason=\"rate_limited\""]);
    assert!(refused >= 78.0, "{refused}");
    assert!(all["ounce_load_ratio"] < 0.5, "{} after {refused} refusals", all["ounce_load_ratio"]);
}
