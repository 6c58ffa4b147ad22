//! The image: what linters find in the Dockerfile, and, where it can be built, that it serves with nothing but what it needs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

use crate::{
    harness::{free_port, program, root, shared, until},
    runner::ignore,
};

tests![linters_find_nothing_in_the_dockerfile, the_image_serves_with_nothing_but_what_it_needs];

const REQUIRED: &str = "REQUIRE_CONTAINER";

/// The most that the image may have, with a binary that is built as tests are.
const MAX_BYTES: u64 = 160_000_000;

fn linters_find_nothing_in_the_dockerfile() {
    let checkov = ["--skip-download", "--framework", "dockerfile", "--file", "Dockerfile", "--compact", "--quiet"];
    for (name, arguments) in [("hadolint", &["Dockerfile"][..]), ("checkov", &checkov)] {
        let installed = root().join(".checks/bin").join(name);
        let path = if installed.exists() { installed } else { name.into() };
        let mut linter = program(path, "REQUIRE_LINTERS", "`make .checks/installed` installs it");
        let found = linter.args(arguments).current_dir(root()).output().expect("it starts");
        assert!(found.status.success(), "{name}: {}", text(&found));
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).trim().to_owned()
}

/// Builds and runs images without a daemon, as root.
struct Tool(PathBuf);

impl Tool {
    fn find() -> Self {
        // A build takes minutes, and the engines a machine that lets them: it is for who asks for it.
        if std::env::var_os(REQUIRED).is_none() {
            ignore(REQUIRED, "REQUIRE_CONTAINER=1 builds the image and runs it");
        }
        let tool = shared("tools/container.sh");
        for engine in ["buildah", "podman", "runc"] {
            program(engine, REQUIRED, "Debian has it in the package of that name");
        }
        Self(tool)
    }

    /// What it prints on its standard output.
    fn run(&self, arguments: &[&str]) -> String {
        let output = Command::new(&self.0).args(arguments).current_dir(root()).output().expect("it starts");
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn bytes(&self, image: &str) -> u64 {
        self.run(&["podman", "image", "inspect", image, "--format", "{{.Size}}"]).parse().expect("a number")
    }
}

/// A container that runs in the background; it is removed when dropped.
struct Container<'a> {
    tool: &'a Tool,
    id: String,
}

impl Container<'_> {
    fn exec(&self, command: &[&str]) -> String {
        self.tool.run(&[&["podman", "exec", &self.id], command].concat())
    }

    fn inspect(&self, what: &str) -> String {
        self.tool.run(&["podman", "inspect", &self.id, "--format", what])
    }
}

impl Drop for Container<'_> {
    fn drop(&mut self) {
        let _ = Command::new(&self.tool.0).args(["podman", "rm", "--force", &self.id]).output();
    }
}

async fn the_image_serves_with_nothing_but_what_it_needs() {
    let tool = Tool::find();
    tool.run(&["bases"]);
    let file = tempfile::NamedTempFile::new().expect("tempfile");
    let id_file = file.path().display().to_string();
    // Built as tests are, which takes half as long; its binary is larger than a release's.
    tool.run(&["build", ".", "--target", "cpu", "--build-arg", "PROFILE=dev", "--iidfile", &id_file]);
    let image = std::fs::read_to_string(file.path()).expect("an id");
    let image = image.trim();
    let bytes = tool.bytes(image);
    println!("the image has {:.1} MB", bytes as f64 / 1e6);
    assert!(bytes <= MAX_BYTES, "{bytes} bytes");

    // The network is the host's here, so the port must be a free one; `ounce health` has to know it, too.
    let port = free_port();
    let listen = format!("OUNCE_LISTEN=127.0.0.1:{port}");
    // A home that could be written to, as /tmp can: even there nothing may be found in the end.
    let run = ["podman", "run", "--pull=never", "--network=host", "--detach", "--env", &listen, "--env", "HOME=/tmp"];
    let nothing = ["--read-only", "--cap-drop=all", "--security-opt=no-new-privileges", "--memory=512m"];
    let container = Container { tool: &tool, id: tool.run(&[&run[..], &nothing, &[image]].concat()) };
    let url = format!("http://127.0.0.1:{port}");
    until("it is ready", async || {
        assert_eq!(container.inspect("{{.State.Running}}"), "true", "{}", tool.run(&["podman", "logs", &container.id]));
        reqwest::get(format!("{url}/readyz")).await.is_ok_and(|response| response.status() == 200)
    })
    .await;
    assert_eq!(container.exec(&["ounce", "health"]), "ready");

    let photo = shared("images/photos_ccby_coco/coco_val_000000001000.jpg");
    let photo = std::fs::read(photo).expect("a photo");
    let answer = reqwest::Client::new().post(format!("{url}/v1/detect")).body(photo).send().await.expect("an answer");
    let answer: Value = answer.json().await.expect("JSON");
    assert_eq!(answer["detections"][0]["label"], "person", "{answer}");

    // There is no program in it to look around with, so its process is looked at from here.
    let process = PathBuf::from("/proc").join(container.inspect("{{.State.Pid}}"));
    let status = fs::read_to_string(process.join("status")).expect("it runs");
    assert!(status.contains("Uid:\t10001\t"), "{status}");
    assert!(status.contains("CapEff:\t0000000000000000") && status.contains("NoNewPrivs:\t1"), "{status}");
    assert_eq!(container.inspect("{{.HostConfig.Memory}}"), "536870912");
    let files = process.join("root");
    assert_eq!(names(&files.join("tmp")), [""; 0], "it writes nothing");
    assert_eq!(names(&files.join("models")), ["pedestrian", "pedestrian-presence"], "what trains models is not in it");
    for folder in ["bin", "sbin", "usr/bin", "usr/sbin", "usr/local/sbin"] {
        assert_eq!(names(&files.join(folder)), [""; 0], "no shell, no package manager: {folder}");
    }
    assert_eq!(names(&files.join("usr/local/bin")), ["ounce"]);
    let sbom = fs::read(files.join("usr/share/sbom/ounce.cdx.json")).expect("the list of what it is made of");
    let sbom: Value = serde_json::from_slice(&sbom).expect("JSON");
    assert!(sbom["components"].as_array().is_some_and(|all| all.iter().any(|one| one["name"] == "axum")));
    let binary = fs::read(files.join("usr/local/bin/ounce")).expect("the binary");
    assert!(binary.windows(8).any(|part| part == b".dep-v0\0"), "scanners find the crates in the binary");

    tool.run(&["podman", "stop", "--time=60", &container.id]);
    assert_eq!(container.inspect("{{.State.ExitCode}}"), "0", "SIGTERM ends it well");
}

/// What is in a folder, in order; nothing where there is no such folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}
