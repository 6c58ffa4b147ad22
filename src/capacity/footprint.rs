//! What the runs of a variant occupy of the machine.

use std::time::Duration;

use crate::cost::{CpuTime, ResourceUsage};

/// The sessions of a variant and what they run on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footprint {
    /// Sessions side by side.
    pub instances: usize,
    /// Intra-op threads of each session.
    pub threads: usize,
    /// Whether they run on a GPU instead of the CPUs.
    pub on_device: bool,
}

impl Footprint {
    /// The part of the machine's time that one answer a second takes: its share of a run lasts `run`, and it needs
    /// `overhead` of CPU time beside its run (decoding, postprocessing).
    #[must_use]
    pub fn demand(&self, run: Duration, overhead: Duration, cpus: f64) -> f64 {
        let (run, overhead) = (run.as_secs_f64(), overhead.as_secs_f64() / cpus);
        if self.on_device {
            (run / self.instances_f64()).max(overhead)
        } else {
            run * self.threads_f64() / cpus + overhead
        }
    }

    /// What one answer uses, out of a run of `batch_size` images that lasts `run`, with `overhead` of CPU time beside it.
    #[must_use]
    pub fn usage(&self, run: Duration, batch_size: usize, overhead: Duration) -> ResourceUsage {
        let (run, overhead) = (CpuTime::from(run) / batch_size, CpuTime::from(overhead));
        match self.on_device {
            true => ResourceUsage { cpu: overhead, gpu: run },
            false => ResourceUsage::from(run * self.threads + overhead),
        }
    }

    /// How many of its runs go on at the same time on so many CPUs.
    #[must_use]
    pub fn parallel_runs(&self, cpus: f64) -> f64 {
        (cpus / self.threads_f64()).min(self.instances_f64())
    }

    #[expect(clippy::cast_precision_loss, reason = "there are few sessions")]
    pub(super) fn instances_f64(&self) -> f64 {
        self.instances as f64
    }

    #[expect(clippy::cast_precision_loss, reason = "a session has few threads")]
    pub(super) fn threads_f64(&self) -> f64 {
        self.threads as f64
    }
}
