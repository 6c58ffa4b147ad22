//! Which room knows what: invariants that are absences.

use std::{fs, path::Path};

use crate::harness::root;

/// The room or file, and the words that must not stand in its code.
const ABSENCES: [(&str, &[&str]); 5] = [
    ("src/vision", &["tokio", "axum", "ort::"]),
    ("src/cost", &["tokio", "axum", "ort::"]),
    ("src/router", &["tokio", "axum", "ort::"]),
    ("src/http", &["crate::engine", "crate::batch", "crate::vision", "ort::"]),
    ("src/pipeline", &["axum", "StatusCode", "ort::"]),
];

#[test]
fn rooms_do_not_know_what_is_not_theirs() {
    for (room, words) in ABSENCES {
        for (path, code) in files(&root().join(room)) {
            for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
                let clean = line.replace("import::", "").replace("Port::", "").replace("port::", "");
                let word = words.iter().find(|word| clean.contains(*word));
                assert!(word.is_none(), "{path}: `{}` in {}", word.expect("some"), line.trim());
            }
        }
    }
}

#[test]
fn no_session_is_behind_a_lock_and_no_file_is_too_long() {
    for (path, code) in files(&root().join("src")) {
        assert!(!code.contains("Mutex<Session>"), "{path}");
        assert!(code.lines().count() <= 400, "{path} has {} lines", code.lines().count());
    }
}

fn files(folder: &Path) -> Vec<(String, String)> {
    let entries = fs::read_dir(folder).expect("a room").flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| match path.extension() {
            Some(extension) if extension == "rs" => {
                vec![(path.display().to_string(), fs::read_to_string(&path).expect("text"))]
            }
            _ if path.is_dir() => files(&path),
            _ => Vec::new(),
        })
        .collect()
}
