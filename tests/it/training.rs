//! From generated images to a served model: every step of `models/training`, on a handful of images.
//!
//! It needs PyTorch, two gigabytes of it, so `make test` installs that only with `TRAINING=1`, as CI does.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use crate::{harness::root, runner::ignore};

tests![a_tiny_model_is_trained_compressed_scored_exported_and_served, two_processes_train_together];

/// The trainer's Python; where it is not installed, the test is ignored.
fn trainer() -> PathBuf {
    if !root().join("models/training/.venv/installed").is_file() {
        ignore("REQUIRE_TRAINING", "the trainer is not installed (`TRAINING=1 make test` does it)");
    }
    root().join("models/training/.venv/bin/python")
}

struct Steps {
    python: PathBuf,
    folder: tempfile::TempDir,
}

impl Steps {
    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn run(&self, program: &Path, arguments: &[&str]) -> Output {
        Command::new(program)
            .current_dir(root().join("models/training"))
            .args(arguments)
            .env("OMP_NUM_THREADS", "1")
            // Processes may be more than GPUs.
            .env("CUDA_VISIBLE_DEVICES", "")
            .output()
            .expect("it starts")
    }

    /// Images, prepared; what the trainer said of them.
    fn prepare(&self, windows: &str) -> String {
        let data = self.path("data");
        let made = self.run(&self.python, &[&root().join("tests/it/figures.py").display().to_string(), &data]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        self.step(&["prepare", "--data", &data, "--windows", windows])
    }

    /// A step of the trainer; what it printed.
    fn step(&self, arguments: &[&str]) -> String {
        let (cache, runs) = (self.path("cache"), self.path("runs"));
        let output = self
            .run(&self.python, &[&["-m", "ounce_training", "--cache", &cache, "--runs", &runs], arguments].concat());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }
}

fn a_tiny_model_is_trained_compressed_scored_exported_and_served() {
    let python = trainer();
    let steps = Steps { python, folder: tempfile::tempdir().expect("tempdir") };
    // Among the 40 training images are half a file, one without labels, a valid image mirrored, and a copy.
    let said = steps.prepare("40");
    for expected in [
        "1 broken pictures (broken.jpg)",
        "1 without a label file (unlabelled.jpg)",
        "1 bad label lines",
        "dropped 1 that show the scene of a valid picture",
        "and 1 that repeat another",
        "1 resized",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }

    let said = steps.step(&["train", "detector", "--epochs", "2", "--steps", "4"]);
    assert!(said.contains("epoch 2 step 8") && said.contains("best score"), "{said}");
    let said = steps.step(&["train", "detector", "--epochs", "3", "--steps", "4", "--resume"]);
    assert!(said.contains("resumed at step 8") && said.contains("epoch 3 step 12"), "{said}");
    let body = steps.path("runs/detector/best.pt");
    let said = steps.step(&["train", "presence", "--epochs", "1", "--steps", "4", "--start", &body]);
    assert!(said.contains("tensors start as the detector's"), "{said}");

    std::fs::create_dir_all(steps.path("models")).expect("create");
    for (model, folder, scored) in [
        ("detector", "pedestrian", steps.path("data/valid")),
        ("presence", "pedestrian-presence", steps.path("cache/windows")),
    ] {
        let said = steps.step(&["compress", model]);
        assert!(said.contains("int8: ") && said.contains("fp16: "), "{said}");
        let said = steps.step(&["evaluate", model]);
        assert!(said.lines().count() >= 3, "{said}");
        let said = steps.step(&["export", model, "--models", &steps.path("models")]);
        assert!(said.contains("int8 loses") && said.contains("fp16: shipped"), "{said}");
        let run = steps.folder.path().join("runs").join(model);
        for chart in ["training.png", "precision-recall.png"] {
            assert!(image::open(run.join(chart)).is_ok(), "{model} {chart}");
        }
        // What came out is a model folder like any other.
        let model = steps.path("models") + "/" + folder;
        let output = steps.run(Path::new(env!("CARGO_BIN_EXE_ounce")), &["evaluate", &model, &scored]);
        let table = String::from_utf8_lossy(&output.stdout).into_owned();
        println!("{table}");
        assert!(output.status.success() && table.contains(folder), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn two_processes_train_together() {
    let python = trainer();
    let torchrun = python.with_file_name("torchrun");
    let steps = Steps { python, folder: tempfile::tempdir().expect("tempdir") };
    steps.prepare("10");
    let (cache, runs) = (steps.path("cache"), steps.path("runs"));
    let together = |epochs: &str, more: &[&str]| {
        let launcher = ["--standalone", "--nproc-per-node", "2", "-m", "ounce_training"];
        let where_to = ["--cache", &cache, "--runs", &runs, "--threads", "1"];
        let what = ["train", "detector", "--epochs", epochs, "--steps", "3"];
        let output = steps.run(&torchrun, &[&launcher[..], &where_to, &what, more].concat());
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        assert!(said.contains("2 processes ended with the same weights"), "{said}");
        said
    };
    let said = together("1", &[]);
    // One of them reports and saves.
    assert_eq!(said.matches("epoch 1 step 3").count(), 1, "{said}");
    assert!(steps.folder.path().join("runs/detector/best.pt").is_file());
    let said = together("2", &["--resume"]);
    assert!(said.contains("resumed at step 3") && said.contains("epoch 2 step 6"), "{said}");
}
