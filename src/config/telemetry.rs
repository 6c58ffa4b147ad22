//! The settings `[log]` and `[telemetry]`: what the server tells of itself, and to whom.

use serde::Deserialize;

use super::{OtlpEndpoint, Ratio, unless_empty};

/// Logging.
#[derive(Debug, Clone, Deserialize)]
pub struct LogConfig {
    /// Filter in the format of `RUST_LOG`.
    pub filter: String,
    /// Format of a line.
    pub format: LogFormat,
}

/// Format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object for each line.
    Json,
}

/// Export of traces.
#[derive(Debug, Clone, Deserialize)]
pub struct TelemetryConfig {
    /// Collector that spans are sent to. Without one, no spans are made.
    #[serde(deserialize_with = "unless_empty")]
    pub otlp_endpoint: Option<OtlpEndpoint>,
    /// Share of the traces that are exported, where the client does not decide.
    pub otlp_sample_ratio: Ratio,
    /// Service name in the spans.
    pub service_name: String,
}
