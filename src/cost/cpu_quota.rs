//! The number of CPUs that are paid for: those the process may run on, or the quota of its control group (cgroups(7)).

use std::{fs, path::Path, thread};

use super::control_groups::{self, MOUNTED};

/// CPUs of this replica. It need not be a whole number: a container with a limit of 1.5 CPUs has 1.5.
#[must_use]
pub fn capacity_cpus() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a machine has few CPUs")]
    let whole = thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
    // The standard library knows the quota already, but rounds it down to a whole number of at least one.
    quota(&control_groups::of_this_process(), Path::new(MOUNTED)).filter(|quota| *quota < whole + 1.0).unwrap_or(whole)
}

/// The smallest CPU quota of the control groups in `groups`; none where no group has one.
fn quota(groups: &str, mounted: &Path) -> Option<f64> {
    let of_group = |folder: &Path| quota_v2(folder).or_else(|| quota_v1(folder));
    control_groups::limits(groups, mounted, "cpu", of_group).into_iter().min_by(f64::total_cmp)
}

/// Reads `cpu.max` of version 2, which is `<quota> <period>` in microseconds, or `max <period>` for no quota.
fn quota_v2(folder: &Path) -> Option<f64> {
    let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
    let mut numbers = text.split_whitespace().map(str::parse::<f64>);
    ratio(numbers.next()?.ok()?, numbers.next()?.ok()?)
}

/// Reads the files of version 1, one for the quota in microseconds (-1 for none) and one for the period.
fn quota_v1(folder: &Path) -> Option<f64> {
    let number = |name| fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok();
    ratio(number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)
}

fn ratio(quota: f64, period: f64) -> Option<f64> {
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::{super::control_groups::testing::mounted, *};

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
