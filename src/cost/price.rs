//! The price sheet: from the price of a replica an hour it derives the price of a second of a CPU and of the GPU.

use super::{
    energy::Watts,
    time::{CpuTime, ResourceUsage},
};
use crate::config::{self, Currency};

/// Prices of a replica and of a second of its CPUs and its GPU.
///
/// ```
/// use std::time::Duration;
///
/// use ounce::{config::Config, cost::{CpuTime, PriceSheet, ResourceUsage}};
///
/// // A replica with two CPUs for ten cents an hour, which is the default price.
/// let sheet = PriceSheet::new(&Config::defaults()?.cost, 2.0);
/// let usage = ResourceUsage::from(CpuTime::from(Duration::from_millis(6)));
/// let million = 1e6 * sheet.price(usage, None).usd;
/// assert!((million - 0.0833).abs() < 0.0001, "a million answers of 6 ms CPU time cost 8 cents: {million}");
/// # Ok::<(), ounce::config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct PriceSheet {
    /// Price of the whole replica in dollars an hour.
    pub usd_per_hour: f64,
    usd_per_cpu_second: f64,
    usd_per_gpu_second: f64,
    // The second currency, and its units for one dollar.
    currency: Option<(Currency, f64)>,
}

impl PriceSheet {
    /// Derives the prices from the settings, for a replica with `cpus` CPUs (which need not be a whole number).
    #[must_use]
    pub fn new(cost: &config::CostConfig, cpus: f64) -> Self {
        let per_cpu_hour = cost.usd_per_cpu_hour.map_or(cost.usd_per_hour.get() / cpus, config::NonNegative::get);
        let per_gpu_hour = cost.usd_per_gpu_hour.map_or(0.0, config::NonNegative::get);
        Self {
            usd_per_hour: per_cpu_hour * cpus + per_gpu_hour,
            usd_per_cpu_second: per_cpu_hour / 3600.0,
            usd_per_gpu_second: per_gpu_hour / 3600.0,
            currency: Some((cost.currency, cost.currency_per_usd.get())).filter(|(code, _)| *code != Currency::USD),
        }
    }

    /// The price in dollars of the time that was used.
    #[must_use]
    pub fn usd(&self, usage: ResourceUsage) -> f64 {
        usage.cpu.seconds() * self.usd_per_cpu_second + usage.gpu.seconds() * self.usd_per_gpu_second
    }

    /// The price of a request, and its energy where the power is known.
    #[must_use]
    pub fn price(&self, usage: ResourceUsage, watts: Option<Watts>) -> RequestCost {
        let usd = self.usd(usage);
        RequestCost {
            usd,
            converted: self.currency.map(|(currency, per_usd)| (usd * per_usd, currency)),
            cpu_seconds: usage.cpu.seconds(),
            gpu_seconds: (usage.gpu > CpuTime::default()).then(|| usage.gpu.seconds()),
            energy_joules: watts.map(|watts| watts.joules(usage)),
        }
    }
}

/// Cost of one answer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RequestCost {
    /// Price in dollars.
    pub usd: f64,
    /// The price in the second currency, where the settings name one.
    pub converted: Option<(f64, Currency)>,
    /// CPU seconds of decoding, of the request's share of the run, and of post-processing.
    pub cpu_seconds: f64,
    /// GPU seconds of the request's share of the run; none where it did not run on a GPU.
    pub gpu_seconds: Option<f64>,
    /// Energy in joules, where it can be measured.
    pub energy_joules: Option<f64>,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::{Config, NonNegative};

    fn hour(cpu: u64, gpu: u64) -> ResourceUsage {
        let hours = |n: u64| CpuTime::from(Duration::from_secs(n * 3600));
        ResourceUsage { cpu: hours(cpu), gpu: hours(gpu) }
    }

    #[test]
    fn a_cpu_that_works_for_an_hour_costs_its_share_of_the_replica() {
        let mut cost = Config::defaults().expect("defaults").cost;
        let usd = |cost: &config::CostConfig, used| PriceSheet::new(cost, 2.0).price(used, None).usd;
        assert!((usd(&cost, hour(1, 0)) - 0.05).abs() < 1e-12);
        assert!((usd(&cost, hour(1, 1)) - 0.05).abs() < 1e-12, "a GPU without a price is free");
        cost.usd_per_cpu_hour = NonNegative::try_from(0.03).ok();
        cost.usd_per_gpu_hour = NonNegative::try_from(1.5).ok();
        assert!((usd(&cost, hour(1, 1)) - 1.53).abs() < 1e-12);
        assert!((PriceSheet::new(&cost, 2.0).usd_per_hour - 1.56).abs() < 1e-12);
    }
}
