//! In a control group the server plans for the CPUs that it gets, not for those of the machine.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::{
    harness::{Process, ounce, root},
    runner::ignore,
};

tests![the_thread_plan_fits_half_a_cpu_one_and_two];

/// A control group with a quota; it goes when dropped.
struct Group {
    folder: PathBuf,
    server: Option<Process>,
}

impl Group {
    /// Of either version, where the system lets us make one; `None` where it does not.
    fn new(name: &str, cpus: f64) -> Option<Self> {
        let quota = (cpus * 100_000.0).round();
        let old = Path::new("/sys/fs/cgroup/cpu");
        let (parent, files) = if old.is_dir() {
            (old, [("cpu.cfs_period_us", "100000".to_owned()), ("cpu.cfs_quota_us", quota.to_string())])
        } else {
            let both = [("cgroup.procs", String::new()), ("cpu.max", format!("{quota} 100000"))];
            (Path::new("/sys/fs/cgroup"), both)
        };
        let folder = parent.join(format!("ounce-test-{name}-{}", std::process::id()));
        fs::create_dir(&folder).ok()?;
        let group = Self { folder, server: None };
        let set = |(file, text): &(&str, String)| text.is_empty() || fs::write(group.folder.join(file), text).is_ok();
        files.iter().all(set).then_some(group)
    }

    /// Starts the server in it, and waits until it is ready: its metrics.
    async fn metrics_of_a_server(&mut self) -> BTreeMap<String, f64> {
        // A shell goes into the group and becomes the server.
        let procs = self.folder.join("cgroup.procs");
        let mut shell = std::process::Command::new("sh");
        shell.current_dir(root()).args(["-c", r#"echo $$ > "$0"; exec "$@""#]).arg(procs).arg(ounce().get_program());
        shell.args(["serve", "--listen", "127.0.0.1:0"]);
        let server = self.server.insert(Process::run(shell));
        server.ready().await;
        server.metrics().await
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        drop(self.server.take());
        let _ = fs::remove_dir(&self.folder);
    }
}

async fn the_thread_plan_fits_half_a_cpu_one_and_two() {
    let machine = std::thread::available_parallelism().expect("CPUs").get();
    for (name, cpus, sessions) in [("half", 0.5, 1), ("one", 1.0, 1), ("two", 2.0, 2)] {
        let Some(mut group) = Group::new(name, cpus) else {
            ignore("REQUIRE_CGROUPS", "no control group can be made (that needs root)");
        };
        let metrics = group.metrics_of_a_server().await;
        // Nor does a machine with fewer CPUs give them.
        let sessions = f64::from(sessions).min(machine as f64);
        assert_eq!(metrics["ounce_capacity_cpus"], cpus.min(machine as f64), "{name}");
        assert_eq!(metrics[r#"ounce_cpus{use="usable"}"#], sessions, "{name}");
        assert_eq!(metrics[r#"ounce_cpus{use="decode_threads"}"#], sessions, "{name}");
        let planned = metrics[r#"ounce_instances{model="pedestrian",variant="int8"}"#];
        assert_eq!(planned, sessions, "{name}");
    }
}
