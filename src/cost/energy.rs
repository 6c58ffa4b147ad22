//! Energy in joules, where the machine has counters: RAPL (Linux powercap) for its CPUs, NVML for its GPU.
//!
//! The counters are of the whole machine. A second of one CPU is charged the mean of what all CPUs drew since the last
//! sample. Where there is no counter, energy is unknown, which is not the same as zero.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use nvml_wrapper::Nvml;

use super::time::ResourceUsage;

/// Power of one CPU and of the GPU, in joules a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Watts {
    cpu: f64,
    gpu: f64,
}

impl Watts {
    /// Energy in joules of the time that was used.
    pub fn joules(self, usage: ResourceUsage) -> f64 {
        usage.cpu.seconds() * self.cpu + usage.gpu.seconds() * self.gpu
    }
}

/// Energy that the machine drew since the last sample; none where there is no counter.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct EnergyDrawn {
    /// Joules of the machine's CPUs.
    pub cpu_joules: Option<f64>,
    /// Joules of the GPU.
    pub gpu_joules: Option<f64>,
}

/// The energy counters of the machine, with their values at the last sample.
#[derive(Debug)]
pub struct EnergyMeter {
    packages: Vec<CpuPackage>,
    gpu: Option<(Nvml, f64)>,
    machine_cpus: f64,
    sampled_at: Instant,
}

/// Counter of one CPU package in microjoules. It wraps around to zero at `range`.
#[derive(Debug)]
struct CpuPackage {
    counter: PathBuf,
    last: f64,
    range: f64,
}

impl EnergyMeter {
    /// Finds the counters of this machine; the GPU's only where a GPU is used.
    pub fn new(with_gpu: bool, now: Instant) -> Self {
        let gpu = with_gpu.then(Nvml::init).and_then(Result::ok);
        let gpu = gpu.and_then(|nvml| gpu_joules(&nvml).map(|joules| (nvml, joules)));
        let packages = packages(Path::new("/sys/class/powercap"));
        Self { packages, gpu, machine_cpus: machine_cpus(), sampled_at: now }
    }

    /// Reads the counters. Returns the energy drawn since the last sample and the power that it amounts to.
    ///
    /// The power is none where a counter is missing, and where the last sample is less than 0.1 s ago.
    pub fn sample(&mut self, now: Instant) -> (EnergyDrawn, Option<Watts>) {
        let passed = now.saturating_duration_since(self.sampled_at);
        if passed < Duration::from_millis(100) {
            return (EnergyDrawn::default(), None);
        }
        self.sampled_at = now;
        let drawn: Vec<f64> = self.packages.iter_mut().filter_map(CpuPackage::sample).collect();
        let cpu_joules = (!drawn.is_empty()).then(|| drawn.iter().sum::<f64>());
        let gpu_joules = self.gpu.as_mut().and_then(|(nvml, last)| {
            let value = gpu_joules(nvml)?;
            Some(value - std::mem::replace(last, value))
        });
        let seconds = passed.as_secs_f64();
        // Where there is a GPU, the CPUs' energy alone would be misleading.
        let complete = cpu_joules.is_some() && (self.gpu.is_none() || gpu_joules.is_some());
        let watts = complete.then(|| Watts {
            cpu: cpu_joules.unwrap_or_default() / seconds / self.machine_cpus,
            gpu: gpu_joules.unwrap_or_default() / seconds,
        });
        (EnergyDrawn { cpu_joules, gpu_joules }, watts)
    }
}

impl CpuPackage {
    /// Joules since the last sample.
    fn sample(&mut self) -> Option<f64> {
        let value = number(&self.counter)?;
        let drawn = value - std::mem::replace(&mut self.last, value);
        Some(if drawn < 0.0 { drawn + self.range } else { drawn } / 1e6)
    }
}

/// Finds the CPU packages (`intel-rapl:0`) in a powercap folder. Their parts (`intel-rapl:0:0`) are left out, since a
/// package's counter includes them.
fn packages(folder: &Path) -> Vec<CpuPackage> {
    let zones = fs::read_dir(folder).into_iter().flatten().flatten().map(|zone| zone.path());
    let package = |zone: PathBuf| {
        let name = zone.file_name()?.to_str()?.to_owned();
        let (kind, place) = name.split_once(':')?;
        let counter = zone.join("energy_uj");
        // The zone `psys` is left out, too: it is the whole platform and includes the packages.
        let zone_name = fs::read_to_string(zone.join("name")).unwrap_or_default();
        let is_package = kind == "intel-rapl" && !place.contains(':') && zone_name.starts_with("package");
        let last = number(&counter).filter(|_| is_package)?;
        Some(CpuPackage { counter, last, range: number(&zone.join("max_energy_range_uj")).unwrap_or(0.0) })
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

/// Number of CPUs of the machine, including those that this process may not use.
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
        let mut energy =
            EnergyMeter { packages: packages(folder.path()), gpu: None, machine_cpus: 4.0, sampled_at: start };
        write("intel-rapl:0", "19000000\n");
        let (drawn, watts) = energy.sample(start + Duration::from_secs(2));
        assert_eq!(drawn, EnergyDrawn { cpu_joules: Some(20.0), gpu_joules: None }, "the counter wrapped around");
        let second = ResourceUsage::from(CpuTime::from(Duration::from_secs(1)));
        assert_eq!(watts.map(|watts| watts.joules(second)), Some(2.5));
    }

    #[test]
    fn without_a_counter_energy_is_unknown() {
        let start = Instant::now();
        let packages = packages(Path::new("/nowhere"));
        let mut energy = EnergyMeter { packages, gpu: None, machine_cpus: 4.0, sampled_at: start };
        assert_eq!(energy.sample(start + Duration::from_secs(2)), (EnergyDrawn::default(), None));
    }
}
