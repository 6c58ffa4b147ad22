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

/// A control group with a limit; it goes when dropped.
pub(crate) struct Group {
    pub(crate) folder: PathBuf,
    server: Option<Process>,
}

impl Group {
    /// Of either version, where the system lets us make one; `None` where it does not.
    fn new(name: &str, cpus: f64) -> Option<Self> {
        let quota = (cpus * 100_000.0).round();
        let old = [("cpu.cfs_period_us", "100000".to_owned()), ("cpu.cfs_quota_us", quota.to_string())];
        Self::with(name, "cpu", &old, &[("cpu.max", format!("{quota} 100000"))])
    }

    /// One whose processes have so much memory together.
    pub(crate) fn of_memory(name: &str, bytes: u64) -> Option<Self> {
        let old = [("memory.limit_in_bytes", bytes.to_string())];
        Self::with(name, "memory", &old, &[("memory.max", bytes.to_string())])
    }

    fn with(name: &str, controller: &str, old: &[(&str, String)], new: &[(&str, String)]) -> Option<Self> {
        let mounted = Path::new("/sys/fs/cgroup");
        let is_old = mounted.join(controller).is_dir();
        let (parent, files) = if is_old { (mounted.join(controller), old) } else { (mounted.to_owned(), new) };
        let folder = parent.join(format!("ounce-test-{name}-{}", std::process::id()));
        fs::create_dir(&folder).ok()?;
        let group = Self { folder, server: None };
        files.iter().all(|(file, text)| fs::write(group.folder.join(file), text).is_ok()).then_some(group)
    }

    async fn metrics_of_a_server(&mut self) -> BTreeMap<String, f64> {
        self.server().await.metrics().await
    }

    /// Starts the server in it, and waits until it is ready.
    pub(crate) async fn server(&mut self) -> &mut Process {
        // A shell goes into the group and becomes the server.
        let procs = self.folder.join("cgroup.procs");
        let mut shell = std::process::Command::new("sh");
        shell.current_dir(root()).args(["-c", r#"echo $$ > "$0"; exec "$@""#]).arg(procs).arg(ounce().get_program());
        shell.args(["serve", "--listen", "127.0.0.1:0"]);
        let server = self.server.insert(Process::run(shell));
        server.ready().await;
        server
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
