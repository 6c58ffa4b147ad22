//! The memory that this process may use: the tightest limit of its control groups (cgroups(7)), else what the machine has.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// The limit in bytes; none where the system does not tell.
pub(super) fn memory_limit() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| total(&text));
    let limit = group_limit(&groups, Path::new("/sys/fs/cgroup"));
    // A group without a limit of its own says a number that no machine has.
    [machine, limit].into_iter().flatten().min()
}

/// The total of `/proc/meminfo`, which is told in kB.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The smallest limit of the control groups that the process is in, and of those above them.
///
/// `groups` is the text of `/proc/self/cgroup`: `0::/path` for version 2, `9:memory:/path` for version 1. `mounted` is the folder
/// where they are mounted. Inside a container the path may not exist; then the root is the container's own group.
fn group_limit(groups: &str, mounted: &Path) -> Option<u64> {
    let folders = groups.lines().filter_map(|line| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
        let has_memory = controllers.is_empty() || controllers.split(',').any(|controller| controller == "memory");
        has_memory.then(|| (mounted.join(controllers), PathBuf::from(path)))
    });
    let limits = folders.flat_map(|(root, path)| {
        let all: Vec<PathBuf> = path.ancestors().map(|ancestor| root.join(ancestor)).collect();
        all.into_iter().filter_map(|folder| limit_of(&folder))
    });
    limits.min()
}

/// `memory.max` of version 2, which is a number or `max`; `memory.limit_in_bytes` of version 1.
fn limit_of(folder: &Path) -> Option<u64> {
    let read = |file| fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok();
    read("memory.max").or_else(|| read("memory.limit_in_bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

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
