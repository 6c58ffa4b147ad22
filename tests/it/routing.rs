//! A request gets the cheapest variant that will do, or is told which limit nobody meets.

use std::{fs, os::unix::fs::symlink};

use serde_json::Value;

use crate::harness::{Process, Server, photo, root, sum, until};

tests![
    the_answer_says_which_variant_and_why,
    the_operators_word_is_more_than_the_manifests,
    a_limit_that_no_variant_meets_is_refused_by_its_name,
    a_budget_of_nothing_is_refused_by_its_name,
    near_its_budget_the_server_saves_then_it_refuses,
    the_frontier_shows_every_variant_and_who_is_beaten,
    some_answers_are_compared_with_the_shadows_when_there_is_time,
    who_does_not_pay_in_dollars_is_told_in_the_currency_that_the_operator_names
];

/// The shipped detector with other routing.
fn pedestrian(routing: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("tempdir");
    let (shipped, model) = (root().join("models/pedestrian"), folder.path().join("pedestrian"));
    fs::create_dir(&model).expect("mkdir");
    let manifest = fs::read_to_string(shipped.join("model.toml")).expect("a manifest");
    fs::write(model.join("model.toml"), format!("{manifest}\n{routing}")).expect("write");
    symlink(shipped.join("1"), model.join("1")).expect("symlink");
    folder
}

async fn ask(server: &Server, query: &str) -> (u16, Value) {
    server.post(&format!("/v1/detect{query}"), "image/png", photo()).await
}

/// The variant that answered, and why.
async fn routed(server: &Server, query: &str) -> (String, String) {
    let (status, answer) = ask(server, query).await;
    assert_eq!(status, 200, "{answer}");
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    assert_eq!(answer["variant"], answer["routed"]["variant"]);
    (word(&answer["variant"]), word(&answer["routed"]["reason"]))
}

async fn the_answer_says_which_variant_and_why() {
    let server = Server::start(&root().join("models"), &[]).await;
    let pair = |variant: &str, reason: &str| (variant.to_owned(), reason.to_owned());
    assert_eq!(routed(&server, "?variant=fp16").await, pair("fp16", "requested"));
    assert_eq!(routed(&server, "?objective=accuracy").await, pair("int8", "accuracy"));
    assert_eq!(routed(&server, "?min_accuracy=0.8").await, pair("int8", "only"), "the two others have 0.796");
    assert_eq!(routed(&server, "").await.1, "cost");
    let (_, problem) = ask(&server, "?objective=speed").await;
    insta::assert_snapshot!(problem["detail"].as_str().expect("a sentence"), @"`objective`: `speed` is none of cost, latency, accuracy");
}

async fn the_operators_word_is_more_than_the_manifests() {
    let settings = [("OUNCE_MODEL__PEDESTRIAN__DEFAULT_VARIANT", "fp32"), ("OUNCE_MODEL__PEDESTRIAN__MAX_BATCH", "2")];
    let server = Server::start(&root().join("models"), &settings).await;
    assert_eq!(routed(&server, "").await, ("fp32".to_owned(), "default".to_owned()));
    let (_, model) = server.get("/v1/models/pedestrian").await;
    assert_eq!((&model["variants"][0]["name"], &model["variants"][0]["max_batch"]), (&"fp32".into(), &2.into()));
}

async fn a_limit_that_no_variant_meets_is_refused_by_its_name() {
    let server = Server::start(&root().join("models"), &[]).await;
    let (status, problem) = ask(&server, "?min_accuracy=0.99").await;
    assert_eq!((status, &problem["type"]), (400, &"/errors#no-variant".into()));
    insta::assert_snapshot!(
        problem["detail"].as_str().expect("a sentence"),
        @r#"`min_accuracy`: model `pedestrian`: no variant reaches 0.99; the most accurate one, "int8", has 0.8"#
    );
    let (status, problem) = ask(&server, "?max_cost_usd=1e-15").await;
    assert_eq!(status, 400);
    let detail = problem["detail"].as_str().expect("a sentence");
    assert!(
        detail.starts_with("`max_cost_usd`: model `pedestrian`: no variant answers for 1e-15 dollars; the cheapest"),
        "{detail}"
    );
    let body = serde_json::json!({"inputs": [], "parameters": {"min_accuracy": 0.99}}).to_string().into_bytes();
    let (status, problem) = server.post("/v2/models/pedestrian/infer", "application/json", body).await;
    assert_eq!((status, &problem["type"]), (400, &"/errors#no-variant".into()));
}

