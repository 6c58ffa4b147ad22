//! The number of CPUs that are paid for: those the process may run on, or the quota of its control group (cgroups(7)). Under a
//! quota the kernel stops the whole group for the rest of each period in which the quota is used up.

use std::{fs, path::Path, thread, time::Duration};

use super::control_groups::{self, MOUNTED};

/// CPUs of this replica. It need not be a whole number: a container with a limit of 1.5 CPUs has 1.5.
#[must_use]
pub fn capacity_cpus() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a machine has few CPUs")]
    let whole = thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
    // The standard library knows the quota already, but rounds it down to a whole number of at least one.
    of_this_process().map(|quota| quota.cpus).filter(|cpus| *cpus < whole + 1.0).unwrap_or(whole)
}

/// The longest time for which a busy process stands still because its quota is used up; zero where there is none.
#[must_use]
pub fn longest_pause() -> Duration {
    let cpus = rustix::thread::sched_getaffinity(None).map_or(1, |cpus| cpus.count());
    of_this_process().map(|quota| quota.pause(f64::from(cpus))).unwrap_or_default()
}

/// A quota of CPU time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct CpuQuota {
    /// CPU time a period, divided by the period.
    cpus: f64,
    period: Duration,
}

impl CpuQuota {
    fn new(micros: f64, period_micros: f64) -> Option<Self> {
        let period =
            Duration::try_from_secs_f64(period_micros / 1e6).ok().filter(|_| micros > 0.0 && period_micros > 0.0)?;
        Some(Self { cpus: micros / period_micros, period })
    }

    /// What is left of a period once the quota is used up, by as many threads as work is planned for and one for the sockets.
    fn pause(self, cpus: f64) -> Duration {
        let at_once = (self.cpus.ceil() + 1.0).min(cpus).max(1.0);
        self.period.mul_f64((1.0 - self.cpus / at_once).max(0.0))
    }
}

fn of_this_process() -> Option<CpuQuota> {
    quota(&control_groups::of_this_process(), Path::new(MOUNTED))
}

/// The smallest CPU quota of the control groups in `groups`; none where no group has one.
fn quota(groups: &str, mounted: &Path) -> Option<CpuQuota> {
    let of_group = |folder: &Path| quota_v2(folder).or_else(|| quota_v1(folder));
    let all = control_groups::limits(groups, mounted, "cpu", of_group).into_iter();
    all.min_by(|one, other| one.cpus.total_cmp(&other.cpus))
}

/// Reads `cpu.max` of version 2, which is `<quota> <period>` in microseconds, or `max <period>` for no quota.
fn quota_v2(folder: &Path) -> Option<CpuQuota> {
    let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
    let mut numbers = text.split_whitespace().map(str::parse::<f64>);
    CpuQuota::new(numbers.next()?.ok()?, numbers.next()?.ok()?)
}

/// Reads the files of version 1, one for the quota in microseconds (-1 for none) and one for the period.
fn quota_v1(folder: &Path) -> Option<CpuQuota> {
    let number = |name| fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok();
    CpuQuota::new(number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)
}

#[cfg(test)]
mod tests {
    use super::{super::control_groups::testing::mounted, *};

    fn quota(groups: &str, mounted: &Path) -> Option<f64> {
        super::quota(groups, mounted).map(|quota| quota.cpus)
    }

    #[test]
    fn a_process_stands_still_for_the_rest_of_a_period() {
        let pause = |micros, cpus| CpuQuota::new(micros, 100_000.0).expect("a quota").pause(cpus);
        assert_eq!(pause(20_000.0, 2.0), Duration::from_millis(90), "two threads use up 20 ms in 10");
        assert_eq!(pause(50_000.0, 1.0), Duration::from_millis(50));
        assert_eq!(pause(200_000.0, 2.0), Duration::ZERO, "it has both CPUs all the time");
        assert_eq!(pause(400_000.0, 64.0), Duration::from_millis(20));
    }

    #[test]
    fn a_quota_may_be_a_part_of_a_cpu() {
        let container = mounted(&[("cpu.max", "50000 100000\n")]);
        assert_eq!(quota("0::/\n", container.path()), Some(0.5));
        assert_eq!(quota("0::/host/path\n", container.path()), Some(0.5), "the path is the host's");
        assert_eq!(quota("0::/\n", mounted(&[("cpu.max", "max 100000\n")]).path()), None);
        assert!(capacity_cpus() > 0.0);
    }

    #[test]
    fn the_tightest_of_the_groups_binds() {
        let nested = mounted(&[("a/cpu.max", "150000 100000\n"), ("a/b/cpu.max", "max 100000\n")]);
        assert_eq!(quota("0::/a/b\n", nested.path()), Some(1.5));
    }

    #[test]
    fn version_1_has_files_of_its_own() {
        let files = [("cpu,cpuacct/a/cpu.cfs_quota_us", "25000\n"), ("cpu,cpuacct/a/cpu.cfs_period_us", "100000\n")];
        let old = mounted(&files);
        assert_eq!(quota("5:memory:/\n4:cpu,cpuacct:/a\n0::/\n", old.path()), Some(0.25));
        let free = mounted(&[("cpu/cpu.cfs_quota_us", "-1\n"), ("cpu/cpu.cfs_period_us", "100000\n")]);
        assert_eq!(quota("4:cpu:/\n", free.path()), None);
    }
}
