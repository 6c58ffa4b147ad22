//! What operators look at and are called by: every panel of the dashboard has numbers of a real Prometheus, every rule is
//! evaluated by one, and every alert fires when it should.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{
    harness::{Server, photo, root, until},
    scraped::{Prometheus, client_that_goes_away, program, traffic},
};

tests![
    every_alert_fires_when_it_should_and_only_then,
    every_alert_is_tested_both_ways_and_says_what_to_do,
    panels_lie_side_by_side_and_say_what_they_show,
    every_panel_has_numbers_and_every_rule_is_evaluated
];

/// What need not be there: not every machine tells what it draws.
const SILENT: &str = "ounce_energy_joules_total";

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).expect(path)
}

/// The rules as Prometheus reads them: what is below `spec:` is such a file.
pub(crate) fn rules() -> String {
    let resource = read("k8s/base/prometheusrule.yaml");
    resource.split_once("\nspec:\n").expect("a spec").1.to_owned()
}

/// What stands behind these words at the beginning of a line, where it is indented or not.
fn named<'a>(text: &'a str, words: &str) -> Vec<&'a str> {
    text.lines().filter_map(|line| line.trim_start().strip_prefix(words)).collect()
}

fn dashboard() -> Value {
    serde_json::from_str(&read("k8s/grafana/ounce.json")).expect("JSON")
}

fn panels() -> Vec<Value> {
    dashboard()["panels"].as_array().expect("panels").clone()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

/// A query as Grafana would send it with the variables as they are at first.
fn filled(query: &str) -> String {
    let variables = [
        ("$__rate_interval", "1m"),
        ("$__range", "1m"),
        ("$namespace", ".*"),
        ("$job", "ounce"),
        ("$pod", ".*"),
        ("$model", ".*"),
        ("$p99_ms", "250"),
        ("$objective", "99.9"),
    ];
    variables.iter().fold(query.to_owned(), |query, (name, value)| query.replace(name, value))
}

fn queries(panel: &Value) -> Vec<String> {
    let targets = panel["targets"].as_array().into_iter().flatten();
    targets.map(|target| filled(text(target, "expr"))).collect()
}

/// What fills the variables, `label_values(SERIES, LABEL)`, as a query that has an answer where they have one.
fn choices() -> Vec<String> {
    let dashboard = dashboard();
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let asked = variables.iter().filter_map(|variable| variable["query"]["query"].as_str()).map(filled);
    let query = |asked: String| {
        let inner = asked.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')')).expect("label_values");
        let (series, label) = inner.rsplit_once(", ").expect("series and label");
        // vector(0) has no labels, so that series without this one go.
        format!("{series} unless on ({label}) vector(0)")
    };
    asked.map(query).collect()
}

fn every_alert_fires_when_it_should_and_only_then() {
    let mut promtool = program("promtool");
    let folder = tempfile::tempdir().expect("tempdir");
    std::fs::write(folder.path().join("ounce.rules.yaml"), rules()).expect("written");
    std::fs::write(folder.path().join("rules_test.yaml"), read("k8s/rules_test.yaml")).expect("written");
    let said = promtool.current_dir(&folder).args(["test", "rules", "rules_test.yaml"]).output().expect("it starts");
    let all = [said.stdout, said.stderr].concat();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&all));
}

fn every_alert_is_tested_both_ways_and_says_what_to_do() {
    let (rules, tests, docs) = (rules(), read("k8s/rules_test.yaml"), read("docs/dashboards.md"));
    let alerts = named(&rules, "- alert: ");
    assert!(!alerts.is_empty());
    for alert in &alerts {
        let cases = tests.split("- alertname: ").filter(|case| case.lines().next() == Some(alert));
        let (silent, fires): (Vec<&str>, Vec<&str>) = cases.partition(|case| case.contains("exp_alerts: []"));
        assert!(!silent.is_empty() && !fires.is_empty(), "{alert}: {silent:?} {fires:?}");
        assert!(named(&docs, "### ").contains(alert), "docs/dashboards.md says nothing of {alert}");
        let place = format!("docs/dashboards.md#{}", alert.to_lowercase());
        assert!(named(&rules, "runbook_url: ").contains(&place.as_str()), "{alert} does not lead to {place}");
    }
    for key in ["severity: ", "summary: ", "description: ", "runbook_url: "] {
        assert_eq!(named(&rules, key).len(), alerts.len(), "{key}");
    }
}

