//! Logs, metrics and traces: logging is set up once, by the binary; traces are one server's, and go to a collector that speaks OTLP.
//!
//! The only room that knows OpenTelemetry. It builds spans itself, from what was measured anyway, when a request is over:
//! that needs no tracer, no clock of its own, and nothing at all for requests that are not sampled.

mod context;
mod export;
mod log;
pub mod metrics;
mod request;
mod stage;

use std::{backtrace::BacktraceStatus, io::IsTerminal};

use tracing_subscriber::EnvFilter;

pub use self::{
    context::TraceContext,
    export::{Export, Traces, Watched},
    log::flush_log,
    request::{Answered, RequestSpan, SpanDetails},
    stage::{Stage, StageTimes},
};
use crate::config::{LogConfig, LogFormat};

/// Sends logs to standard error, panics as well. Nobody who logs waits for whoever reads; call [`flush_log`] before the
/// process ends.
///
/// # Errors
/// When the filter cannot be read, or logging was set up before.
pub fn init(log: &LogConfig) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| {
        anyhow::anyhow!("log.filter \"{}\" is no filter such as \"info,ounce=debug\": {error}", log.filter)
    })?;
    let writer = log::process_log().map_err(|error| anyhow::anyhow!("no thread for the log: {error}"))?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        // Whoever read the log may go away; to complain about that, on the same pipe, would be a panic.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    match log.format {
        LogFormat::Text => lines.with_target(false).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    }
    .map_err(|error| anyhow::anyhow!("logging cannot be set up: {error}"))?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(())
}

/// Logs a panic. The standard library would write it to standard error itself, and wait there for whoever reads.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let backtrace = std::backtrace::Backtrace::capture();
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    let (thread, place) = (std::thread::current(), panic.location().map(ToString::to_string));
    let text = panic.payload_as_str().unwrap_or("no text");
    tracing::error!(thread = thread.name(), place, backtrace, "a panic: {text}");
}
