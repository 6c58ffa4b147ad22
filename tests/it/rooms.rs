//! Which room knows what: the invariants of the house, most of which are absences. Re-exports are followed: who uses what one room
//! only passes on knows the room that it comes from.
//!
//! What does not hold yet stands in the list beside its rule, named `TODAY`; a new break of a rule fails.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    harness::root,
    source::{File, Items, Place, Source},
};

tests![
    rooms_use_those_below_them_only,
    libraries_stay_in_their_rooms,
    the_api_takes_nothing_but_plain_types_from_below_the_inference,
    tools_know_no_more_than_they_need,
    no_types_methods_are_spread,
    no_type_name_has_two_meanings,
    no_function_has_too_many_arguments,
    nobody_decides_by_a_metric,
    no_session_is_behind_a_lock_and_no_file_is_too_long,
];

/// From top to bottom: a room may use those further down, never those further up. Rooms of one floor may use each other as long
/// as that makes no circle.
const FLOORS: [&[&str]; 21] = [
    &["main"],
    // For fuzzers only; it reaches into every room that reads strangers' bytes.
    &["fuzzing"],
    &["cli"],
    &["tools"],
    &["server"],
    &["api"],
    &["oip"],
    &["auth", "feedback"],
    &["inference"],
    &["models"],
    &["tasks"],
    &["routing"],
    &["capacity"],
    &["scheduler"],
    &["engine"],
    &["vision"],
    &["cost"],
    &["limits"],
    &["telemetry"],
    &["http_client"],
    &["files", "manifest", "stats", "config", "lifecycle", "error"],
];

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// Fails when a rule is broken in a way that is not among those known; tells which of these hold by now.
fn hold(broken: &BTreeMap<String, BTreeSet<String>>, today: &[&str]) {
    for (what, places) in broken {
        let known = if today.contains(&what.as_str()) { "known" } else { "NEW" };
        println!("{known}: {what}: {}", places.iter().cloned().collect::<Vec<_>>().join(", "));
    }
    for what in today.iter().filter(|what| !broken.contains_key(**what)) {
        println!("holds by now, take it out of TODAY: {what}");
    }
    let new: Vec<_> = broken.keys().filter(|what| !today.contains(&what.as_str())).collect();
    assert!(new.is_empty(), "{new:#?}");
}

fn source() -> Source {
    let source = Source::read(&root().join("src"));
    assert!(source.files.len() > 100, "it reads our code at all");
    source
}

/// The room and the whole path of what is ours.
fn ours(place: &Place) -> Option<(&str, String)> {
    match place {
        Place::Ours(path) => Some((path.first()?.as_str(), path.join("::"))),
        Place::Library(_) => None,
    }
}

fn rooms_use_those_below_them_only() {
    const TODAY: &[&str] = &[];
    let source = source();
    let mut broken: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut beside: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut seen = 0;
    for file in source.code().filter(|file| !file.module.is_empty()) {
        let room = file.room();
        let Some(mine) = floor(room) else {
            broken.entry(format!("{room} has no floor")).or_default().insert(file.name.clone());
            continue;
        };
        for place in source.known(file) {
            let Some((other, path)) = ours(&place) else { continue };
            let Some(theirs) = floor(other) else { continue };
            seen += 1;
            if theirs < mine {
                broken.entry(format!("{room} uses {other}")).or_default().insert(format!("{} {path}", file.name));
            } else if theirs == mine && other != room {
                beside.entry(room.to_owned()).or_default().insert(other.to_owned());
            }
        }
    }
    // Whoever can be reached from itself is in a circle.
    for room in beside.keys() {
        let (mut reached, mut next) = (BTreeSet::new(), vec![room]);
        while let Some(rooms) = next.pop().and_then(|room| beside.get(room)) {
            next.extend(rooms.iter().filter(|other| reached.insert((*other).clone())));
        }
        if reached.contains(room) {
            broken.entry(format!("{room} uses itself by others")).or_default().extend(reached);
        }
    }
    assert!(seen > 500, "the test reads paths at all: {seen}");
    hold(&broken, TODAY);
}

