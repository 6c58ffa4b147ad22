//! Energy, where the machine tells: RAPL's counters (Linux powercap) for its CPUs, NVML's for its GPU.
//!
//! The counters are the whole machine's. A second of one of its CPUs is charged its part of what all of them drew
//! since the last look, as a second of a CPU is charged its part of the price. Where there is no counter, energy is
//! unknown, which is not zero.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nvml_wrapper::Nvml;

use super::time::Used;

/// Joules a second of one CPU and of the GPU.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Watts {
    cpu: f64,
    gpu: f64,
}

impl Watts {
    /// The energy of what was used.
    pub fn joules(self, used: Used) -> f64 {
        used.cpu.seconds() * self.cpu + used.gpu.seconds() * self.gpu
    }
}

/// What was drawn since the last look.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Drawn {
    /// By the machine's CPUs.
    pub cpu_joules: Option<f64>,
    /// By the GPU.
    pub gpu_joules: Option<f64>,
}

/// The counters and where they stood.
#[derive(Debug)]
pub struct Energy {
    packages: Vec<Package>,
    gpu: Option<(Nvml, f64)>,
    machine_cpus: f64,
    looked_at: Instant,
}

/// One CPU package's counter in microjoules, which starts anew when it is full.
#[derive(Debug)]
struct Package {
    counter: PathBuf,
    stood_at: f64,
    range: f64,
}

impl Energy {
    /// The counters of this machine; those of a GPU only where one is used.
    pub fn new(with_gpu: bool, now: Instant) -> Self {
        let gpu = with_gpu.then(Nvml::init).and_then(Result::ok);
        let gpu = gpu.and_then(|nvml| gpu_joules(&nvml).map(|joules| (nvml, joules)));
        let packages = packages(Path::new("/sys/class/powercap"));
        Self { packages, gpu, machine_cpus: machine_cpus(), looked_at: now }
    }

    /// What was drawn since the last look, and what that is a second of a CPU and of the GPU.
    pub fn look(&mut self, now: Instant) -> (Drawn, Option<Watts>) {
        let passed = now.saturating_duration_since(self.looked_at);
        if passed < Duration::from_millis(100) {
            return (Drawn::default(), None);
        }
        self.looked_at = now;
        let drawn: Vec<f64> = self.packages.iter_mut().filter_map(Package::look).collect();
        let cpu_joules = (!drawn.is_empty()).then(|| drawn.iter().sum::<f64>());
        let gpu_joules = self.gpu.as_mut().and_then(|(nvml, stood_at)| {
            let stands_at = gpu_joules(nvml)?;
            Some(stands_at - std::mem::replace(stood_at, stands_at))
        });
        let seconds = passed.as_secs_f64();
        // Where there is a GPU, half of the truth is none.
        let whole = cpu_joules.is_some() && (self.gpu.is_none() || gpu_joules.is_some());
        let watts = whole.then(|| Watts {
            cpu: cpu_joules.unwrap_or_default() / seconds / self.machine_cpus,
            gpu: gpu_joules.unwrap_or_default() / seconds,
        });
        (Drawn { cpu_joules, gpu_joules }, watts)
    }
}

impl Package {
    fn look(&mut self) -> Option<f64> {
        let stands_at = number(&self.counter)?;
        let drawn = stands_at - std::mem::replace(&mut self.stood_at, stands_at);
        Some(if drawn < 0.0 { drawn + self.range } else { drawn } / 1e6)
    }
}

/// The packages (`intel-rapl:0`), not their parts (`intel-rapl:0:0`), which are counted with them.
fn packages(folder: &Path) -> Vec<Package> {
    let zones = fs::read_dir(folder).into_iter().flatten().flatten().map(|zone| zone.path());
    let package = |zone: PathBuf| {
        let name = zone.file_name()?.to_str()?.to_owned();
        let (kind, place) = name.split_once(':')?;
        let counter = zone.join("energy_uj");
        // `psys` is the whole platform, packages included.
        let called = fs::read_to_string(zone.join("name")).unwrap_or_default();
        let is_package = kind == "intel-rapl" && !place.contains(':') && called.starts_with("package");
        let stood_at = number(&counter).filter(|_| is_package)?;
        Some(Package { counter, stood_at, range: number(&zone.join("max_energy_range_uj")).unwrap_or(0.0) })
    };
    zones.filter_map(package).collect()
}

fn number(file: &Path) -> Option<f64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}

#[expect(clippy::cast_precision_loss, reason = "millijoules fit")]
fn gpu_joules(nvml: &Nvml) -> Option<f64> {
    let drawn = nvml.device_by_index(0).and_then(|device| device.total_energy_consumption()).ok()?;
    Some(drawn as f64 / 1000.0)
}

/// All CPUs of the machine, also those that this process may not use.
fn machine_cpus() -> f64 {
    let all = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let count = all.lines().filter(|line| line.starts_with("processor")).count();
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::CpuTime;

    #[test]
    fn a_cpu_draws_its_part_of_what_the_packages_draw() {
        let folder = tempfile::tempdir().expect("tempdir");
        let zone = |name: &str| folder.path().join(name);
        let write = |name: &str, energy: &str| {
            fs::create_dir_all(zone(name)).expect("folder");
            fs::write(zone(name).join("energy_uj"), energy).expect("write");
            let called = if name == "intel-rapl:1" { "psys\n" } else { "package-0\n" };
            fs::write(zone(name).join("name"), called).expect("write");
            fs::write(zone(name).join("max_energy_range_uj"), "100000000").expect("write");
        };
        write("intel-rapl:0", "99000000\n");
        write("intel-rapl:0:0", "5\n");
        write("intel-rapl:1", "7\n");
        let start = Instant::now();
        let mut energy = Energy { packages: packages(folder.path()), gpu: None, machine_cpus: 4.0, looked_at: start };
        write("intel-rapl:0", "19000000\n");
        let (drawn, watts) = energy.look(start + Duration::from_secs(2));
        assert_eq!(drawn, Drawn { cpu_joules: Some(20.0), gpu_joules: None }, "the counter started anew");
        let second = Used::from(CpuTime::from(Duration::from_secs(1)));
        assert_eq!(watts.map(|watts| watts.joules(second)), Some(2.5));
    }

    #[test]
    fn without_a_counter_energy_is_unknown() {
        let start = Instant::now();
        let packages = packages(Path::new("/nowhere"));
        let mut energy = Energy { packages, gpu: None, machine_cpus: 4.0, looked_at: start };
        assert_eq!(energy.look(start + Duration::from_secs(2)), (Drawn::default(), None));
    }
}
