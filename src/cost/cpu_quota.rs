//! The number of CPUs that are paid for: those the process may run on, or the quota of its control group (cgroups(7)).

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

/// CPUs of this replica. It need not be a whole number: a container with a limit of 1.5 CPUs has 1.5.
#[must_use]
pub fn capacity_cpus() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a machine has few CPUs")]
    let whole = thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
    // The standard library knows the quota already, but rounds it down to a whole number of at least one.
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    quota(&groups, Path::new("/sys/fs/cgroup")).filter(|quota| *quota < whole + 1.0).unwrap_or(whole)
}

/// The smallest CPU quota of the control groups that the process is in; none where no group has one.
///
/// `groups` is the text of `/proc/self/cgroup`, whose lines are `0::/path` for version 2 and `4:cpu,cpuacct:/path` for
/// version 1. `mounted` is the folder where the control groups are mounted.
fn quota(groups: &str, mounted: &Path) -> Option<f64> {
    let group = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?.to_owned(), fields.next()?.trim_start_matches('/').to_owned());
        let has_cpu = controllers.is_empty() || controllers.split(',').any(|controller| controller == "cpu");
        has_cpu.then(|| (mounted.join(controllers), path))
    };
    let quotas = groups.lines().filter_map(group).flat_map(|(root, path)| {
        // A group is limited by all groups above it. Inside a container the path may not exist; then the root is the
        // container's own group.
        let all: Vec<PathBuf> = Path::new(&path).ancestors().map(|ancestor| root.join(ancestor)).collect();
        all.into_iter().filter_map(|folder| quota_v2(&folder).or_else(|| quota_v1(&folder)))
    });
    quotas.min_by(f64::total_cmp)
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
    use super::*;

    /// Makes a folder of control groups with these files in it.
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
