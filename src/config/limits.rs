//! How much one client may ask for.

use std::num::NonZeroUsize;

use serde::{Deserialize, Deserializer};

use super::{TenantConfig, optional};

/// What one client may ask for: a tenant or, among the requests of no tenant, an address. What is not set is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct LimitsConfig {
    /// Requests a second.
    #[serde(deserialize_with = "optional")]
    pub requests_per_second: Option<Cap<Positive>>,
    /// Pixels of images a second.
    #[serde(deserialize_with = "optional")]
    pub pixels_per_second: Option<Cap<Positive>>,
    /// Dollars a second.
    #[serde(deserialize_with = "optional")]
    pub usd_per_second: Option<Cap<Positive>>,
    /// How many seconds' worth of these may come at once.
    pub burst_seconds: Positive,
    /// Requests in flight.
    #[serde(deserialize_with = "optional")]
    pub max_in_flight: Option<Cap<Places>>,
}

/// A limit that is set: to a number, or to `none`, which takes away the limit that holds for everybody.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cap<T> {
    /// No limit.
    None,
    /// This much.
    At(T),
}

/// A finite number above 0.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Deserialize)]
#[serde(try_from = "f64")]
pub struct Positive(f64);

/// A number of requests in flight, from 1 up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Places(NonZeroUsize);

/// A limit as it is in force, and the section of the settings that says so.
#[derive(Debug, Clone, PartialEq)]
pub struct InForce<T> {
    /// How much.
    pub most: T,
    /// The section: `limits`, or `tenants.NAME`.
    pub section: String,
}

/// The limits in force for one client.
#[derive(Debug, Clone, PartialEq)]
pub struct ClientLimits {
    /// Requests a second.
    pub requests: Option<InForce<f64>>,
    /// Pixels a second.
    pub pixels: Option<InForce<f64>>,
    /// Dollars a second.
    pub usd: Option<InForce<f64>>,
    /// How many seconds' worth of these may come at once.
    pub burst_seconds: f64,
    /// Requests in flight.
    pub in_flight: Option<InForce<usize>>,
}

impl LimitsConfig {
    /// What one address may ask for, whose requests are no tenant's.
    #[must_use]
    pub fn of_address(&self) -> ClientLimits {
        let rate = |cap: Option<Cap<Positive>>| in_force(cap.map(|cap| (cap, "limits")), |most| most.0);
        ClientLimits {
            requests: rate(self.requests_per_second),
            pixels: rate(self.pixels_per_second),
            usd: rate(self.usd_per_second),
            burst_seconds: self.burst_seconds.0,
            in_flight: in_force(self.max_in_flight.map(|cap| (cap, "limits")), |most| most.0.get()),
        }
    }

    /// What a tenant may ask for: what its section says, else what `[limits]` says. `[tenants.default]` stands for all requests of no
    /// tenant together, and `[limits]` for each address among them, so it has nothing from there but the burst.
    #[must_use]
    pub fn of_tenant(&self, name: &str, tenant: &TenantConfig) -> ClientLimits {
        let section = format!("tenants.{name}");
        let everybody = (name != "default").then_some(self);
        let rate = |own: Option<Cap<Positive>>, of_all: fn(&Self) -> Option<Cap<Positive>>| {
            in_force(either(own, everybody.and_then(of_all), &section), |most| most.0)
        };
        let places = either(tenant.max_in_flight, everybody.and_then(|all| all.max_in_flight), &section);
        ClientLimits {
            requests: rate(tenant.requests_per_second, |all| all.requests_per_second),
            pixels: rate(tenant.pixels_per_second, |all| all.pixels_per_second),
            usd: rate(tenant.usd_per_second, |all| all.usd_per_second),
            burst_seconds: tenant.burst_seconds.unwrap_or(self.burst_seconds).0,
            in_flight: in_force(places, |most| most.0.get()),
        }
    }
}

impl ClientLimits {
    /// Whether there is any limit.
    #[must_use]
    pub fn limit(&self) -> bool {
        self.requests.is_some() || self.pixels.is_some() || self.usd.is_some() || self.in_flight.is_some()
    }
}

/// A tenant's own limit, else that of everybody; with the section that it comes from.
fn either<'a, T>(own: Option<Cap<T>>, of_all: Option<Cap<T>>, section: &'a str) -> Option<(Cap<T>, &'a str)> {
    own.map(|cap| (cap, section)).or(of_all.map(|cap| (cap, "limits")))
}

fn in_force<T, N>(cap: Option<(Cap<T>, &str)>, number: impl Fn(T) -> N) -> Option<InForce<N>> {
    match cap {
        Some((Cap::At(most), section)) => Some(InForce { most: number(most), section: section.to_owned() }),
        Some((Cap::None, _)) | None => None,
    }
}

impl TryFrom<f64> for Positive {
    type Error = String;

    fn try_from(number: f64) -> Result<Self, String> {
        if number.is_finite() && number > 0.0 { Ok(Self(number)) } else { Err(format!("{number} is not above 0")) }
    }
}

impl TryFrom<f64> for Places {
    type Error = String;

    fn try_from(number: f64) -> Result<Self, String> {
        let whole = number.fract() == 0.0 && (1.0..=1e9).contains(&number);
        let places = if whole { NonZeroUsize::new(number as usize) } else { None };
        places.map(Self).ok_or_else(|| format!("{number} is no whole number from 1 up"))
    }
}

impl<'de, T: TryFrom<f64, Error = String>> Deserialize<'de> for Cap<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a number or \"none\"")]
        enum Raw {
            Number(f64),
            Word(String),
        }
        let number = match Raw::deserialize(deserializer)? {
            Raw::Word(word) if word == "none" => return Ok(Self::None),
            Raw::Word(word) => word.parse().map_err(|_| format!("\"{word}\" is neither a number nor \"none\"")),
            Raw::Number(number) => Ok(number),
        };
        number.and_then(T::try_from).map(Self::At).map_err(serde::de::Error::custom)
    }
}
