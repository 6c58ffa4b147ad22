//! CPU time and GPU time, as the system's clocks measure them.

use std::{
    ops::{Add, AddAssign, Div, Mul, Sub},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// CPU time (or GPU time) that was used. It is a sum over threads, so it may pass faster than wall-clock time.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd)]
pub struct CpuTime(Duration);

impl CpuTime {
    /// CPU time that this thread has used since it began.
    #[must_use]
    pub fn of_this_thread() -> Self {
        Self::read(ClockId::ThreadCPUTime)
    }

    /// CPU time that all threads of this process have used since it began.
    #[must_use]
    pub fn of_this_process() -> Self {
        Self::read(ClockId::ProcessCPUTime)
    }

    /// CPU time that this thread has used since its clock read `earlier`.
    #[must_use]
    pub fn of_this_thread_since(earlier: Self) -> Self {
        Self(Self::of_this_thread().0.saturating_sub(earlier.0))
    }

    /// The time in seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0.as_secs_f64()
    }

    /// The smaller of the two times.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self(self.0.min(other.0))
    }

    /// Makes a time of a number of nanoseconds.
    #[must_use]
    pub fn from_nanos(nanos: u64) -> Self {
        Self(Duration::from_nanos(nanos))
    }

    /// The time in nanoseconds. A `u64` holds five hundred years of them.
    #[must_use]
    pub fn nanos(self) -> u64 {
        u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX)
    }

    fn read(clock: ClockId) -> Self {
        let time = clock_gettime(clock);
        Self(Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0)))
    }
}

impl From<Duration> for CpuTime {
    fn from(time: Duration) -> Self {
        Self(time)
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

impl Sub for CpuTime {
    type Output = Self;

    /// The difference, or zero where it would be negative.
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
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

/// CPU time and GPU time that some work used.
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd)]
pub struct ResourceUsage {
    /// Time of the machine's CPUs.
    pub cpu: CpuTime,
    /// Time of the machine's GPU.
    pub gpu: CpuTime,
}

impl ResourceUsage {
    /// The share of `rows` rows in work on `total_rows` rows.
    #[must_use]
    pub fn share(self, rows: usize, total_rows: usize) -> Self {
        Self { cpu: self.cpu / total_rows * rows, gpu: self.gpu / total_rows * rows }
    }
}

impl From<CpuTime> for ResourceUsage {
    fn from(cpu: CpuTime) -> Self {
        Self { cpu, gpu: CpuTime::default() }
    }
}

impl AddAssign for ResourceUsage {
    fn add_assign(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.gpu += other.gpu;
    }
}

impl Sub for ResourceUsage {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { cpu: self.cpu - other.cpu, gpu: self.gpu - other.gpu }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_works_uses_time_of_its_process() {
        let all = CpuTime::of_this_process();
        let mine = CpuTime::of_this_thread();
        let sum: u64 = std::hint::black_box((0..3_000_000u64).map(std::hint::black_box).sum());
        let (used, of_all) = (CpuTime::of_this_thread_since(mine), CpuTime::of_this_process() - all);
        assert!(sum > 0 && used.seconds() > 0.0);
        assert!(of_all >= used);
    }
}