/// Files that decide and do not act: who waits, and what runs together.
const POLICY: [&str; 4] =
    ["scheduler/backlog.rs", "scheduler/fair_queue.rs", "scheduler/latency_profile.rs", "scheduler/policy.rs"];

/// Whether a file must not know a library.
fn is_foreign(file: &File, library: &str) -> bool {
    let room = file.room();
    let pure = ["vision", "tasks", "routing", "capacity", "cost", "limits", "stats", "manifest"].contains(&room)
        || POLICY.contains(&file.name.as_str());
    let below_api = floor(room) > floor("api");
    match library {
        "tokio" => pure || room == "oip",
        // The server takes the router as it is.
        "axum" => !["api", "server"].contains(&room),
        "tonic" => room != "api",
        // Status codes; those who ask servers, instead of being one, read them.
        "http" => below_api && !["telemetry", "http_client"].contains(&room),
        "hyper" | "hyper_util" | "hyper_rustls" => below_api && !["telemetry", "http_client"].contains(&room),
        "jsonwebtoken" | "ring" => room != "auth",
        "ort" => room != "engine",
        "opentelemetry" | "opentelemetry_otlp" | "opentelemetry_sdk" => room != "telemetry",
        _ => false,
    }
}

fn libraries_stay_in_their_rooms() {
    const TODAY: &[&str] = &[];
    let source = source();
    let mut broken: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in source.code() {
        for place in source.known(file) {
            // One name alone is a variable.
            if let Place::Library(path) = place
                && path.len() > 1
                && is_foreign(file, &path[0])
            {
                let who = if file.room() == "scheduler" { &file.name } else { file.room() };
                broken.entry(format!("{who} knows {}", path[0])).or_default().insert(file.name.clone());
            }
        }
    }
    hold(&broken, TODAY);
}

/// What `api` may take from below `inference`: what things are and what they are called, nothing that acts. A room stands for all
/// that is in it.
const PLAIN: &[&str] = &[
    "config",
    "error",
    "lifecycle",
    "manifest",
    "stats",
    // How a prediction is written.
    "tasks",
    // What a client asks for.
    "routing::policy::VariantPreference",
    "scheduler::job::Priority",
    "vision::draw::DrawOptions",
    "vision::draw::ImageFormat",
    "vision::draw::redact::Redaction",
    // What is told of a model: its facts, its inputs and outputs, its numbers.
    "models::model",
    "models::repository::ModelStatus",
    "vision::tensor::Port",
    "scheduler::latency_profile::ProfilePoint",
    "scheduler::stats::SizeStats",
    "scheduler::stats::StatisticDuration",
    // The boundary counts what was really sent, and traces it.
    "telemetry",
    // The price of a request, and who pays it.
    "cost::price",
    "cost::tenants",
    // What a client may still use, and who the client is.
    "limits",
];

fn the_api_takes_nothing_but_plain_types_from_below_the_inference() {
    const TODAY: &[&str] = &[];
    let source = source();
    let mut broken: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in source.code().filter(|file| file.room() == "api") {
        for place in source.known(file) {
            let Some((room, path)) = ours(&place) else { continue };
            let plain =
                |plain: &&str| path.strip_prefix(*plain).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
            if floor(room) > floor("inference") && !PLAIN.iter().any(plain) {
                broken.entry(path).or_default().insert(file.name.clone());
            }
        }
    }
    hold(&broken, TODAY);
}

