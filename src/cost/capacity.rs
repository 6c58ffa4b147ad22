//! How many CPUs are paid for: those the process may run on, or the part of them that its control group grants.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

/// The CPUs of this replica, which need not be a whole number: a container with a limit of 1.5 has 1.5.
#[must_use]
pub fn capacity_cpus() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a machine has few CPUs")]
    let whole = thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
    // `whole` knows the quota already, but rounds it down, and never below one.
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    quota(&groups, Path::new("/sys/fs/cgroup")).filter(|quota| *quota < whole + 1.0).unwrap_or(whole)
}

/// The least quota of the control groups that the process is in, by `/proc/self/cgroup` (cgroups(7)): lines of
/// `0::/path` for version 2, `4:cpu,cpuacct:/path` for version 1.
fn quota(groups: &str, mounted: &Path) -> Option<f64> {
    let group = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?.to_owned(), fields.next()?.trim_start_matches('/').to_owned());
        let of_cpu = controllers.is_empty() || controllers.split(',').any(|controller| controller == "cpu");
        of_cpu.then(|| (mounted.join(controllers), path))
    };
    let quotas = groups.lines().filter_map(group).flat_map(|(root, path)| {
        // Each group is bound by those that it is in. From within a container the path may lead nowhere, and then the
        // root is the container's own.
        let all: Vec<PathBuf> = Path::new(&path).ancestors().map(|ancestor| root.join(ancestor)).collect();
        all.into_iter().filter_map(|folder| of_version_2(&folder).or_else(|| of_version_1(&folder)))
    });
    quotas.min_by(f64::total_cmp)
}

/// `cpu.max`: `<quota> <period>` in microseconds, or `max <period>`.
fn of_version_2(folder: &Path) -> Option<f64> {
    let text = fs::read_to_string(folder.join("cpu.max")).ok()?;
    let mut numbers = text.split_whitespace().map(str::parse::<f64>);
    share(numbers.next()?.ok()?, numbers.next()?.ok()?)
}

/// A file each for the quota, -1 for none, and the period.
fn of_version_1(folder: &Path) -> Option<f64> {
    let number = |name| fs::read_to_string(folder.join(name)).ok()?.trim().parse().ok();
    share(number("cpu.cfs_quota_us")?, number("cpu.cfs_period_us")?)
}

fn share(quota: f64, period: f64) -> Option<f64> {
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of control groups with these files in it.
    fn mounted(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("tempdir");
        for (name, text) in files {
            let file = folder.path().join(name);
            fs::create_dir_all(file.parent().expect("a folder")).expect("mkdir");
            fs::write(file, text).expect("write");
        }
        folder
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
