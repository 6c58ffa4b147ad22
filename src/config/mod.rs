//! Settings: one validated tree.
//!
//! `defaults.toml` is the list of all keys, their defaults and their meaning. `layers` puts a file, the environment
//! and flags over it and remembers where each value came from; what comes out here cannot be invalid.

mod layers;
#[cfg(test)]
mod page;
mod types;

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer};

pub use self::{
    layers::{ConfigError, Layers, Origin, is_plain_name},
    types::{Auto, Currency, HeaderName, Millis, NonNegative, Objective, OtlpEndpoint, Provider, Ratio, Secret, Task},
};

/// Everything an operator can set.
///
/// ```
/// use ounce::config::Config;
///
/// let config = Config::defaults()?;
/// assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
/// assert_eq!(config.requests.max_in_flight.get(), 256);
/// # Ok::<(), ounce::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    /// Where requests come in.
    pub listen: SocketAddr,
    /// Where `/metrics` is served instead of on `listen`.
    #[serde(deserialize_with = "unless_empty")]
    pub admin_listen: Option<SocketAddr>,
    /// The folder of model folders.
    pub models: PathBuf,
    /// How changes of the model folder are noticed.
    pub reload: ReloadConfig,
    /// ONNX Runtime.
    pub runtime: RuntimeConfig,
    /// Threads beside the models' own.
    pub threads: ThreadsConfig,
    /// What a request may take.
    pub requests: RequestsConfig,
    /// Largest images that are decoded.
    #[serde(rename = "pictures")]
    pub images: ImageLimits,
    /// How the server ends.
    pub shutdown: ShutdownConfig,
    /// When more replicas are asked for.
    pub scale: ScaleConfig,
    /// What this replica costs.
    pub cost: CostConfig,
    /// Who pays, by name.
    #[serde(default)]
    pub tenants: BTreeMap<String, TenantConfig>,
    /// What the operator decides instead of a model's manifest, by the model's name.
    #[serde(default)]
    pub model: BTreeMap<String, ModelOverrides>,
    /// What is logged.
    pub log: LogConfig,
    /// Where traces go.
    pub telemetry: TelemetryConfig,
}

impl Config {
    /// What no type shows: a load that would ask for any number of replicas, a key that would be two tenants'.
    fn check(&self) -> Result<(), (String, String)> {
        if self.scale.target_load.get() < 0.1 {
            return Err(("scale.target_load".to_owned(), "it is between 0.1 and 1".to_owned()));
        }
        let mut known: BTreeMap<&str, &str> = BTreeMap::new();
        for (name, tenant) in &self.tenants {
            for key in tenant.api_keys.iter().filter(|key| !key.reveal().is_empty()) {
                if let Some(other) = known.insert(key.reveal(), name).filter(|other| other != name) {
                    let reason = format!("one of them is a key of `{other}`, too; a request cannot be both tenants'");
                    return Err((format!("tenants.{name}.api_keys"), reason));
                }
            }
        }
        Ok(())
    }

    /// The defaults, for tests and for commands that take no settings.
    ///
    /// # Errors
    /// Never, as long as `defaults.toml` is valid; a test holds that.
    pub fn defaults() -> Result<Self, ConfigError> {
        Layers::defaults()?.build()
    }
}

/// How changes of the model folder are noticed.
#[derive(Debug, Clone, Deserialize)]
pub struct ReloadConfig {
    /// The time from one look to the next; 0: nobody looks.
    #[serde(rename = "watch_ms", deserialize_with = "milliseconds")]
    pub watch: Duration,
}

/// Which ONNX Runtime is loaded, and what it runs on.
#[derive(Debug, Clone, Deserialize)]
pub struct RuntimeConfig {
    /// The folder `.runtime/<flavour>/` that is searched.
    pub flavour: Flavour,
    /// The library's file.
    #[serde(deserialize_with = "unless_empty")]
    pub library: Option<PathBuf>,
    /// Execution providers in order.
    pub providers: Vec<ProviderChoice>,
    /// Where TensorRT keeps its engines.
    pub engine_cache: PathBuf,
    /// What happens when one of them is missing.
    pub fallback: Fallback,
}

impl RuntimeConfig {
    /// The execution providers in order, `auto` spelt out.
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
    /// The CPU provider only.
    Cpu,
    /// With OpenVINO.
    Openvino,
    /// With CUDA and TensorRT.
    Gpu,
}

impl Flavour {
    /// The word in settings, and the folder's name.
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
    /// What the flavour is made for, then `cpu`.
    Auto,
    Tensorrt,
    Cuda,
    Openvino,
    Cpu,
}

/// What happens when a provider that was asked for is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fallback {
    /// The start ends with the reason.
    Error,
    /// The next provider of the list is used, and a warning says so.
    Warn,
}

/// Threads beside the models' own.
#[derive(Debug, Clone, Deserialize)]
pub struct ThreadsConfig {
    /// Threads that decode and post-process.
    pub decode: Auto,
}

/// What a request may take.
#[derive(Debug, Clone, Deserialize)]
pub struct RequestsConfig {
    /// Requests held at once.
    pub max_in_flight: NonZeroUsize,
    /// Bytes of bodies held at once.
    pub max_body_bytes: NonZeroUsize,
    /// The deadline of a request that names none.
    #[serde(rename = "deadline_ms", deserialize_with = "milliseconds")]
    pub deadline: Duration,
    /// How long a client may take to send the head of a request, or to begin the next one.
    #[serde(rename = "header_timeout_ms", deserialize_with = "milliseconds")]
    pub header_timeout: Duration,
    /// How long a client may take to send its body.
    #[serde(rename = "body_timeout_ms", deserialize_with = "milliseconds")]
    pub body_timeout: Duration,
}

