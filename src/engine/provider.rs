//! Registers execution providers with a session, and decides what happens when one is missing.

use ort::{
    ep::{self, ArenaExtendStrategy, ExecutionProviderDispatch, cuda::ConvAlgorithmSearch},
    session::builder::SessionBuilder,
};

use super::session::Opening;
use crate::config::{Fallback, Provider};

/// Registers the providers in order, and returns those that are in use.
///
/// # Errors
/// A provider is missing and the rule is [`Fallback::Error`], or no provider is available.
pub(super) fn register(
    mut builder: SessionBuilder,
    opening: &Opening<'_>,
) -> Result<(SessionBuilder, Vec<Provider>), String> {
    let &Opening { providers, fallback, .. } = opening;
    let mut in_use = Vec::new();
    for &provider in providers {
        match builder.with_execution_providers([dispatch(provider, opening).error_on_failure()]) {
            Ok(next) => {
                builder = next;
                in_use.push(provider);
            }
            Err(error) => {
                let unavailable =
                    format!("the execution provider `{provider}` is not available: {}", reason(error.message()));
                if fallback == Fallback::Error {
                    return Err(format!(
                        "{unavailable}; choose others with OUNCE_RUNTIME__PROVIDERS, another library with OUNCE_RUNTIME__FLAVOUR, \
                         or let ounce go on with the next one: OUNCE_RUNTIME__FALLBACK=warn"
                    ));
                }
                tracing::warn!(%provider, "{unavailable}; going on with the next one");
                builder = error.recover();
            }
        }
    }
    if in_use.is_empty() {
        Err(format!("none of the execution providers {providers:?} is available"))
    } else {
        Ok((builder, in_use))
    }
}

/// ONNX Runtime's reason, without the source location at its beginning.
fn reason(message: &str) -> &str {
    let line = message.lines().next().unwrap_or(message);
    line.rsplit(" : FAIL : ").next().unwrap_or(line).trim().trim_end_matches('.')
}

/// Makes a provider with settings for a server: no exhaustive search for each new shape, an arena that does not double,
/// and caches on disk.
fn dispatch(provider: Provider, opening: &Opening<'_>) -> ExecutionProviderDispatch {
    match provider {
        Provider::Cpu => ep::CPU::default().build(),
        Provider::Openvino => ep::OpenVINO::default().with_device_type("CPU").with_num_threads(opening.threads).build(),
        Provider::Cuda => ep::CUDA::default()
            .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic)
            .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
            .build(),
        Provider::Tensorrt => ep::TensorRT::default()
            .with_engine_cache(true)
            .with_engine_cache_path(opening.engine_cache.display())
            .with_timing_cache(true)
            .build(),
    }
}
