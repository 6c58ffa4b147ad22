//! Which room knows what: invariants that are absences.

use std::{fs, path::Path};

use crate::harness::root;

tests![
    rooms_use_those_below_them_only,
    no_session_is_behind_a_lock_and_no_file_is_too_long,
    only_telemetry_knows_opentelemetry
];

/// A room may use those further down, never those further up; rooms in one line are on one floor.
const FLOORS: [&[&str]; 12] = [
    &["cli"],
    &["tune", "simulate"],
    &["server", "bench"],
    &["http", "evaluate"],
    &["pipeline"],
    &["router", "scale"],
    &["batch"],
    &["engine"],
    &["vision"],
    &["registry"],
    &["cost"],
    &["metrics", "telemetry", "lifecycle", "config", "error", "plot"],
];

/// The room, and what it must not know although it may lie further down or is a library.
const ABSENCES: [(&str, &[&str]); 9] = [
    (
        "bench",
        &["http", "evaluate", "pipeline", "router", "batch", "engine", "vision", "registry", "cost", "axum", "ort"],
    ),
    ("vision", &["tokio", "axum", "ort"]),
    ("cost", &["tokio", "axum", "ort"]),
    ("router", &["tokio", "axum", "ort"]),
    ("scale", &["tokio", "axum", "ort"]),
    ("simulate", &["tokio", "axum", "ort", "http", "bench", "pipeline", "engine"]),
    ("batch", &["axum", "ort"]),
    ("pipeline", &["axum", "ort"]),
    ("http", &["engine", "batch", "vision", "ort"]),
];

fn rooms_use_those_below_them_only() {
    let floor = |room: &str| FLOORS.iter().position(|rooms| rooms.contains(&room));
    let mut seen = 0;
    for (path, code) in files(&root().join("src")) {
        let relative = path.split("/src/").last().expect("below src");
        let room = relative.split(['/', '.']).next().expect("a room");
        let Some(mine) = floor(room) else { continue };
        for used in uses(&code, "crate") {
            let Some(theirs) = floor(&used) else { continue };
            seen += 1;
            assert!(
                used == room || theirs > mine || (theirs == mine && mine == 11),
                "{relative} uses {used}, which is above"
            );
        }
        let forbidden = ABSENCES.iter().find(|(name, _)| *name == room).map_or(&[][..], |(_, words)| words);
        let known = uses(&code, "crate").into_iter().chain(libraries(&code));
        for word in known {
            assert!(!forbidden.contains(&word.as_str()), "{relative} knows {word}");
        }
    }
    assert!(seen > 50, "the test reads imports at all: {seen}");
}

fn no_session_is_behind_a_lock_and_no_file_is_too_long() {
    for (path, code) in files(&root().join("src")) {
        assert!(!code.contains("Mutex<Session>"), "{path}");
        assert!(code.lines().count() <= 400, "{path} has {} lines", code.lines().count());
    }
}

fn only_telemetry_knows_opentelemetry() {
    for (path, code) in files(&root().join("src")) {
        assert!(!code.contains("opentelemetry") || path.contains("/src/telemetry/"), "{path}");
    }
}

/// The first segments after `crate::`, in `use crate::{a::…, b}` and in `crate::a::…`.
fn uses(code: &str, start: &str) -> Vec<String> {
    let plain: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let mut found = Vec::new();
    for (at, _) in plain.match_indices(&format!("{start}::")) {
        let rest = &plain[at + start.len() + 2..];
        if !rest.starts_with('{') {
            found.push(word(rest));
            continue;
        }
        let (mut depth, mut segment) = (0, String::new());
        for c in rest.chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => found.push(word(std::mem::take(&mut segment).trim())),
                _ if depth == 1 => segment.push(c),
                _ => {}
            }
            if depth == 0 {
                found.push(word(segment.trim()));
                break;
            }
        }
    }
    found
}

/// The libraries that are named in imports or paths.
fn libraries(code: &str) -> Vec<String> {
    let lines = code.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let names = lines.flat_map(|line| {
        ["tokio", "axum", "ort"].into_iter().filter(move |name| {
            line.match_indices(&format!("{name}::"))
                .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':'))
        })
    });
    names.map(ToOwned::to_owned).collect()
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
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
