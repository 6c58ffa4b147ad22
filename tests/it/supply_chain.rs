//! What ounce is made of is known, pinned and listed.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use serde_json::Value;

use crate::harness::root;

tests![
    every_crate_is_in_the_list_with_its_checksum,
    the_runtime_is_pinned_by_checksums,
    the_image_for_cpus_begins_with_nothing
];

/// What a command of cargo prints about the dependencies of this machine's build.
fn cargo(arguments: &[&str]) -> Vec<u8> {
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let output = Command::new(cargo).args(arguments).args(["--locked", "--offline"]).current_dir(root()).output();
    let output = output.expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn list(out: &Path) -> Value {
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = out.join("metadata.json");
    fs::write(&metadata, cargo(&["metadata", "--format-version=1", "--filter-platform", &host])).expect("written");
    let flavour = std::env::var_os("OUNCE_RUNTIME__FLAVOUR").unwrap_or_else(|| "cpu".into());
    let runtime = root().join(".runtime").join(flavour);
    let mut python = crate::harness::python(&[]);
    let made = python.arg(root().join("runtime/sbom.py")).args([out, &metadata, &runtime]).output().expect("it starts");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    serde_json::from_slice(&fs::read(out.join("ounce.cdx.json")).expect("the list")).expect("JSON")
}

fn every_crate_is_in_the_list_with_its_checksum() {
    let out = tempfile::tempdir().expect("tempdir");
    let list = list(out.path());
    let components = list["components"].as_array().expect("a list");
    let text = |component: &Value, of: &str| component[of].as_str().expect("text").to_owned();
    let listed: BTreeSet<_> = components
        .iter()
        .filter(|component| component["purl"].is_string())
        .map(|component| {
            assert_eq!(component["hashes"][0]["alg"], "SHA-256", "{component}");
            assert!(component["licenses"][0]["expression"].is_string(), "{component}");
            format!("{} v{}", text(component, "name"), text(component, "version"))
        })
        .collect();
    let host = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let tree = cargo(&["tree", "--edges=normal,build", "--target", &host, "--prefix=none"]);
    let tree = String::from_utf8(tree).expect("text");
    let built = tree.lines().map(|line| line.split(" (").next().expect("a crate").to_owned());
    let built: BTreeSet<_> = built.filter(|line| !line.is_empty() && !line.starts_with("ounce ")).collect();
    let missing: Vec<_> = built.difference(&listed).collect();
    assert!(built.len() > 200 && missing.is_empty(), "{missing:?}");
    assert!(!listed.iter().any(|one| one.starts_with("proptest ")), "what only tests need is not in the binary");
    let of_kind = |kind: &str| components.iter().filter(|component| component["type"] == kind).count();
    assert_eq!(of_kind("machine-learning-model"), 5);
    assert!(components.iter().any(|component| text(component, "name").starts_with("onnxruntime/libonnxruntime.so")));

    // The same list as scanners read it from the binary, packed by zlib.
    let packed = fs::read(out.path().join("ounce.dep-v0")).expect("the section");
    let crates: Value = serde_json::from_reader(flate2::read::ZlibDecoder::new(&packed[..])).expect("JSON in zlib");
    assert_eq!(crates["packages"].as_array().expect("a list").len(), listed.len() + 1);
}

fn the_runtime_is_pinned_by_checksums() {
    let sums = fs::read_to_string(root().join("runtime/SHA256SUMS")).expect("the checksums");
    for flavour in ["cpu", "openvino", "gpu"] {
        let wheel = fs::read_to_string(root().join("runtime").join(format!("{flavour}.txt"))).expect("the wheel");
        assert!(wheel.contains("--hash=sha256:"), "{flavour}");
        assert!(sums.lines().any(|line| line.contains(&format!("  {flavour}/"))), "{flavour}");
    }
    let fetch = fs::read_to_string(root().join("runtime/fetch.py")).expect("what fetches it");
    assert!(fetch.contains("--require-hashes"));
}

fn the_image_for_cpus_begins_with_nothing() {
    let dockerfile = fs::read_to_string(root().join("Dockerfile")).expect("the Dockerfile");
    assert!(dockerfile.contains("\nFROM scratch AS cpu\n"), "no shell, no package manager");
}
