//! The settings of the server as one validated tree, [`Config`].
//!
//! `defaults.toml` is the list of all keys, their defaults and their meaning. `layers` puts a file, the environment
//! and flags over it and remembers where each value came from. The types do not allow invalid values.

mod auth;
mod connections;
mod fairness;
mod layers;
mod limits;
mod loading;
mod memory;
mod oidc;
#[cfg(test)]
mod page;
mod proxy;
mod runtime;
mod telemetry;
mod tls;
mod types;

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer};

pub use self::{
    auth::{AdminListen, AuthConfig, AuthMode},
    connections::ConnectionsConfig,
    fairness::{MaxPriority, Weight},
    layers::{ConfigError, Layers, Origin, is_plain_name},
    limits::{Cap, ClientLimits, InForce, LimitsConfig, Places, Positive},
    loading::LoadingConfig,
    memory::{BodiesConfig, MemoryConfig},
    oidc::{OidcConfig, TokenIssuer, TokenKeySource, WebAddress},
    proxy::{ForwardHeader, Networks, ProxyConfig},
    runtime::{Fallback, Flavour, ProviderChoice, RuntimeConfig},
    telemetry::{LogConfig, LogFormat, TelemetryConfig},
    tls::{ClientAuth, TlsConfig, TlsFiles},
    types::{Auto, Currency, HeaderName, Millis, NonNegative, Objective, OtlpEndpoint, Provider, Ratio, Secret, Task},
};

/// All settings.
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
    /// Address that requests come in at.
    pub listen: SocketAddr,
    /// Where the calls that change something are taken.
    pub admin_listen: AdminListen,
    /// Who may do what.
    pub auth: AuthConfig,
    /// The folder of model folders.
    pub models: PathBuf,
    /// How changes of the model folder are found.
    pub reload: ReloadConfig,
    /// What loading a model may take.
    pub loading: LoadingConfig,
    /// ONNX Runtime and its execution providers.
    pub runtime: RuntimeConfig,
    /// Threads other than those of sessions.
    pub threads: ThreadsConfig,
    /// Limits of connections.
    pub connections: ConnectionsConfig,
    /// TLS on `listen`.
    pub tls: TlsConfig,
    /// Limits of requests.
    pub requests: RequestsConfig,
    /// Limits of bodies that are still coming.
    pub bodies: BodiesConfig,
    /// The memory that all requests have together.
    pub memory: MemoryConfig,
    /// Largest images that are decoded.
    #[serde(rename = "pictures")]
    pub images: ImageLimits,
    /// How the server shuts down.
    pub shutdown: ShutdownConfig,
    /// Load at which more replicas are asked for.
    pub scale: ScaleConfig,
    /// Prices and budgets of this replica.
    pub cost: CostConfig,
    /// What one client may ask for.
    pub limits: LimitsConfig,
    /// The proxies in front of this server.
    pub proxy: ProxyConfig,
    /// Tenants by name.
    #[serde(default)]
    pub tenants: BTreeMap<String, TenantConfig>,
    /// Overrides of models' manifests, by the name of the model.
    #[serde(default)]
    pub model: BTreeMap<String, ModelOverrides>,
    /// Logging.
    pub log: LogConfig,
    /// Export of traces.
    pub telemetry: TelemetryConfig,
}

impl Config {
    /// Checks what the types do not: the target load must not be too small, and a key must not belong to two tenants.
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
        self.tls.check()?;
        self.auth.check(self)
    }

    /// The defaults, for tests and for commands that take no settings.
    ///
    /// # Errors
    /// `defaults.toml` is not valid, which a test excludes.
    pub fn defaults() -> Result<Self, ConfigError> {
        Layers::defaults()?.build()
    }
}

/// How changes of the model folder are found.
#[derive(Debug, Clone, Deserialize)]
pub struct ReloadConfig {
    /// Time between two checks of the model folder; with zero, it is not watched.
    #[serde(rename = "watch_ms", deserialize_with = "milliseconds")]
    pub watch: Duration,
}

/// Threads other than those of sessions.
#[derive(Debug, Clone, Deserialize)]
pub struct ThreadsConfig {
    /// Number of threads that decode images and post-process outputs.
    pub decode: Auto,
}

/// Limits of requests.
#[derive(Debug, Clone, Deserialize)]
pub struct RequestsConfig {
    /// Largest number of requests in flight.
    pub max_in_flight: NonZeroUsize,
    /// Largest sum of bodies in memory, in bytes; it is never more than half of the memory for requests.
    pub max_body_bytes: NonZeroUsize,
    /// The deadline of a request that names none.
    #[serde(rename = "deadline_ms", deserialize_with = "milliseconds")]
    pub deadline: Duration,
    /// Longest time that a client may take to send the head of a request, or to begin the next one.
    #[serde(rename = "header_timeout_ms", deserialize_with = "milliseconds")]
    pub header_timeout: Duration,
    /// Longest time that a client may take to send the body of a request.
    #[serde(rename = "body_timeout_ms", deserialize_with = "milliseconds")]
    pub body_timeout: Duration,
}

