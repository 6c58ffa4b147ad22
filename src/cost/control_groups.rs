//! The control groups that this process is in (cgroups(7)), of version 1 and 2, and what their files limit.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Where control groups are mounted.
pub const MOUNTED: &str = "/sys/fs/cgroup";

/// The text of `/proc/self/cgroup`, whose lines are `0::/path` for version 2 and `4:cpu,cpuacct:/path` for version 1; empty where there
/// is none.
#[must_use]
pub fn of_this_process() -> String {
    fs::read_to_string("/proc/self/cgroup").unwrap_or_default()
}

/// What `read` finds in the folders of the groups of a `controller` that are named in `groups`, and in those above them, which limit
/// them, too. `mounted` is the folder where the groups are mounted. Inside a container the path may not exist; then the root is the
/// container's own group.
pub fn limits<T>(groups: &str, mounted: &Path, controller: &str, read: impl Fn(&Path) -> Option<T>) -> Vec<T> {
    let group = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?.trim_start_matches('/'));
        let has_it = controllers.is_empty() || controllers.split(',').any(|one| one == controller);
        has_it.then(|| (mounted.join(controllers), PathBuf::from(path)))
    };
    let found = |(root, path): (PathBuf, PathBuf)| -> Vec<T> {
        path.ancestors().filter_map(|ancestor| read(&root.join(ancestor))).collect()
    };
    groups.lines().filter_map(group).flat_map(found).collect()
}

#[cfg(test)]
pub(crate) mod testing {
    /// Makes a folder of control groups with these files in it.
    pub(crate) fn mounted(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("tempdir");
        for (name, text) in files {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("mkdir");
            std::fs::write(file, text).expect("write");
        }
        folder
    }
}
