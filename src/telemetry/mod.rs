//! Logs, metrics and traces: logging is set up once, by the binary; traces are one server's, and go to a collector that speaks OTLP.
//!
//! The only room that knows OpenTelemetry. It builds spans itself, from what was measured anyway, when a request is over:
//! that needs no tracer, no clock of its own, and nothing at all for requests that are not sampled.

mod context;
mod export;
pub mod metrics;
mod request;
mod stage;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

pub use self::{
    context::TraceContext,
    export::{Export, Traces, Watched},
    request::{Answered, RequestSpan, SpanDetails},
    stage::{Stage, StageTimes},
};
use crate::config::{LogConfig, LogFormat};

/// Sends logs to standard error.
///
/// # Errors
/// When the filter cannot be read, or logging was set up before.
pub fn init(log: &LogConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| {
        anyhow::anyhow!("log.filter \"{}\" is no filter such as \"info,ounce=debug\": {error}", log.filter)
    })?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // Whoever read the log may go away; to complain about that, on the same pipe, would be a panic.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    match log.format {
        LogFormat::Text => lines.with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    }
    .map_err(|error| anyhow::anyhow!("logging cannot be set up: {error}"))
}
