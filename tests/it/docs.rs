//! What the documentation says is so: the table of metrics is what `/metrics` shows, and no link leads nowhere.

use std::{collections::BTreeMap, fs, os::unix::fs::symlink, path::Path};

use crate::harness::{Process, Server, photo, root, until};

tests![
    the_table_of_metrics_is_what_a_server_shows,
    every_kind_of_refusal_has_its_row,
    the_example_of_a_model_is_served,
    no_link_leads_nowhere
];

/// Metrics that a machine shows only if its CPUs or its GPU tell what energy they draw.
const NEEDS_ENERGY: [&str; 3] = ["ounce_co2_grams_total", "ounce_energy_joules_total", "ounce_energy_usd_total"];

/// A row of the table without its name: type, labels, help.
type Row = (String, String, String);

async fn the_table_of_metrics_is_what_a_server_shows() {
    let path = root().join("docs/metrics.md");
    let page = fs::read_to_string(&path).expect("the page");
    let (before, rest) = page.split_once("| name | type | labels | meaning |\n|---|---|---|---|\n").expect("the table");
    let (table, after) = rest.split_once("\n\n").expect("the end of the table");
    let written = rows(table);

    let models = with_shadow();
    let settings = [
        ("OUNCE_MODEL__PEDESTRIAN__DEFAULT_VARIANT", "int8"),
        ("OUNCE_COST__BUDGET_USD_PER_HOUR", "1000"),
        ("OUNCE_TENANTS__ACME__BUDGET_USD_PER_HOUR", "1000"),
        ("OUNCE_TENANTS__ACME__REQUESTS_PER_SECOND", "1000"),
    ];
    let server = Process::start(models.path(), &settings).await;
    let mut shown = BTreeMap::new();
    until("every metric of the table is shown", async || {
        let request = server.client.post(format!("{}/v1/detect", server.url)).body(photo());
        assert_eq!(request.send().await.expect("an answer").status(), 200);
        let metrics = server.client.get(format!("{}/metrics", server.url)).send().await.expect("an answer");
        shown = shown_in(&metrics.text().await.expect("text"));
        declared().iter().all(|name| NEEDS_ENERGY.contains(&name.as_str()) || shown.contains_key(name))
    })
    .await;
    for name in NEEDS_ENERGY {
        let row = written.get(name).unwrap_or_else(|| panic!("{name} is not in docs/metrics.md"));
        shown.entry(name.to_owned()).or_insert_with(|| row.clone());
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let row = |(name, (kind, labels, help)): (&String, &Row)| format!("| `{name}` | {kind} | {labels} | {help} |");
        let table = shown.iter().map(row).collect::<Vec<_>>().join("\n");
        let head = "| name | type | labels | meaning |\n|---|---|---|---|\n";
        fs::write(&path, format!("{before}{head}{table}\n\n{after}")).expect("written");
        return;
    }
    for (name, row) in &shown {
        assert_eq!(written.get(name), Some(row), "{name} in docs/metrics.md; `make docs` writes the table anew");
    }
    assert_eq!(written.len(), shown.len(), "docs/metrics.md names metrics that are not there: `make docs`");
}

async fn every_kind_of_refusal_has_its_row() {
    let server = Server::start(&root().join("models"), &[]).await;
    let kinds = server.client.get(format!("{}/errors", server.url)).send().await.expect("an answer");
    let kinds = kinds.text().await.expect("text");
    let page = fs::read_to_string(root().join("docs/troubleshooting.md")).expect("the page");
    let mut seen = 0;
    for kind in kinds.split("<h2 id=\"").skip(1) {
        let (slug, rest) = kind.split_once("\">").expect("a heading");
        let row = format!("| {} | `{slug}` |", &rest[..3]);
        assert!(page.contains(&row), "docs/troubleshooting.md has no row that begins with {row}");
        seen += 1;
    }
    assert!(seen > 20, "{kinds}");
}

async fn the_example_of_a_model_is_served() {
    let models = tempfile::tempdir().expect("tempdir");
    let model = models.path().join("mine");
    fs::create_dir(&model).expect("mkdir");
    for file in ["model.toml", "names.txt"] {
        fs::copy(root().join("examples/custom-model").join(file), model.join(file)).expect("copied");
    }
    // A detector of ours has the layout of the example's, and as many labels.
    symlink(root().join("models/pedestrian/1/fp32.onnx.zst"), model.join("best.onnx.zst")).expect("symlink");
    let server = Server::start(models.path(), &[]).await;
    let (status, answer) = server.post("/v1/models/mine/predict", "image/png", photo()).await;
    assert_eq!((status, &answer["variant"]), (200, &"best".into()), "{answer}");
}