async fn a_budget_of_nothing_is_refused_by_its_name() {
    let settings = [("OUNCE_TENANTS__ACME__API_KEYS", "k-1"), ("OUNCE_TENANTS__ACME__BUDGET_USD_PER_HOUR", "0")];
    let server = Server::start(&root().join("models"), &settings).await;
    let request = server.client.post(format!("{}/v1/detect", server.url)).header("x-api-key", "k-1").body(photo());
    let response = request.send().await.expect("an answer");
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (429, &"3600".parse().expect("text")));
    let problem: Value = response.json().await.expect("JSON");
    insta::assert_snapshot!(
        problem["detail"].as_str().expect("a sentence"),
        @"the budget of tenant `acme` is 0 dollars an hour, and that allows no request at all"
    );
    assert_eq!(ask(&server, "").await.0, 200, "others pay for themselves");
}

async fn near_its_budget_the_server_saves_then_it_refuses() {
    // As much as may be saved up is enough for about twenty answers, by what the first one costs.
    let server = Server::start(&root().join("models"), &[]).await;
    let (_, answer) = ask(&server, "?variant=fp32").await;
    let usd = answer["cost"]["usd"].as_f64().expect("dollars");
    drop(server);
    let budget = format!("{}", usd * 20.0 * 60.0);
    let settings = [("OUNCE_COST__BUDGET_USD_PER_HOUR", budget.as_str())];
    let server = Server::start(&root().join("models"), &settings).await;
    let (mut saved, mut last) = (0, 200);
    for _ in 0..200 {
        let (status, answer) = ask(&server, "").await;
        saved += u32::from(answer["routed"]["reason"] == "budget");
        last = status;
        if status != 200 {
            let detail = answer["detail"].as_str().expect("a sentence");
            assert!(detail.starts_with("the budget of this server is ") && detail.contains("it is spent"), "{detail}");
            break;
        }
    }
    assert_eq!((last, saved > 0), (429, true), "{saved}");
}

async fn the_frontier_shows_every_variant_and_who_is_beaten() {
    let server = Server::start(&root().join("models"), &[]).await;
    ask(&server, "").await;
    let (status, frontier) = server.get("/v1/models/pedestrian/frontier").await;
    assert_eq!((status, &frontier["accuracy_metric"]), (200, &"ap50".into()));
    let points = frontier["points"].as_array().expect("points");
    for variant in ["int8", "fp32", "fp16"] {
        let point = points.iter().find(|point| point["variant"] == variant && point["batch_size"] == 1);
        let point = point.expect("measured before the first request");
        let positive = ["runs", "p50_ms", "p90_ms", "p99_ms", "answers_per_second", "usd_per_million", "accuracy"];
        assert!(positive.iter().all(|key| point[key].as_f64().is_some_and(|value| value > 0.0)), "{point}");
    }
    assert!(points.iter().any(|point| point["dominated"] == false), "{frontier}");
    assert_eq!(server.get("/v1/models/nobody/frontier").await.0, 404);
}

async fn some_answers_are_compared_with_the_shadows_when_there_is_time() {
    let models = pedestrian("[routing]\nshadow = { variant = \"fp32\", share = 1.0 }\nmin_agreement = 0.5");
    // A process of its own: in this one other tests use the CPUs, and then there is no time to compare.
    let server = Process::start(models.path(), &[("OUNCE_MODEL__PEDESTRIAN__DEFAULT_VARIANT", "int8")]).await;
    until("an answer is compared", async || {
        let request = server.client.post(format!("{}/v1/detect", server.url)).body(photo());
        assert_eq!(request.send().await.expect("an answer").status(), 200);
        let series = server.metrics().await;
        let of = |metric| sum(&series, metric, &["variant=\"int8\"", "shadow=\"fp32\""]);
        of("ounce_shadow_runs_total") > 0.0 && of("ounce_shadow_agreement_ratio") > 0.5
    })
    .await;
    assert!(sum(&server.metrics().await, "ounce_cost_usd_total", &["account=\"shadow\""]) > 0.0);
}

async fn who_does_not_pay_in_dollars_is_told_in_the_currency_that_the_operator_names() {
    let settings = [("OUNCE_COST__CURRENCY", "EUR"), ("OUNCE_COST__CURRENCY_PER_USD", "0.5")];
    let server = Server::start(&root().join("models"), &settings).await;
    let (_, answer) = ask(&server, "").await;
    let (usd, amount) = (answer["cost"]["usd"].as_f64(), answer["cost"]["amount"].as_f64());
    let half = usd.zip(amount).is_some_and(|(usd, amount)| (amount / usd - 0.5).abs() < 0.001);
    assert!(half && answer["cost"]["currency"] == "EUR", "{answer}");
}
