//! The manifest of a model, `model.toml`: what the model's graph does not say about itself.
//!
//! The types are read by serde and do not allow invalid values: scores lie in 0..=1, sizes are not zero, and unknown keys
//! are refused. Three lines are a valid manifest (`task`, `labels`, `output.decode`).

use std::{num::NonZeroUsize, path::PathBuf};

use serde::Deserialize;

mod input;
mod output;
mod routing;
mod variant_id;

pub use self::{
    input::{Color, Fit, InputSection, InputSpec, Layout, Resize, SizeOrder},
    output::{Activation, BoxFormat, BoxUnit, Decoding, OutputNames, OutputSpec},
    routing::{RoutingSection, ShadowSection},
    variant_id::VariantId,
};
pub use crate::config::Task;
use crate::config::{Auto, Provider};

/// A whole `model.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Task of the model.
    pub task: Task,
    /// Names of the classes, in the order of the graph's outputs. Without them, the names that the file itself gives.
    pub labels: Option<Labels>,
    /// Variant that answers a request that names none: its name, or `auto` for the router's choice.
    #[serde(default = "auto")]
    pub default_variant: String,
    /// How an image becomes the graph's input.
    #[serde(default)]
    pub input: InputSection,
    /// How the graph's outputs become a prediction.
    pub output: OutputSpec,
    /// The variants. Without any, every `.onnx` and `.onnx.zst` beside the manifest is a variant.
    #[serde(default, rename = "variant")]
    pub variants: Vec<VariantSpec>,
    /// How requests are batched.
    #[serde(default)]
    pub batching: Batching,
    /// Execution providers, sessions and threads.
    #[serde(default)]
    pub execution: Execution,
    /// How the router chooses a variant, where a request does not name one.
    #[serde(default)]
    pub routing: RoutingSection,
}

fn auto() -> String {
    "auto".to_owned()
}

/// Class names, as a list or as a text file with one name on each line.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub enum Labels {
    /// The names are in the manifest.
    List(Vec<String>),
    /// The names are in a file, with its path relative to the manifest.
    File(PathBuf),
}

/// A variant of a model, which is one file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VariantSpec {
    /// Name that requests use.
    pub name: String,
    /// Path of the `.onnx` or `.onnx.zst` file, relative to the version's folder.
    pub file: PathBuf,
    /// SHA-256 of that file, which is checked when it is loaded.
    pub sha256: Option<String>,
    /// Measured accuracy by metric (`ap50`, `accuracy`, …), which `/v1/models` shows.
    #[serde(default)]
    pub accuracy: std::collections::BTreeMap<String, f64>,
}

/// How requests are batched.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Batching {
    /// Largest number of images in a run. `auto` is 32, below which the latency profile decides. Graphs with a fixed batch
    /// axis run images one by one.
    pub max_batch: Auto,
    /// Longest time that a request waits for others while a session is free, in milliseconds from its arrival. Without it,
    /// a request waits as long as that pays and its deadline is safe. With 0 it does not wait.
    pub max_delay_ms: Option<u64>,
    /// Largest number of requests that wait for a variant. One more is refused with 429.
    pub max_queue: NonZeroUsize,
    /// Batch sizes that may run; smaller batches are padded. Without it, every size may run (powers of two on TensorRT).
    pub sizes: Option<Vec<NonZeroUsize>>,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            max_batch: Auto::Auto,
            max_delay_ms: None,
            max_queue: NonZeroUsize::MIN.saturating_add(255),
            sizes: None,
        }
    }
}

/// Execution providers, sessions and threads of a model.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Execution {
    /// Execution providers in order of preference. Without them, the server's list is used.
    pub providers: Option<Vec<Provider>>,
    /// Number of sessions of each variant.
    pub instances: Auto,
    /// Number of intra-op threads of each session.
    pub threads: Auto,
}
