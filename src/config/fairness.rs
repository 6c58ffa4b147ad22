//! What tenants get of the machine while others wait, too.

use serde::{Deserialize, Serialize};

/// A tenant's weight, from 0.001 to 1,000: with twice the weight, twice as much work is done while both have work waiting.
///
/// ```
/// use ounce::config::Weight;
///
/// assert_eq!(Weight::try_from(2.5).map(Weight::get), Ok(2.5));
/// assert_eq!(Weight::try_from(0.0).unwrap_err(), "0 is not from 0.001 to 1000");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "f64")]
pub struct Weight(f64);

impl Weight {
    /// The number.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(1.0)
    }
}

impl TryFrom<f64> for Weight {
    type Error = String;

    fn try_from(number: f64) -> Result<Self, String> {
        if (0.001..=1000.0).contains(&number) {
            Ok(Self(number))
        } else {
            Err(format!("{number} is not from 0.001 to 1000"))
        }
    }
}

/// The highest priority that a tenant's requests have, from 0 to 9.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8")]
pub struct MaxPriority(u8);

impl MaxPriority {
    /// The number.
    #[must_use]
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for MaxPriority {
    fn default() -> Self {
        Self(9)
    }
}

impl TryFrom<u8> for MaxPriority {
    type Error = String;

    fn try_from(number: u8) -> Result<Self, String> {
        if number <= 9 { Ok(Self(number)) } else { Err(format!("{number} is not from 0 to 9")) }
    }
}
