//! What is refused is counted once, by its reason, from what was really sent; and a panic calls somebody.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use axum::{Router, body::Body, http::Request, routing::get};
use http_body_util::BodyExt;
use ounce::{api, auth::Authenticator, config::Layers, inference::Inference, models::Selection, telemetry::Traces};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower::ServiceExt;

use crate::{
    dashboards::rules,
    harness::{Server, photo, root, series, sum, until, white},
    scraped::{metrics, program},
};

tests![
    nine_refused_requests_are_nine_counted,
    every_image_that_is_refused_is_counted_once,
    a_full_queue_and_a_full_server_are_counted_once_each,
    what_probes_hear_is_no_refusal,
    a_panic_fires_the_alert_and_unknown_paths_do_not
];

/// The refusals so far by reason, those that have not happened left out.
async fn refused(server: &Server) -> BTreeMap<String, f64> {
    let mut refused = BTreeMap::new();
    for (name, value) in series(&metrics(server).await) {
        if let Some(labels) = name.strip_prefix("ounce_refused_total{").filter(|_| value > 0.0) {
            *refused.entry(labels.trim_end_matches('}').to_owned()).or_default() += value;
        }
    }
    refused
}

async fn nine_refused_requests_are_nine_counted() {
    let server = Server::start(&root().join("models"), &[]).await;
    let post = async |path: &str, body: Vec<u8>| server.post(path, "image/png", body).await.0;
    assert_eq!(post("/v1/models/pedestrian/predict?model=pedestrian", photo()).await, 400, "named twice");
    assert_eq!(post("/v1/detect?model=pedestrian-presence", photo()).await, 400, "another task");
    assert_eq!(post("/v2/models/pedestrian/versions/7/infer", b"{}".to_vec()).await, 404, "no such version");
    assert_eq!(post("/v1/models/%FF/predict", photo()).await, 400, "the path is no text");
    assert_eq!(server.get("/v1/nothing").await.0, 404);
    assert_eq!(server.get("/v1/detect").await.0, 405);
    let half = photo();
    assert_eq!(post("/v1/detect", half[..half.len() / 2].to_vec()).await, 422, "a torn image");
    assert_eq!(post("/v1/detect?model=nobody", photo()).await, 404, "no such model");
    assert_eq!(post("/v1/classify?min_scor=1", photo()).await, 400, "no such parameter");

    let refused = refused(&server).await;
    insta::assert_snapshot!(refused.iter().map(|(labels, n)| format!("{n} {labels}")).collect::<Vec<_>>().join("\n"), @r#"
    4 model="",reason="bad_parameter"
    1 model="",reason="no_such_route"
    1 model="",reason="unknown_model"
    1 model="",reason="wrong_method"
    1 model="pedestrian",reason="bad_picture"
    1 model="pedestrian",reason="unknown_version"
    "#);
    assert_eq!(refused.values().sum::<f64>(), 9.0);

    let all = series(&metrics(&server).await);
    let sent = |route: &str, method: &str, status: &str| {
        let labels = [("route", route), ("method", method), ("status", status)];
        let labels = labels.map(|(label, value)| format!("{label}=\"{value}\""));
        sum(&all, "ounce_http_responses_total", &labels.each_ref().map(String::as_str))
    };
    assert_eq!(sent("/v1/models/{model}/predict", "POST", "400"), 2.0);
    assert_eq!(sent("/v1/detect", "POST", "400"), 1.0);
    assert_eq!(sent("/v1/detect", "POST", "404"), 1.0);
    assert_eq!(sent("/v1/detect", "POST", "422"), 1.0);
    assert_eq!(sent("/v1/classify", "POST", "400"), 1.0);
    assert_eq!(sent("/v2/models/{model}/versions/{version}/infer", "POST", "404"), 1.0);
    assert_eq!(sent("none", "GET", "404"), 1.0);
    assert_eq!(sent("/v1/detect", "GET", "405"), 1.0);
    assert_eq!(sum(&all, "ounce_http_responses_total", &["status=\"4"]), 9.0, "each once: {all:?}");

    let brew = server.client.request("BREW".parse().expect("a token"), format!("{}/v1/detect", server.url));
    assert_eq!(brew.send().await.expect("an answer").status(), 405);
    let all = series(&metrics(&server).await);
    assert_eq!(sum(&all, "ounce_http_responses_total", &["method=\"_OTHER\"", "status=\"405\""]), 1.0);
}

async fn every_image_that_is_refused_is_counted_once() {
    let server = Server::start(&root().join("models"), &[]).await;
    let form = |images: &[&[u8]]| {
        images.iter().fold(Form::new(), |form, image| form.part("image", Part::bytes(image.to_vec()).file_name("x")))
    };
    let send = async |images: &[&[u8]]| {
        let request = server.client.post(format!("{}/v1/detect", server.url)).multipart(form(images));
        request.send().await.expect("an answer").status().as_u16()
    };
    let good = photo();
    let torn = &good[..200];
    assert_eq!(send(&[&good, b"no picture at all", torn, &good, b""]).await, 200);
    assert_eq!(send(&[b"no picture at all", torn]).await, 415, "none is answered, so the first says the status");
    let refused = refused(&server).await;
    insta::assert_snapshot!(refused.iter().map(|(labels, n)| format!("{n} {labels}")).collect::<Vec<_>>().join("\n"), @r#"
    1 model="pedestrian",reason="bad_body"
    2 model="pedestrian",reason="bad_picture"
    2 model="pedestrian",reason="unsupported_format"
    "#);
    let all = series(&metrics(&server).await);
    assert_eq!(sum(&all, "ounce_http_responses_total", &["route=\"/v1/detect\"", "status=\"200\""]), 1.0);
    assert_eq!(sum(&all, "ounce_http_responses_total", &["route=\"/v1/detect\"", "status=\"415\""]), 1.0);
}

async fn a_full_queue_and_a_full_server_are_counted_once_each() {
    let models = tempfile::tempdir().expect("tempdir");
    slow(models.path());
    // One runs and two wait for it, so that the fourth is refused; where two may be in flight, the third.
    for (reason, places) in [("queue_full", "4"), ("busy", "2")] {
        let patient = [("OUNCE_REQUESTS__DEADLINE_MS", "600000"), ("OUNCE_REQUESTS__BODY_TIMEOUT_MS", "600000")];
        let settings = [patient[0], patient[1], ("OUNCE_REQUESTS__MAX_IN_FLIGHT", places)];
        let server = Server::start(models.path(), &settings).await;
        let mut asked = JoinSet::new();
        let mut told = BTreeMap::<String, f64>::new();
        // Asks again and again: whoever is accepted waits for seconds, whoever is refused hears it now.
        until(reason, async || {
            let post = server.client.post(format!("{}/v1/classify", server.url)).body(white()).send();
            asked.spawn(async { post.await.expect("an answer").json::<Value>().await.expect("JSON") });
            while let Ok(Some(answer)) = tokio::time::timeout(Duration::from_millis(100), asked.join_next()).await {
                if let Some(problem) = answer.expect("no panic")["type"].as_str() {
                    *told.entry(problem.replace("/errors#", "").replace('-', "_")).or_default() += 1.0;
                }
            }
            let account: BTreeMap<_, _> =
                told.iter().map(|(reason, n)| (format!("model=\"slow\",reason=\"{reason}\""), *n)).collect();
            // On a slow machine somebody is counted already and told later.
            told.contains_key(reason) && refused(&server).await == account
        })
        .await;
    }
}

/// The model that takes seconds over white images, with two places in its queue.
fn slow(models: &Path) {
    let (from, to) = (root().join("tests/models/slow-on-white"), models.join("slow"));
    std::fs::create_dir(&to).expect("mkdir");
    std::fs::copy(from.join("slow.onnx"), to.join("slow.onnx")).expect("copy");
    let manifest = std::fs::read_to_string(from.join("model.toml")).expect("a manifest");
    let manifest = manifest.replace("max_queue = 2000", "max_queue = 2\nmax_batch = 1");
    std::fs::write(to.join("model.toml"), manifest).expect("write");
}

/// The real routes around a server with the shipped models, and one route that panics.
struct Doors(Router);

impl Doors {
    fn open() -> Self {
        let inference = Self::starting();
        inference.load(&Selection::default()).expect("the shipped models");
        Self::around(inference)
    }

    /// A server whose models are not loaded yet.
    fn starting() -> Arc<Inference> {
        let models = ("OUNCE_MODELS".to_owned(), root().join("models").display().to_string());
        let config = Layers::defaults().and_then(|layers| layers.env([models])).and_then(|layers| layers.build());
        Inference::new(config.expect("valid")).expect("metrics")
    }

    fn around(inference: Arc<Inference>) -> Self {
        let boom = || async {
            if true {
                unreachable!("boom")
            }
        };
        let auth = Arc::new(Authenticator::open(inference.config()));
        Self(api::app_with(inference, auth, Traces::default(), Router::new().route("/boom", get(boom))))
    }

    async fn ask(&self, method: &str, path: &str, body: Vec<u8>) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).body(Body::from(body)).expect("a request");
        let response = self.0.clone().oneshot(request).await.expect("infallible");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// Answers nine images, then asks these, and returns the metrics from before and after.
    async fn traffic(&self, asked: &[(&str, u16)]) -> [BTreeMap<String, f64>; 2] {
        let before = series(&self.ask("GET", "/metrics", Vec::new()).await.1);
        for _ in 0..9 {
            assert_eq!(self.ask("POST", "/v1/detect", photo()).await.0, 200);
        }
        for (path, status) in asked {
            assert_eq!(self.ask("GET", path, Vec::new()).await.0, *status);
        }
        [before, series(&self.ask("GET", "/metrics", Vec::new()).await.1)]
    }
}

/// A test of the rules: for ten minutes the metrics are as before, then as after. A series that was not there before is not there in
/// the test, either: nobody would see it begin.
fn rules_test([before, after]: &[BTreeMap<String, f64>; 2], alerts: &Value) -> Value {
    let counters =
        |name: &&String| name.starts_with("ounce_requests_total{") || name.starts_with("ounce_refused_total{");
    let input: Vec<Value> = after
        .keys()
        .filter(counters)
        .map(|name| {
            let labels = name.replacen('{', "{namespace=\"shop\",job=\"ounce\",pod=\"a\",", 1);
            let first = before.get(name).map_or("_x9".to_owned(), |value| format!("{value}x9"));
            json!({"series": labels, "values": format!("{first} {}x20", after[name])})
        })
        .collect();
    let expected = |time: &str, alerts: &Value| json!({"alertname": "OunceErrorBudgetBurnsFast", "eval_time": time, "exp_alerts": alerts});
    json!({
        "rule_files": ["ounce.rules.yaml"],
        "evaluation_interval": "1m",
        "tests": [{
            "interval": "1m",
            "input_series": input,
            "alert_rule_test": [expected("8m", &json!([])), expected("13m", alerts)],
        }],
    })
}

fn promtool_agrees(test: &Value) -> Result<(), String> {
    let folder = tempfile::tempdir().expect("tempdir");
    std::fs::write(folder.path().join("ounce.rules.yaml"), rules()).expect("written");
    // JSON is YAML.
    std::fs::write(folder.path().join("test.yaml"), test.to_string()).expect("written");
    let said =
        program("promtool").current_dir(&folder).args(["test", "rules", "test.yaml"]).output().expect("it starts");
    if said.status.success() {
        Ok(())
    } else {
        Err(String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned())
    }
}

async fn what_probes_hear_is_no_refusal() {
    let starting = Doors::around(Doors::starting());
    for path in ["/readyz", "/v2/health/ready", "/v2/models/pedestrian/ready", "/v2/models/pedestrian/versions/1/ready"]
    {
        assert_eq!(starting.ask("GET", path, Vec::new()).await.0, 503, "{path}");
    }
    assert_eq!(starting.ask("POST", "/v1/detect", photo()).await.0, 503, "somebody who wants an answer");
    let metrics = series(&starting.ask("GET", "/metrics", Vec::new()).await.1);
    assert_eq!(sum(&metrics, "ounce_refused_total", &[]), 1.0, "{metrics:?}");
    assert_eq!(sum(&metrics, "ounce_http_responses_total", &["status=\"503\""]), 5.0, "{metrics:?}");

    let ready = Doors::open();
    assert_eq!(ready.ask("GET", "/v2/models/nobody/ready", Vec::new()).await.0, 404);
    let metrics = series(&ready.ask("GET", "/metrics", Vec::new()).await.1);
    assert_eq!(
        sum(&metrics, "ounce_refused_total", &["reason=\"unknown_model\""]),
        1.0,
        "a model that will never be ready"
    );
}

async fn a_panic_fires_the_alert_and_unknown_paths_do_not() {
    let _ = program("promtool");
    let doors = Doors::open();
    let unknown = doors.traffic(&[("/nowhere", 404), ("/boo", 404), ("/v1/models/nobody", 404)]).await;
    promtool_agrees(&rules_test(&unknown, &json!([]))).expect("what clients do wrong calls nobody");

    let panicked = doors.traffic(&[("/boom", 500)]).await;
    let internal = "ounce_refused_total{model=\"\",reason=\"internal\"}";
    assert_eq!(panicked.each_ref().map(|metrics| metrics.get(internal).copied()), [Some(0.0), Some(1.0)]);
    let fires = json!([{
        "exp_labels": {"namespace": "shop", "job": "ounce", "severity": "critical"},
        "exp_annotations": {
            "summary": "ounce misses its promise: the month's error budget will be gone within days",
            "description": "10% of the requests of shop/ounce got no answer in time; 0.1 % may.",
            "runbook_url": "docs/dashboards.md#ounceerrorbudgetburnsfast",
        },
    }]);
    promtool_agrees(&rules_test(&panicked, &fires)).expect("one panic among ten requests calls somebody");
    promtool_agrees(&rules_test(&panicked, &json!([]))).expect_err("the test of the rules can fail");
}