fn no_link_leads_nowhere() {
    let mut pages = ["README.md", "CONTRIBUTING.md", "SECURITY.md"].map(|page| root().join(page)).to_vec();
    for folder in ["docs", "examples", "examples/custom-model"] {
        let files = fs::read_dir(root().join(folder)).expect("a folder").flatten().map(|file| file.path());
        pages.extend(files.filter(|path| path.extension().is_some_and(|extension| extension == "md")));
    }
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page");
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if file.is_empty() { page.clone() } else { page.parent().expect("a folder").join(file) };
            assert!(file.exists(), "{} links to {target}", page.display());
            if !anchor.is_empty() && file.extension().is_some_and(|extension| extension == "md") {
                assert!(anchors(&file).contains(&anchor.to_owned()), "{} links to {target}", page.display());
            }
        }
    }
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).expect("a page");
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim());
    let kept = |c: char| c.is_alphanumeric() || c == '-' || c == '_' || c == ' ';
    headings
        .map(|line| line.chars().filter(|c| kept(*c)).collect::<String>().to_lowercase().replace(' ', "-"))
        .collect()
}

/// The shipped detector, each of whose answers is compared with another variant's.
fn with_shadow() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("tempdir");
    let (shipped, model) = (root().join("models/pedestrian"), folder.path().join("pedestrian"));
    fs::create_dir(&model).expect("mkdir");
    let manifest = fs::read_to_string(shipped.join("model.toml")).expect("a manifest");
    let routing = "[routing]\nshadow = { variant = \"fp32\", share = 1.0 }";
    fs::write(model.join("model.toml"), format!("{manifest}\n{routing}")).expect("write");
    symlink(shipped.join("1"), model.join("1")).expect("symlink");
    folder
}

/// The rows of a Markdown table by their names.
fn rows(table: &str) -> BTreeMap<String, Row> {
    let cells = table.lines().map(|line| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>());
    cells
        .map(|cells| {
            let [name, kind, labels, help] = cells[..] else { panic!("a row of four cells: {cells:?}") };
            (name.trim_matches('`').to_owned(), (kind.to_owned(), labels.to_owned(), help.to_owned()))
        })
        .collect()
}

/// Every metric of ours that a text of Prometheus shows.
fn shown_in(text: &str) -> BTreeMap<String, Row> {
    let after = |start: &str| -> BTreeMap<&str, &str> {
        text.lines().filter_map(|line| line.strip_prefix(start)?.split_once(' ')).collect()
    };
    let (helps, kinds) = (after("# HELP "), after("# TYPE "));
    let ours = helps.into_iter().filter(|(name, _)| name.starts_with("ounce_"));
    ours.map(|(name, help)| (name.to_owned(), (kinds[name].to_owned(), labels(text, name), help.to_owned()))).collect()
}

/// The labels of a metric, as its first line has them; `le` is the histograms' own.
fn labels(text: &str, name: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(name)).expect("a line");
    let inside = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}')).map_or("", |(inside, _)| inside);
    let names = inside.split(',').filter_map(|label| Some(label.split_once('=')?.0)).filter(|label| *label != "le");
    names.map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ")
}

/// The names of all metrics, as the source declares them.
fn declared() -> Vec<String> {
    fn read(path: &Path, text: &mut String) {
        if path.is_dir() {
            fs::read_dir(path).expect("a folder").flatten().for_each(|entry| read(&entry.path(), text));
        } else if !path.ends_with("tests.rs") {
            *text += &fs::read_to_string(path).expect("text");
        }
    }
    let mut source = String::new();
    read(&root().join("src/telemetry/metrics"), &mut source);
    let quoted = source.split('"').skip(1).step_by(2);
    let name = |text: &&str| {
        text.starts_with("ounce_") && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    };
    let names: Vec<_> = quoted.filter(name).map(ToOwned::to_owned).collect();
    assert!(names.len() > 30, "the source declares metrics: {names:?}");
    names
}
