//! The memory that this process may use: the tightest limit of its control groups (cgroups(7)), else what the machine has.

use std::{fs, path::Path};

use crate::cost::control_groups::{self, MOUNTED};

/// The limit in bytes; none where the system does not tell.
pub(super) fn memory_limit() -> Option<u64> {
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let limit = group_limit(&control_groups::of_this_process(), Path::new(MOUNTED));
    // A group without a limit of its own says a number that no machine has.
    [machine, limit].into_iter().flatten().min()
}

/// The total of `/proc/meminfo`, which is told in kB.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The smallest limit of the control groups in `groups`.
fn group_limit(groups: &str, mounted: &Path) -> Option<u64> {
    control_groups::limits(groups, mounted, "memory", limit_of).into_iter().min()
}

/// `memory.max` of version 2, which is a number or `max`; `memory.limit_in_bytes` of version 1.
fn limit_of(folder: &Path) -> Option<u64> {
    let read = |file| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok();
    read("memory.max").or_else(|| read("memory.limit_in_bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::control_groups::testing::mounted;

    #[test]
    fn the_tightest_group_binds_in_both_versions() {
        let two = mounted(&[("memory.max", "max\n"), ("a/memory.max", "536870912\n"), ("a/b/memory.max", "max\n")]);
        assert_eq!(group_limit("0::/a/b\n", two.path()), Some(512 << 20));
        assert_eq!(group_limit("0::/\n", two.path()), None);
        let container = mounted(&[("memory.max", "1048576\n")]);
        assert_eq!(group_limit("0::/host/path\n", container.path()), Some(1 << 20), "the path is the host's");
        let one = mounted(&[("memory/a/memory.limit_in_bytes", "268435456\n")]);
        assert_eq!(group_limit("9:memory:/a\n4:cpu:/\n0::/\n", one.path()), Some(256 << 20));
    }

    #[test]
    fn a_machine_tells_what_it_has() {
        assert_eq!(total("MemTotal:       24655404 kB\nMemFree: 1 kB\n"), Some(24_655_404 * 1024));
        assert!(memory_limit().is_some_and(|bytes| bytes > 1 << 20));
    }
}
