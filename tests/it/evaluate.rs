//! `ounce evaluate` tells how good, fast and large every variant is, and what is wrong with what it was given.

use std::{
    path::Path,
    process::{Command, Output},
};

use serde_json::Value;

use crate::harness::{photo, root, white};

fn ounce(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ounce")).current_dir(root()).args(arguments).output().expect("the binary")
}

fn evaluate(model: &str, data: &Path, more: &[&str]) -> Output {
    let data = data.display().to_string();
    ounce(&[&["evaluate", model, &data], more].concat())
}

fn said(output: &Output) -> String {
    assert!(!output.status.success(), "it is refused");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| Value::String(said(output)))
}

/// Two pictures with labels in YOLO's form, of which one is no picture.
fn labelled() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("tempdir");
    let write = |path: &str, content: &[u8]| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("create");
        std::fs::write(path, content).expect("write");
    };
    write("images/a.png", &photo());
    write("labels/a.txt", b"0 0.5 0.55 0.17 0.63\nnonsense\n");
    write("images/b.png", b"\x89PNG\r\n\x1a\nbut no more");
    write("images/c.png", &white());
    folder
}

#[test]
fn what_is_wrong_with_the_data_is_told_and_costs_no_other_picture_anything() {
    let folder = labelled();
    let output = evaluate("models/pedestrian", folder.path(), &["--json"]);
    assert_eq!(output.status.code(), Some(1), "a picture is broken");
    let report = json(&output);
    assert_eq!(report["pictures"], 2, "{report}");
    assert!(report["unreadable"][0].as_str().is_some_and(|why| why.contains("b.png")), "{report}");
    assert_eq!(report["unreadable"].as_array().map(Vec::len), Some(1), "told once, not once a variant: {report}");
    assert_eq!(report["remarks"][0], "2 pictures without a label file count as empty");
    assert_eq!(report["remarks"][1], "1 label lines could not be read and are left out");
}

#[test]
fn what_does_not_fit_is_refused_with_what_would() {
    let folder = labelled();
    let empty = tempfile::tempdir().expect("tempdir");
    let cases: [(&str, &Path, &[&str], &str); 7] = [
        ("models/pedestrian", empty.path(), &[], "YOLO text labels"),
        ("models/pedestrian-presence", empty.path(), &[], "one folder a class, named like the label"),
        ("models/pedestrian-presence", folder.path(), &[], "is no label of pedestrian-presence"),
        ("models", folder.path(), &[], "name one model's folder"),
        ("models/nobody", folder.path(), &[], "cannot be opened"),
        ("models/pedestrian", folder.path(), &["--variant", "int1"], "there is no variant \"int1\"; there are "),
        ("models/pedestrian", folder.path(), &["--against", "models/pedestrian-presence"], "the same table"),
    ];
    for (model, data, more, expected) in cases {
        let sentence = said(&evaluate(model, data, more));
        assert!(sentence.contains(expected), "{model}: {sentence}");
    }
    assert!(said(&evaluate("models/pedestrian", folder.path(), &["-o", "chart.jpg"])).contains("a .png file"));
}
