//! `ounce tune` finds a setting that keeps the promise, or says that there is none.

use std::{fs, process::Output};

use crate::harness::{is_chart, ounce, root};

tests![the_cheapest_setting_that_keeps_the_promise_is_written_and_drawn, a_promise_that_nothing_keeps_is_no_setting];

fn tune(folder: &std::path::Path, arguments: &[&str]) -> Output {
    let mut command = ounce();
    let models = root().join("models");
    command.current_dir(folder).args(["tune", "pedestrian-presence", "--models"]).arg(&models).args(arguments);
    // Where the project is, ONNX Runtime is found; elsewhere it has to be named.
    command.env("OUNCE_RUNTIME__LIBRARY", library());
    command.output().expect("the binary runs")
}

/// ONNX Runtime's file, as `make runtime` puts it.
fn library() -> std::path::PathBuf {
    let flavour = std::env::var_os("OUNCE_RUNTIME__FLAVOUR").unwrap_or_else(|| "cpu".into());
    let files = fs::read_dir(root().join(".runtime").join(flavour)).expect("make runtime has fetched it").flatten();
    let mut found = files
        .map(|file| file.path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libonnxruntime.so")));
    found.next().expect("a library")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn the_cheapest_setting_that_keeps_the_promise_is_written_and_drawn() {
    let folder = tempfile::tempdir().expect("tempdir");
    let found = tune(folder.path(), &["--slo-p99", "5s", "--step", "100ms", "--plot", "frontier.svg"]);
    assert!(found.status.success(), "{}", text(&found.stderr));
    let table = text(&found.stdout);
    assert!(
        table.contains("int8") && table.contains("fp16") && table.contains("cheapest with p99 within 5000 ms"),
        "{table}"
    );

    assert!(is_chart(&folder.path().join("frontier.svg")), "an SVG file");
    let written = folder.path().join("pedestrian-presence.tuned.toml");
    let settings =
        ounce().args(["serve", "--print-config", "--config"]).arg(&written).output().expect("the binary runs");
    let settings = text(&settings.stdout);
    assert!(settings.contains("[model.pedestrian-presence]"), "{settings}");
    let line = settings.lines().find(|line| line.starts_with("slo_p99_ms = 5000")).expect("the promise");
    assert!(line.contains("pedestrian-presence.tuned.toml"), "{line}");
}

fn a_promise_that_nothing_keeps_is_no_setting() {
    let folder = tempfile::tempdir().expect("tempdir");
    let found = tune(folder.path(), &["--slo-p99", "0.001ms", "--step", "50ms"]);
    assert!(!found.status.success());
    assert!(text(&found.stdout).contains("nothing here keeps p99 within 0.001 ms"), "{}", text(&found.stdout));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "nothing is written");

    let found = tune(folder.path(), &["--slo-p99", "5s", "--min-accuracy", "0.99"]);
    let said = text(&found.stderr);
    assert!(!found.status.success() && said.contains("no variant reaches the accuracy of 0.99; the best, "), "{said}");
}
