//! Finds ONNX Runtime's shared library and loads it once for the process.

use std::{
    env, fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use ort::{LoadDynamicError, environment::Environment, logging::LogLevel};

use crate::config::RuntimeConfig;

/// The loaded ONNX Runtime. It is cheap to clone.
#[derive(Debug, Clone)]
pub struct Library {
    /// Path of the library's file.
    pub path: PathBuf,
    pub(super) environment: Environment,
}

/// ONNX Runtime allows one environment a process, so the first library stays for all models that are loaded later.
static LOADED: Mutex<Option<Library>> = Mutex::new(None);

/// Loads the library that the settings name, or the one that was loaded before.
///
/// # Errors
/// The library is not found or cannot be used. The message says where it was searched, and what to do.
pub fn load(runtime: &RuntimeConfig) -> Result<Library, String> {
    let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(library) = &*loaded {
        return Ok(library.clone());
    }
    let path = find(runtime)?;
    let environment = ort::init_from(&path)
        .map_err(|error| refusal(&error, &path))?
        .with_name("ounce")
        .with_telemetry(false)
        .with_logger(Arc::new(|level, category, _id, _location, message| match level {
            LogLevel::Error | LogLevel::Fatal => tracing::debug!(target: "onnxruntime", category, "{message}"),
            LogLevel::Verbose | LogLevel::Info | LogLevel::Warning => {
                tracing::trace!(target: "onnxruntime", category, "{message}");
            }
        }))
        .build()
        .map_err(|error| format!("ONNX Runtime at {} did not start: {error}", path.display()))?;
    // Some public models list initialisers as inputs and make ONNX Runtime warn hundreds of times at load. Real
    // failures are returned as errors anyway.
    environment.set_log_level(LogLevel::Error);
    let library = Library { path, environment };
    *loaded = Some(library.clone());
    Ok(library)
}

fn refusal(error: &LoadDynamicError, path: &Path) -> String {
    let shown = path.display();
    match error {
        LoadDynamicError::Dlopen { error, .. } => {
            format!("ONNX Runtime cannot be loaded from {shown}: {error}; `make runtime` fetches one that can")
        }
        LoadDynamicError::MissingApi { .. } | LoadDynamicError::InvalidVersionString => {
            format!("{shown} is not ONNX Runtime's library; `make runtime` fetches it")
        }
        LoadDynamicError::BadVersion { version_str, .. } => format!(
            "ONNX Runtime at {shown} is version {version_str}, but ounce needs 1.{} or later; `make runtime` fetches one",
            ort::MINOR_VERSION
        ),
    }
}

/// Searches the setting, `ORT_DYLIB_PATH`, `.runtime/<flavour>/` here or above the binary, then the system's folders.
fn find(runtime: &RuntimeConfig) -> Result<PathBuf, String> {
    if let Some(path) = &runtime.library {
        return named(path, "runtime.library");
    }
    if let Some(path) = env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()) {
        return named(Path::new(&path), "ORT_DYLIB_PATH");
    }
    let flavour = runtime.flavour.name();
    let folder = Path::new(".runtime").join(flavour);
    let beside_binary = env::current_exe().ok();
    let roots = beside_binary.iter().flat_map(|exe| exe.ancestors().skip(1).take(5)).map(|dir| dir.join(&folder));
    let system = ["/usr/local/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"];
    std::iter::once(folder.clone())
        .chain(roots)
        .chain(system.iter().map(PathBuf::from))
        .find_map(|dir| library_in(&dir))
        .ok_or_else(|| {
            format!(
                "ONNX Runtime was not found, neither in {} nor in the system's folders: run `make runtime RUNTIME={flavour}`, or \
                 name the library's file with --runtime-library or OUNCE_RUNTIME__LIBRARY",
                folder.display()
            )
        })
}

fn named(path: &Path, by: &str) -> Result<PathBuf, String> {
    // Absolute, since `ort` looks beside the binary first when a path is relative.
    fs::canonicalize(path)
        .map_err(|error| format!("ONNX Runtime's library {}, named by {by}, cannot be read: {error}", path.display()))
}

fn library_in(dir: &Path) -> Option<PathBuf> {
    let mut found: Vec<_> = fs::read_dir(dir)
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("libonnxruntime.so") || name == "libonnxruntime.dylib"
        })
        .collect();
    found.sort();
    found.pop().and_then(|path| fs::canonicalize(path).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;

    fn runtime(library: &str) -> RuntimeConfig {
        let layers = Layers::defaults().and_then(|l| l.flag("--runtime-library", "runtime.library", library));
        layers.and_then(|l| l.build()).expect("valid").runtime
    }

    #[test]
    fn a_missing_file_is_named_with_its_setting() {
        let sentence = find(&runtime("nowhere/libonnxruntime.so")).expect_err("missing");
        insta::assert_snapshot!(sentence, @"ONNX Runtime's library nowhere/libonnxruntime.so, named by runtime.library, cannot be read: No such file or directory (os error 2)");
    }

    #[test]
    fn a_file_that_is_no_library_is_refused_with_what_to_do() {
        let file = tempfile::NamedTempFile::new().expect("tempfile");
        let path = find(&runtime(&file.path().display().to_string())).expect("it exists");
        let error = ort::init_from(&path).err().expect("an empty file is no library");
        let sentence = refusal(&error, Path::new("libonnxruntime.so"));
        assert!(sentence.contains("`make runtime`"), "{sentence}");
    }

    #[test]
    fn a_library_that_is_too_old_is_told_so() {
        let error = LoadDynamicError::BadVersion { version_str: "1.16.3".into(), path: "x".into() };
        insta::assert_snapshot!(refusal(&error, Path::new("libonnxruntime.so")), @"ONNX Runtime at libonnxruntime.so is version 1.16.3, but ounce needs 1.17 or later; `make runtime` fetches one");
    }
}
