//! What an answer cost: CPU seconds, measured by the threads that worked, at the replica's price.
//!
//! `usd = cpu_seconds × usd_per_hour ÷ 3600 ÷ usable CPUs`. Energy is `null` until it is measured.

use std::{
    ops::{Add, AddAssign, Div, Mul},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use crate::config::UsdPerHour;

/// CPU time that was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd)]
pub struct CpuTime(Duration);

impl CpuTime {
    /// What this thread has used since it began.
    #[must_use]
    pub fn of_this_thread() -> Self {
        let spent = clock_gettime(ClockId::ThreadCPUTime);
        Self(Duration::new(spent.tv_sec.unsigned_abs(), u32::try_from(spent.tv_nsec).unwrap_or(0)))
    }

    /// What this thread has used since `earlier`.
    #[must_use]
    pub fn since(earlier: Self) -> Self {
        Self(Self::of_this_thread().0.saturating_sub(earlier.0))
    }

    /// What `threads` reserved threads used in `wall` time: a session's own pool has no clock that we can read.
    #[must_use]
    pub fn reserved(wall: Duration, threads: usize) -> Self {
        Self(wall.saturating_mul(u32::try_from(threads).unwrap_or(u32::MAX)))
    }

    /// In seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0.as_secs_f64()
    }
}

impl Add for CpuTime {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }
}

impl AddAssign for CpuTime {
    fn add_assign(&mut self, other: Self) {
        self.0 += other.0;
    }
}

impl Mul<usize> for CpuTime {
    type Output = Self;

    fn mul(self, times: usize) -> Self {
        Self(self.0.saturating_mul(u32::try_from(times).unwrap_or(u32::MAX)))
    }
}

impl Div<usize> for CpuTime {
    type Output = Self;

    fn div(self, parts: usize) -> Self {
        Self(self.0 / u32::try_from(parts.max(1)).unwrap_or(u32::MAX))
    }
}

/// What a replica costs, and what it has.
#[derive(Debug, Clone, Copy)]
pub struct PriceSheet {
    usd_per_cpu_second: f64,
}

impl PriceSheet {
    /// The price of a replica of `cpus` usable CPUs.
    #[must_use]
    pub fn new(usd_per_hour: UsdPerHour, cpus: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a machine has few CPUs")]
        let cpus = cpus.max(1) as f64;
        Self { usd_per_cpu_second: usd_per_hour.get() / 3600.0 / cpus }
    }

    /// The price of what was used.
    #[must_use]
    pub fn price(&self, used: CpuTime) -> RequestCost {
        RequestCost { usd: used.seconds() * self.usd_per_cpu_second, cpu_seconds: used.seconds(), energy_joules: None }
    }
}

/// What one answer cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RequestCost {
    /// Dollars.
    pub usd: f64,
    /// CPU seconds of decoding, its share of the run, and post-processing.
    pub cpu_seconds: f64,
    /// Joules, where they can be measured.
    pub energy_joules: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_that_works_for_an_hour_costs_its_share_of_the_replica() {
        let sheet = PriceSheet::new(UsdPerHour::try_from(0.10).expect("a price"), 2);
        let cost = sheet.price(CpuTime::reserved(Duration::from_secs(3600), 1));
        assert!((cost.usd - 0.05).abs() < 1e-12, "{cost:?}");
        assert_eq!(cost.energy_joules, None);
    }

    #[test]
    fn a_thread_that_works_uses_time() {
        let before = CpuTime::of_this_thread();
        let sum: u64 = std::hint::black_box((0..3_000_000u64).map(std::hint::black_box).sum());
        assert!(sum > 0 && CpuTime::since(before).seconds() > 0.0);
    }
}
