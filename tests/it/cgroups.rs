//! In a control group the server plans for the CPUs that it gets, not for those of the machine.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Child,
};

use crate::harness::{ounce, root, series, until};

/// A control group with a quota; it goes when dropped.
struct Group {
    folder: PathBuf,
    server: Option<Child>,
}

impl Group {
    /// Of either version, where the system lets us make one.
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
    async fn metrics_of_a_server(&mut self) -> String {
        let free = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
        // A shell goes into the group and becomes the server.
        let procs = self.folder.join("cgroup.procs");
        let mut shell = std::process::Command::new("sh");
        shell.current_dir(root()).args(["-c", r#"echo $$ > "$0"; exec "$@""#]).arg(procs).arg(ounce().get_program());
        let server = shell.args(["serve", "--log", "error", "--listen", &free.to_string()]).spawn();
        self.server = Some(server.expect("it starts"));
        let ask = async |path: &str| reqwest::get(format!("http://{free}/{path}")).await;
        until("the server is ready", async || ask("readyz").await.is_ok_and(|answer| answer.status() == 200)).await;
        ask("metrics").await.expect("an answer").text().await.expect("text")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(server) = &mut self.server {
            let _ = server.kill().and_then(|()| server.wait());
        }
        let _ = fs::remove_dir(&self.folder);
    }
}

#[tokio::test]
async fn the_thread_plan_fits_half_a_cpu_one_and_two() {
    let machine = std::thread::available_parallelism().expect("CPUs").get();
    for (name, cpus, sessions) in [("half", 0.5, 1), ("one", 1.0, 1), ("two", 2.0, 2)] {
        let Some(mut group) = Group::new(name, cpus) else {
            assert!(std::env::var_os("REQUIRE_CGROUPS").is_none(), "no control group can be made");
            eprintln!("SKIPPED: no control group can be made (that needs root)");
            return;
        };
        let metrics = series(&group.metrics_of_a_server().await);
        // Nor does a machine with fewer CPUs give them.
        let sessions = f64::from(sessions).min(machine as f64);
        assert_eq!(metrics["ounce_capacity_cpus"], cpus.min(machine as f64), "{name}");
        assert_eq!(metrics[r#"ounce_cpus{use="usable"}"#], sessions, "{name}");
        assert_eq!(metrics[r#"ounce_cpus{use="decode_threads"}"#], sessions, "{name}");
        let planned = metrics[r#"ounce_instances{model="pedestrian",variant="int8"}"#];
        assert_eq!(planned, sessions, "{name}");
    }
}
