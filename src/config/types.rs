//! Types of values that settings and manifests share. Each checks its value when it is read.

use std::{fmt, num::NonZeroUsize, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// An execution provider of ONNX Runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Provider {
    /// NVIDIA TensorRT.
    Tensorrt,
    /// NVIDIA CUDA.
    Cuda,
    /// Intel OpenVINO, on the CPU device.
    Openvino,
    /// ONNX Runtime's own CPU kernels.
    Cpu,
}

impl Provider {
    /// The name in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tensorrt => "tensorrt",
            Self::Cuda => "cuda",
            Self::Openvino => "openvino",
            Self::Cpu => "cpu",
        }
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A number, or `"auto"` for what fits this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Auto {
    /// The thread plan chooses the number.
    #[default]
    Auto,
    /// The operator has set the number.
    Fixed(NonZeroUsize),
}

impl Auto {
    /// The number that is set, or `auto`.
    #[must_use]
    pub fn or(self, auto: usize) -> usize {
        match self {
            Self::Auto => auto,
            Self::Fixed(n) => n.get(),
        }
    }
}

impl Serialize for Auto {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Auto => serializer.serialize_str("auto"),
            Self::Fixed(n) => n.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Auto {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(usize),
            Word(String),
        }
        let wrong = |got: &dyn fmt::Display| {
            serde::de::Error::custom(format!("{got} is neither a number from 1 up nor \"auto\""))
        };
        match Raw::deserialize(deserializer)? {
            Raw::Word(word) if word == "auto" => Ok(Self::Auto),
            Raw::Word(word) => word.parse().map(Self::Fixed).map_err(|_| wrong(&format!("\"{word}\""))),
            Raw::Number(n) => NonZeroUsize::new(n).map(Self::Fixed).ok_or_else(|| wrong(&n)),
        }
    }
}

/// A number from 0 to 1.
///
/// ```
/// use ounce::config::Ratio;
///
/// assert_eq!(Ratio::try_from(0.8).map(Ratio::get), Ok(0.8));
/// assert_eq!(Ratio::try_from(1.5).unwrap_err(), "1.5 is not between 0 and 1");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f32")]
pub struct Ratio(f32);

impl Ratio {
    /// Makes a ratio of the nearest number from 0 to 1.
    #[must_use]
    pub fn clamped(value: f32) -> Self {
        Self(value.clamp(0.0, 1.0))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> f32 {
        self.0
    }
}

impl TryFrom<f32> for Ratio {
    type Error = String;

    fn try_from(value: f32) -> Result<Self, String> {
        if (0.0..=1.0).contains(&value) { Ok(Self(value)) } else { Err(format!("{value} is not between 0 and 1")) }
    }
}

/// The base URL of a collector that speaks OTLP over plain HTTP, as in `http://collector:4318`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtlpEndpoint(String);

impl OtlpEndpoint {
    /// The URL that traces are posted to.
    #[must_use]
    pub fn traces(&self) -> String {
        format!("{}/v1/traces", self.0)
    }
}

impl FromStr for OtlpEndpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let base = text.trim_end_matches('/');
        let authority = base.strip_prefix("http://").and_then(|rest| rest.split('/').next());
        match authority {
            Some(authority) if !authority.is_empty() && base.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Ok(Self(base.to_owned()))
            }
            _ => {
                Err("a collector is named as in \"http://collector:4318\"; TLS is left to one beside the server"
                    .to_owned())
            }
        }
    }
}

/// The task of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Detection, which answers with boxes that have a label and a score.
    Detect,
    /// Classification, which answers with labels and their scores, best first.
    Classify,
}

impl Task {
    /// All tasks. Where a request names no task, a model of the first task is preferred.
    pub const ALL: [Self; 2] = [Self::Detect, Self::Classify];
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Detect => "detect",
            Self::Classify => "classify",
        })
    }
}

/// A finite number that is not negative, such as a price.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Deserialize)]
#[serde(try_from = "f64")]
pub struct NonNegative(f64);

impl NonNegative {
    /// The number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for NonNegative {
    type Error = String;

    fn try_from(number: f64) -> Result<Self, String> {
        if number.is_finite() && number >= 0.0 { Ok(Self(number)) } else { Err(format!("{number} is not from 0 up")) }
    }
}

/// Milliseconds, from more than zero to ten minutes.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Deserialize)]
#[serde(try_from = "f64")]
pub struct Millis(f64);

impl Millis {
    /// Converts it to a duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs_f64(self.0 / 1e3)
    }
}

impl TryFrom<f64> for Millis {
    type Error = String;

    fn try_from(number: f64) -> Result<Self, String> {
        let fits = number > 0.0 && number <= 600_000.0;
        if fits { Ok(Self(number)) } else { Err(format!("{number} is not above 0 and up to 600000")) }
    }
}

/// What the router optimizes among the variants that meet all limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// The lowest cost.
    Cost,
    /// The lowest latency.
    Latency,
    /// The highest accuracy.
    Accuracy,
}

/// A secret key, which is hidden where settings are printed.
#[derive(Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The key.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// The name of an HTTP header, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderName(String);

impl HeaderName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HeaderName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        let fits = !text.is_empty() && text.chars().all(token);
        if fits { Ok(Self(text.to_ascii_lowercase())) } else { Err(format!("\"{text}\" is no name of a header")) }
    }
}

/// A currency by its three letters (ISO 4217).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Currency([u8; 3]);

impl Currency {
    /// US dollars, the currency of prices.
    pub const USD: Self = Self(*b"USD");

    /// The three letters of the currency.
    #[must_use]
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl TryFrom<String> for Currency {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let letters: Option<[u8; 3]> = text.as_bytes().try_into().ok();
        let capitals = letters.filter(|letters| letters.iter().all(u8::is_ascii_uppercase));
        capitals.map(Self).ok_or_else(|| format!("\"{text}\" is no currency in three capital letters, as in \"EUR\""))
    }
}
