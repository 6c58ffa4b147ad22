//! Two programs that share no code, the trainer's evaluation (Python, numpy, OpenCV) and `ounce evaluate`, come to the
//! same scores on the same files.

use std::path::Path;

use serde_json::Value;

use crate::harness::{ounce, python, root, shared};

tests![
    the_detector_scores_the_same_in_python_and_through_the_server,
    the_classifier_scores_the_same_in_python_and_through_the_server_and_reaches_its_f1
];

/// Half a point.
const APART: f64 = 0.005;

/// The trainer's package, as `make test` installs what it needs.
fn trainer(arguments: &[&str]) -> String {
    let output = python(&[root().join("models/training")]).args(arguments).output().expect("Python 3 is there");
    assert!(output.status.success(), "`make test` installs it: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn compare(model: &str, data: &Path, metrics: &[&str], at_least: f64) -> Value {
    let (model, data) = (root().join("models").join(model).display().to_string(), data.display().to_string());
    let theirs = trainer(&["-m", "ounce_training", "evaluate", "--folder", &model, "--data", &data, "--json"]);
    let theirs: Value = serde_json::from_str(&theirs).expect("JSON");
    let ours = ounce().args(["evaluate", &model, &data, "--json", "--providers", "cpu"]).output().expect("the binary");
    assert!(ours.status.success(), "{}", String::from_utf8_lossy(&ours.stderr));
    let ours: Value = serde_json::from_slice(&ours.stdout).expect("JSON");
    let rows = ours["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), theirs.as_object().map_or(0, serde_json::Map::len), "{ours} {theirs}");
    let number = |value: &Value| value.as_f64().expect("a number");
    for row in rows {
        let variant = row["variant"].as_str().expect("a name");
        for metric in metrics {
            let (mine, other) = (number(&row[*metric]), number(&theirs[variant][*metric]));
            println!("{variant:<6} {metric:<9} ounce {mine:.4} Python {other:.4}");
            assert!((mine - other).abs() <= APART, "{variant} {metric}: {mine} {other}");
        }
        assert!(number(&row[metrics[0]]) >= at_least, "two that find nothing agree, too: {row}");
        let curves =
            [&row["precision_at_recall"], &theirs[variant]["curve"]].map(|curve| curve.as_array().expect("a list"));
        let mean = curves[0].iter().zip(curves[1]).map(|(a, b)| (number(a) - number(b)).abs()).sum::<f64>() / 101.0;
        assert!(mean <= APART, "{variant}: the curves are {mean} apart");
    }
    ours
}

fn the_detector_scores_the_same_in_python_and_through_the_server() {
    let people = shared("datasets/people/valid");
    compare("pedestrian", &people, &["ap50", "ap50_95"], 0.70);
    let coco = shared("datasets/coco128");
    // Photos of other sizes and shapes: here the resizing counts.
    compare("pedestrian", &coco, &["ap50", "ap50_95"], 0.10);
}

fn the_classifier_scores_the_same_in_python_and_through_the_server_and_reaches_its_f1() {
    let people = shared("datasets/people/valid");
    let folder = tempfile::tempdir().expect("tempdir");
    let cut = "import sys; from pathlib import Path; from ounce_training.data import read_split; \
               from ounce_training.windows import write_windows; \
               write_windows(read_split(Path(sys.argv[1]))[0], Path(sys.argv[2]), 4000)";
    trainer(&["-c", cut, &people.display().to_string(), &folder.path().display().to_string()]);
    let metrics = ["f1", "accuracy", "precision", "recall"];
    let report = compare("pedestrian-presence", folder.path(), &metrics, 0.90);
    for row in report["rows"].as_array().expect("rows") {
        let matrix = row["confusion"].as_array().into_iter().flatten().filter_map(Value::as_array).flatten();
        let counts: Vec<u64> = matrix.filter_map(Value::as_u64).collect();
        assert_eq!((counts.len(), counts.iter().sum::<u64>()), (4, 4000), "{row}");
    }
}