/// Limits of an image, which are checked before a pixel of it is decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct ImageLimits {
    /// Largest encoded image in bytes. A larger one is refused with 413.
    pub max_bytes: usize,
    /// Largest number of pixels (width × height). A larger image is refused with 422.
    pub max_pixels: u64,
    /// Longest side in pixels. A larger image is refused with 422.
    pub max_side: u32,
}

impl Default for ImageLimits {
    fn default() -> Self {
        Self { max_bytes: 20_000_000, max_pixels: 50_000_000, max_side: 16_384 }
    }
}

/// How the server shuts down.
#[derive(Debug, Clone, Deserialize)]
pub struct ShutdownConfig {
    /// Time for which `/readyz` says 503 while requests are still accepted.
    #[serde(rename = "drain_delay_ms", deserialize_with = "milliseconds")]
    pub drain_delay: Duration,
    /// Longest time that requests in flight may take after that.
    #[serde(rename = "grace_ms", deserialize_with = "milliseconds")]
    pub grace: Duration,
}

/// Load at which more replicas are asked for.
#[derive(Debug, Clone, Deserialize)]
pub struct ScaleConfig {
    /// Load that a replica should have, as a share of what it can answer within its deadlines.
    pub target_load: Ratio,
}

/// Prices and budgets of this replica.
#[derive(Debug, Clone, Deserialize)]
pub struct CostConfig {
    /// Price of the whole replica in dollars an hour.
    pub usd_per_hour: NonNegative,
    /// Price of one CPU in dollars an hour, which replaces `usd_per_hour`.
    #[serde(deserialize_with = "optional")]
    pub usd_per_cpu_hour: Option<NonNegative>,
    /// Price of one GPU in dollars an hour.
    #[serde(deserialize_with = "optional")]
    pub usd_per_gpu_hour: Option<NonNegative>,
    /// Second currency in which answers state their cost.
    pub currency: Currency,
    /// Units of that currency for one dollar.
    pub currency_per_usd: NonNegative,
    /// Budget of all requests in dollars an hour.
    #[serde(deserialize_with = "optional")]
    pub budget_usd_per_hour: Option<NonNegative>,
    /// Price of energy in dollars a kilowatt-hour.
    #[serde(deserialize_with = "optional")]
    pub usd_per_kwh: Option<NonNegative>,
    /// Grams of CO2 for a kilowatt-hour.
    #[serde(deserialize_with = "optional")]
    pub co2_g_per_kwh: Option<NonNegative>,
    /// Header whose value is a tenant's name.
    #[serde(deserialize_with = "unless_empty")]
    pub tenant_header: Option<HeaderName>,
}

/// A tenant, whose requests are billed together.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct TenantConfig {
    /// API keys of the tenant.
    #[serde(default)]
    pub api_keys: Vec<Secret>,
    /// Budget of the tenant's requests in dollars an hour.
    #[serde(default, deserialize_with = "optional")]
    pub budget_usd_per_hour: Option<NonNegative>,
    /// Share of the machine while others wait, too.
    #[serde(default)]
    pub weight: Weight,
    /// Highest priority of the tenant's requests.
    #[serde(default)]
    pub max_priority: MaxPriority,
    /// Requests a second.
    #[serde(default, deserialize_with = "optional")]
    pub requests_per_second: Option<Cap<Positive>>,
    /// Pixels of images a second.
    #[serde(default, deserialize_with = "optional")]
    pub pixels_per_second: Option<Cap<Positive>>,
    /// Dollars a second.
    #[serde(default, deserialize_with = "optional")]
    pub usd_per_second: Option<Cap<Positive>>,
    /// How many seconds' worth of these may come at once.
    #[serde(default, deserialize_with = "optional")]
    pub burst_seconds: Option<Positive>,
    /// Requests in flight.
    #[serde(default, deserialize_with = "optional")]
    pub max_in_flight: Option<Cap<Places>>,
}

/// Overrides of a model's manifest.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct ModelOverrides {
    /// The variant that answers, or `auto`.
    #[serde(deserialize_with = "unless_empty")]
    pub default_variant: Option<String>,
    /// What the router optimizes.
    #[serde(deserialize_with = "optional")]
    pub objective: Option<Objective>,
    /// Latency in milliseconds that 99 in 100 answers must not exceed.
    #[serde(deserialize_with = "optional")]
    pub slo_p99_ms: Option<Millis>,
    /// Least accuracy of a variant that answers.
    #[serde(deserialize_with = "optional")]
    pub min_accuracy: Option<Ratio>,
    /// Number of sessions of each variant.
    #[serde(deserialize_with = "optional")]
    pub instances: Option<Auto>,
    /// Number of intra-op threads of each session.
    #[serde(deserialize_with = "optional")]
    pub threads: Option<Auto>,
    /// Largest number of images in a run.
    #[serde(deserialize_with = "optional")]
    pub max_batch: Option<Auto>,
}

fn milliseconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    u64::deserialize(deserializer).map(Duration::from_millis)
}

/// Reads an optional setting from text, where `""` means that it is not set.
fn unless_empty<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: std::str::FromStr<Err: std::fmt::Display>,
{
    let text = String::deserialize(deserializer)?;
    if text.is_empty() { Ok(None) } else { text.parse().map(Some).map_err(serde::de::Error::custom) }
}

/// Reads an optional setting of any type, where `""` means that it is not set. The value of a variable is always text, so
/// a number may be text, too.
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
