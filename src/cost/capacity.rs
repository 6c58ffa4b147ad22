//! How many CPUs are paid for: those the process may run on, or the part of them that its control group grants.

use std::{fs, path::Path, thread};

/// The CPUs of this replica, which need not be a whole number: a container with a limit of 1.5 has 1.5.
#[must_use]
pub fn capacity_cpus() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a machine has few CPUs")]
    let whole = thread::available_parallelism().map_or(1, std::num::NonZero::get) as f64;
    // `whole` knows the quota already, but rounds it down, and never below one.
    quota(Path::new("/sys/fs/cgroup/cpu.max")).filter(|quota| *quota < whole + 1.0).unwrap_or(whole)
}

/// `cpu.max` of a version 2 control group: `<quota> <period>` in microseconds, or `max <period>`.
fn quota(file: &Path) -> Option<f64> {
    let text = fs::read_to_string(file).ok()?;
    let mut numbers = text.split_whitespace().map(str::parse::<f64>);
    let (quota, period) = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_may_be_a_part_of_a_cpu() {
        let folder = tempfile::tempdir().expect("tempdir");
        let read = |text: &str| {
            let file = folder.path().join("cpu.max");
            fs::write(&file, text).expect("write");
            quota(&file)
        };
        assert_eq!(read("50000 100000\n"), Some(0.5));
        assert_eq!(read("max 100000\n"), None);
        assert!(capacity_cpus() > 0.0);
    }
}
