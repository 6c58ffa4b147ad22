//! Bad files are refused with a reason, and cost nobody else anything.

use std::{fs, path::Path};

use crate::harness::{Server, only, shared};

tests![hostile_models_end_the_start_with_a_sentence, bad_pictures_are_refused_and_the_next_one_is_answered];

/// A models folder with one hostile file in it.
fn model_with(file: &Path) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("tempdir");
    let folder = root.path().join("hostile");
    fs::create_dir(&folder).expect("mkdir");
    fs::copy(file, folder.join("model.onnx")).expect("copy");
    fs::write(folder.join("model.toml"), "task = 'classify'\nlabels = ['a', 'b']\noutput.decode = 'softmax'\n")
        .expect("write");
    root
}

async fn hostile_models_end_the_start_with_a_sentence() {
    let folder = shared("models/hostile");
    let mut files: Vec<_> = fs::read_dir(folder).expect("a folder").flatten().map(|file| file.path()).collect();
    files.sort();
    assert_eq!(files.len(), 7);
    for file in files {
        let models = model_with(&file);
        let reason = Server::try_start(models.path(), &[]).await.expect_err("it must be refused");
        let reason = reason.replace(&models.path().display().to_string(), "models");
        println!("{}\n    {reason}\n", file.file_name().expect("a name").display());
        let expected = match file.file_stem().and_then(|stem| stem.to_str()).expect("UTF-8") {
            "git_lfs_pointer" => "Git LFS pointer",
            "missing_external_data_mobilenet_v2" | "missing_external_data_nanodet" => "cannot open it",
            "placeholder_2_bytes" => "no ONNX model",
            // ONNX Runtime refuses it itself where the locale that it wants is missing.
            "string_input_vectorizer" if reason.contains("locale") => "cannot open it",
            "string_input_vectorizer" => "not served",
            "tflite_named" => "TensorFlow Lite",
            "unknown_custom_op" => "cannot open it",
            other => panic!("an unforeseen file: {other}"),
        };
        assert!(reason.contains(expected) && reason.contains("model `hostile`"), "{reason}");
    }
}

async fn bad_pictures_are_refused_and_the_next_one_is_answered() {
    let corpus = shared("images/corpus_image-rs/tests");
    let folder = only(&["person-192"]);
    let server = Server::start(folder.path(), &[]).await;
    let mut counts = std::collections::BTreeMap::new();
    for file in files_below(&corpus) {
        let (status, answer) = server.image("/v1/detect", &file).await;
        let shown = file.strip_prefix(&corpus).expect("below").display();
        if status != 200 {
            let sentence = answer["detail"].as_str().unwrap_or_default();
            assert!(matches!(status, 415 | 422), "{shown}: {answer}");
            assert!(sentence.len() > 20, "{shown}: {answer}");
        }
        if file.starts_with(corpus.join("bad")) && file.extension().is_some_and(|e| e != "md") {
            println!("{shown}: {status} {}", answer["detail"]);
            assert_ne!(status, 200, "{shown} is bad: {answer}");
        }
        *counts.entry(status).or_insert(0) += 1;
    }
    println!("{counts:?}");
    let photo = shared("images/photos_ccby_coco/coco_val_000000001000.jpg");
    assert_eq!(server.image("/v1/detect", &photo).await.0, 200, "the server still answers");
    server.end().expect("a clean end");
}

fn files_below(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path());
    let (folders, mut files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    files.extend(folders.iter().flat_map(|folder| files_below(folder)));
    files.sort();
    files
}
