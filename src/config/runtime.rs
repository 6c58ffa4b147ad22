//! Which ONNX Runtime is loaded, and what it runs on.

use std::path::PathBuf;

use serde::Deserialize;

use super::{types::Provider, unless_empty};

/// Which ONNX Runtime is loaded, and which execution providers it uses.
#[derive(Debug, Clone, Deserialize)]
pub struct RuntimeConfig {
    /// Build of ONNX Runtime, which is searched for in `.runtime/<flavour>/`.
    pub flavour: Flavour,
    /// Path of the library's file.
    #[serde(deserialize_with = "unless_empty")]
    pub library: Option<PathBuf>,
    /// Execution providers in order of preference.
    pub providers: Vec<ProviderChoice>,
    /// Folder where TensorRT caches its engines.
    pub engine_cache: PathBuf,
    /// What happens when an execution provider is missing.
    pub fallback: Fallback,
}

impl RuntimeConfig {
    /// The execution providers in order of preference, with `auto` replaced by what it stands for.
    #[must_use]
    pub fn providers(&self) -> Vec<Provider> {
        let mut all = Vec::new();
        for choice in &self.providers {
            match choice {
                ProviderChoice::Tensorrt => all.push(Provider::Tensorrt),
                ProviderChoice::Cuda => all.push(Provider::Cuda),
                ProviderChoice::Openvino => all.push(Provider::Openvino),
                ProviderChoice::Cpu => all.push(Provider::Cpu),
                ProviderChoice::Auto => all.extend(match self.flavour {
                    Flavour::Cpu => vec![Provider::Cpu],
                    Flavour::Openvino => vec![Provider::Openvino, Provider::Cpu],
                    Flavour::Gpu => vec![Provider::Cuda, Provider::Cpu],
                }),
            }
        }
        all
    }
}

/// A build of ONNX Runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// The build with the CPU provider only.
    Cpu,
    /// The build with OpenVINO.
    Openvino,
    /// The build with CUDA and TensorRT.
    Gpu,
}

impl Flavour {
    /// The name in settings, which is also the folder's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Openvino => "openvino",
            Self::Gpu => "gpu",
        }
    }
}

/// `auto`, or a provider by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names of `Provider`")]
pub enum ProviderChoice {
    /// The provider that the flavour is made for, then `cpu`.
    Auto,
    Tensorrt,
    Cuda,
    Openvino,
    Cpu,
}

/// What happens when an execution provider is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fallback {
    /// The start fails with the reason.
    Error,
    /// The next provider of the list is used, and a warning is logged.
    Warn,
}