fn tools_know_no_more_than_they_need() {
    // A load generator knows HTTP, not the server; a simulation knows neither.
    const ABSENCES: [(&str, &[&str]); 2] = [
        (
            "tools/bench/",
            &[
                "api",
                "oip",
                "inference",
                "models",
                "tasks",
                "routing",
                "scheduler",
                "engine",
                "vision",
                "cost",
                "axum",
                "ort",
            ],
        ),
        ("tools/simulate/", &["api", "inference", "models", "engine", "tokio", "axum", "ort"]),
    ];
    let source = source();
    let mut broken: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (folder, absent) in ABSENCES {
        for file in source.code().filter(|file| file.name.starts_with(folder)) {
            for place in source.known(file) {
                let first = match &place {
                    Place::Library(path) if path.len() < 2 => continue,
                    Place::Ours(path) | Place::Library(path) => path.first(),
                };
                if let Some(first) = first.filter(|first| absent.contains(&first.as_str())) {
                    broken.entry(format!("{folder} knows {first}")).or_default().insert(file.name.clone());
                }
            }
        }
    }
    hold(&broken, &[]);
}

fn no_types_methods_are_spread() {
    const TODAY: &[&str] = &[];
    let source = source();
    let mut files: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    for file in source.code() {
        for path in Items::of(file).impls {
            if let Some((_, name)) = ours(&source.resolve(&file.module, &path)) {
                files.entry(name).or_default().insert((file.room().to_owned(), file.name.clone()));
            }
        }
    }
    let rooms =
        |files: &BTreeSet<(String, String)>| files.iter().map(|(room, _)| room.clone()).collect::<BTreeSet<_>>().len();
    files.retain(|_, files| files.len() > 2 || rooms(files) > 1);
    let broken = files.into_iter().map(|(name, files)| (name, files.into_iter().map(|(_, file)| file).collect()));
    hold(&broken.collect(), TODAY);
}

fn no_type_name_has_two_meanings() {
    /// The same thing in two places that have nothing to do with each other: fewer than five.
    const SAME: &[&str] = &[];
    const TODAY: &[&str] = &[];
    let source = source();
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in source.code() {
        for name in Items::of(file).types {
            places.entry(name).or_default().push(file.name.clone());
        }
    }
    assert!(SAME.len() < 5);
    places.retain(|name, files| files.len() > 1 && !SAME.contains(&name.as_str()));
    hold(&places.into_iter().map(|(name, files)| (name, files.into_iter().collect())).collect(), TODAY);
}

fn no_function_has_too_many_arguments() {
    const MOST: usize = 6;
    const TODAY: &[&str] = &[];
    let source = source();
    let mut broken: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in source.code() {
        for (name, arguments) in Items::of(file).functions {
            if arguments > MOST {
                broken.entry(format!("{name} has {arguments} arguments")).or_default().insert(file.name.clone());
            }
        }
    }
    hold(&broken, TODAY);
}

fn nobody_decides_by_a_metric() {
    const DECIDE: [&str; 7] = ["inference", "models", "tasks", "routing", "capacity", "scheduler", "cost"];
    const TODAY: &[&str] = &[];
    let source = source();
    let metrics = source.code().filter(|file| file.name.starts_with("telemetry/metrics"));
    // Theirs, and those of the library's counters.
    let getters: BTreeSet<_> = metrics
        .flat_map(|file| Items::of(file).getters)
        .chain(["get".to_owned(), "get_sample_count".to_owned()])
        .collect();
    assert!(getters.contains("render"), "{getters:?}");
    let mut broken: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in source.code().filter(|file| DECIDE.contains(&file.room())) {
        for (name, on) in Items::of(file).calls {
            if getters.contains(&name) && on.contains("metrics") {
                broken.entry(format!("{} reads {name}", file.room())).or_default().insert(file.name.clone());
            }
        }
    }
    hold(&broken, TODAY);
}

fn no_session_is_behind_a_lock_and_no_file_is_too_long() {
    const TODAY: &[&str] = &[];
    let mut broken: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for file in &source().files {
        if file.text.contains("Mutex<Session>") {
            broken.entry("a session behind a lock".to_owned()).or_default().insert(file.name.clone());
        }
        let lines = file.text.lines().count();
        if lines > 400 {
            broken.entry(format!("{} is too long", file.name)).or_default().insert(format!("{lines} lines"));
        }
    }
    hold(&broken, TODAY);
}