fn panels_lie_side_by_side_and_say_what_they_show() {
    let panels = panels();
    let mut taken = BTreeSet::new();
    for panel in &panels {
        let title = text(panel, "title");
        let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().expect("a number"));
        assert!(w > 0 && h > 0 && x + w <= 24, "{title}: {}", panel["gridPos"]);
        for (x, y) in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert((x, y)), "{title} lies on another panel");
        }
        if text(panel, "type") != "row" {
            assert!(!text(panel, "description").is_empty(), "{title} has no description");
            assert!(!queries(panel).is_empty(), "{title} has no query");
            // A table has units by column, a heatmap on its axis.
            let unit = panel.pointer("/fieldConfig/defaults/unit").or(panel.pointer("/options/yAxis/unit"));
            assert!(unit.is_some() || text(panel, "type") == "table", "{title} has no unit");
        }
        let sources = panel["targets"].as_array().into_iter().flatten().chain([panel]);
        let chosen = |part: &Value| part["datasource"].is_null() || part["datasource"]["uid"] == "${datasource}";
        assert!(sources.clone().all(chosen), "{title} names a data source of one Grafana");
    }
    let titles: BTreeSet<&str> = panels.iter().map(|panel| text(panel, "title")).collect();
    assert_eq!(titles.len(), panels.len(), "two panels have one title");
}

async fn every_panel_has_numbers_and_every_rule_is_evaluated() {
    let folder = tempfile::tempdir().expect("tempdir");
    let file = folder.path().join("ounce.rules.yaml");
    std::fs::write(&file, rules()).expect("written");
    let settings = [
        ("OUNCE_COST__BUDGET_USD_PER_HOUR", "100"),
        ("OUNCE_TENANTS__ACME__API_KEYS", "k"),
        ("OUNCE_TENANTS__ACME__BUDGET_USD_PER_HOUR", "100"),
    ];
    let server = Server::start(&root().join("models"), &settings).await;
    let prometheus = Prometheus::start(&server, Some(&file)).await;

    let large = client_that_goes_away(&server).await;
    let (late, _) = server.post("/v1/detect?deadline_ms=1", "image/png", large).await;
    assert!([429, 504].contains(&late), "{late}");
    assert_eq!(server.post("/v2/repository/models/pedestrian/load", "application/json", b"{}".to_vec()).await.0, 200);

    let panels = panels();
    let pairs =
        panels.iter().flat_map(|panel| queries(panel).into_iter().map(move |query| (text(panel, "title"), query)));
    let records = rules();
    let records = named(&records, "- record: ").into_iter().map(|name| ("rules", name.to_owned()));
    let choices = choices().into_iter().map(|query| ("variables", query));
    for (title, query) in pairs.chain(records).chain(choices) {
        until(&format!("{title} has a number: {query}"), async || {
            traffic(&server).await;
            let theirs = server.client.post(format!("{}/v1/detect", server.url)).header("x-api-key", "k").body(photo());
            assert_eq!(theirs.send().await.expect("an answer").status(), 200);
            let numbers = prometheus.ask(&server.client, &query).await;
            numbers.iter().any(|number| number.is_finite()) || may_be_silent(&query)
        })
        .await;
    }

    let evaluated = async || {
        let answer = prometheus.get(&server.client, "/api/v1/rules").await;
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect::<Vec<Value>>()
    };
    until("every rule has been evaluated", async || {
        let rules = evaluated().await;
        !rules.is_empty() && rules.iter().all(|rule| rule["health"] != "unknown")
    })
    .await;
    for rule in evaluated().await {
        assert_eq!((text(&rule, "health"), text(&rule, "lastError")), ("ok", ""), "{rule}");
    }
}

fn may_be_silent(query: &str) -> bool {
    query.contains(SILENT)
}
