//! The price sheet: what a replica costs, and with that what a second of it costs.

use super::{
    energy::Watts,
    time::{CpuTime, Used},
};
use crate::config::{self, Currency};

/// What a replica costs, and what it has.
///
/// ```
/// use std::time::Duration;
///
/// use ounce::{config::Config, cost::{CpuTime, PriceSheet, Used}};
///
/// // A replica with two CPUs for ten cents an hour, which is the default price.
/// let sheet = PriceSheet::new(&Config::defaults()?.cost, 2.0);
/// let used = Used::from(CpuTime::from(Duration::from_millis(6)));
/// let million = 1e6 * sheet.price(used, None).usd;
/// assert!((million - 0.0833).abs() < 0.0001, "a million answers of 6 ms CPU time cost 8 cents: {million}");
/// # Ok::<(), ounce::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct PriceSheet {
    /// Dollars an hour for all of it.
    pub usd_per_hour: f64,
    usd_per_cpu_second: f64,
    usd_per_gpu_second: f64,
    currency: Option<(Currency, f64)>,
}

impl PriceSheet {
    /// The price of a replica with so many CPUs, whole or not.
    #[must_use]
    pub fn new(cost: &config::Cost, cpus: f64) -> Self {
        let per_cpu_hour = cost.usd_per_cpu_hour.map_or(cost.usd_per_hour.get() / cpus, config::NonNegative::get);
        let per_gpu_hour = cost.usd_per_gpu_hour.map_or(0.0, config::NonNegative::get);
        Self {
            usd_per_hour: per_cpu_hour * cpus + per_gpu_hour,
            usd_per_cpu_second: per_cpu_hour / 3600.0,
            usd_per_gpu_second: per_gpu_hour / 3600.0,
            currency: Some((cost.currency, cost.currency_per_usd.get())).filter(|(code, _)| *code != Currency::USD),
        }
    }

    /// Dollars for what was used.
    #[must_use]
    pub fn usd(&self, used: Used) -> f64 {
        used.cpu.seconds() * self.usd_per_cpu_second + used.gpu.seconds() * self.usd_per_gpu_second
    }

    /// The price of what a request used, and the energy that it took at that many watts.
    #[must_use]
    pub fn price(&self, used: Used, watts: Option<Watts>) -> RequestCost {
        let usd = self.usd(used);
        RequestCost {
            usd,
            converted: self.currency.map(|(currency, per_usd)| (usd * per_usd, currency)),
            cpu_seconds: used.cpu.seconds(),
            gpu_seconds: (used.gpu > CpuTime::default()).then(|| used.gpu.seconds()),
            energy_joules: watts.map(|watts| watts.joules(used)),
        }
    }
}

/// What one answer cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RequestCost {
    /// Dollars.
    pub usd: f64,
    /// The same in another currency, where settings name one.
    pub converted: Option<(f64, Currency)>,
    /// CPU seconds of decoding, its share of the run, and post-processing.
    pub cpu_seconds: f64,
    /// GPU seconds of its share of the run; none where no GPU ran it.
    pub gpu_seconds: Option<f64>,
    /// Joules, where they can be measured.
    pub energy_joules: Option<f64>,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Config, NonNegative};

    fn hour(cpu: u64, gpu: u64) -> Used {
        let hours = |n: u64| CpuTime::from(Duration::from_secs(n * 3600));
        Used { cpu: hours(cpu), gpu: hours(gpu) }
    }

    #[test]
    fn a_cpu_that_works_for_an_hour_costs_its_share_of_the_replica() {
        let mut cost = Config::defaults().expect("defaults").cost;
        let usd = |cost: &config::Cost, used| PriceSheet::new(cost, 2.0).price(used, None).usd;
        assert!((usd(&cost, hour(1, 0)) - 0.05).abs() < 1e-12);
        assert!((usd(&cost, hour(1, 1)) - 0.05).abs() < 1e-12, "a GPU without a price is free");
        cost.usd_per_cpu_hour = NonNegative::try_from(0.03).ok();
        cost.usd_per_gpu_hour = NonNegative::try_from(1.5).ok();
        assert!((usd(&cost, hour(1, 1)) - 1.53).abs() < 1e-12);
        assert!((PriceSheet::new(&cost, 2.0).usd_per_hour - 1.56).abs() < 1e-12);
    }
}