/// What an image may measure before a single pixel of it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct ImageLimits {
    /// The largest body (encoded bytes); one more byte is 413.
    pub max_bytes: usize,
    /// The most pixels (width × height); one more is 422.
    pub max_pixels: u64,
    /// The longest side in pixels; one more is 422.
    pub max_side: u32,
}

impl Default for ImageLimits {
    fn default() -> Self {
        Self { max_bytes: 20_000_000, max_pixels: 50_000_000, max_side: 16_384 }
    }
}

/// How the server ends.
#[derive(Debug, Clone, Deserialize)]
pub struct ShutdownConfig {
    /// How long `/readyz` says 503 while requests are still taken.
    #[serde(rename = "drain_delay_ms", deserialize_with = "milliseconds")]
    pub drain_delay: Duration,
    /// How long requests in flight may then take.
    #[serde(rename = "grace_ms", deserialize_with = "milliseconds")]
    pub grace: Duration,
}

/// When more replicas are asked for.
#[derive(Debug, Clone, Deserialize)]
pub struct ScaleConfig {
    /// The part of what a replica can give within the promise that it is to be asked for.
    pub target_load: Ratio,
}

/// What this replica costs.
#[derive(Debug, Clone, Deserialize)]
pub struct CostConfig {
    /// Dollars an hour for the whole replica.
    pub usd_per_hour: NonNegative,
    /// Dollars an hour for one CPU, instead.
    #[serde(deserialize_with = "optional")]
    pub usd_per_cpu_hour: Option<NonNegative>,
    /// Dollars an hour for one GPU.
    #[serde(deserialize_with = "optional")]
    pub usd_per_gpu_hour: Option<NonNegative>,
    /// The currency that answers are told in beside dollars.
    pub currency: Currency,
    /// How much of it a dollar is.
    pub currency_per_usd: NonNegative,
    /// The most that requests may cost.
    #[serde(deserialize_with = "optional")]
    pub budget_usd_per_hour: Option<NonNegative>,
    /// The price of energy.
    #[serde(deserialize_with = "optional")]
    pub usd_per_kwh: Option<NonNegative>,
    /// Grams of CO2 a kilowatt-hour.
    #[serde(deserialize_with = "optional")]
    pub co2_g_per_kwh: Option<NonNegative>,
    /// The header whose value names a tenant.
    #[serde(deserialize_with = "unless_empty")]
    pub tenant_header: Option<HeaderName>,
}

/// Who pays.
#[derive(Debug, Clone, Deserialize)]
pub struct TenantConfig {
    /// The keys whose requests are theirs.
    #[serde(default)]
    pub api_keys: Vec<Secret>,
    /// The most that their requests may cost.
    #[serde(default, deserialize_with = "optional")]
    pub budget_usd_per_hour: Option<NonNegative>,
}

/// What the operator decides instead of a model's manifest.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ModelOverrides {
    /// The variant that answers, or `auto`.
    #[serde(deserialize_with = "unless_empty")]
    pub default_variant: Option<String>,
    /// What the router goes by.
    #[serde(deserialize_with = "optional")]
    pub objective: Option<Objective>,
    /// What the router promises, in milliseconds.
    #[serde(deserialize_with = "optional")]
    pub slo_p99_ms: Option<Millis>,
    /// No variant below it answers.
    #[serde(deserialize_with = "optional")]
    pub min_accuracy: Option<Ratio>,
    /// Sessions side by side.
    #[serde(deserialize_with = "optional")]
    pub instances: Option<Auto>,
    /// Intra-op threads a session.
    #[serde(deserialize_with = "optional")]
    pub threads: Option<Auto>,
    /// The most images in a run.
    #[serde(deserialize_with = "optional")]
    pub max_batch: Option<Auto>,
}

/// What is logged.
#[derive(Debug, Clone, Deserialize)]
pub struct LogConfig {
    /// As `RUST_LOG`.
    pub filter: String,
    /// How a line looks.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Where traces go.
#[derive(Debug, Clone, Deserialize)]
pub struct TelemetryConfig {
    /// The collector that takes spans; none: no span is made.
    #[serde(deserialize_with = "unless_empty")]
    pub otlp_endpoint: Option<OtlpEndpoint>,
    /// The share of traces that are exported where the client did not decide.
    pub otlp_sample_ratio: Ratio,
    /// Who the spans are said to be from.
    pub service_name: String,
}

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

/// `""` stands for a setting that is not set.
fn unless_empty<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(serde::de::Error::custom) }
}

/// `""` stands for a setting that is not set; a variable's value is text, whatever it means.
fn optional<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: serde::de::DeserializeOwned,
{
    let value = toml::Value::deserialize(deserializer)?;
    let as_number =
        |text: &str| text.parse::<f64>().ok().and_then(|number| T::deserialize(toml::Value::from(number)).ok());
    match value.as_str() {
        Some("") => Ok(None),
        Some(text) => {
            let number = as_number(text);
            number.map_or_else(|| T::deserialize(value.clone()), Ok).map(Some).map_err(serde::de::Error::custom)
        }
        None => T::deserialize(value).map(Some).map_err(serde::de::Error::custom),
    }
}
