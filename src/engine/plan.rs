//! How many sessions and threads fit this machine.
//!
//! Two sessions of one thread beat one session of two for small convolutional nets (758 against 453 images/s on two
//! cores), so the plan is: as many one-thread sessions as usable CPUs, and the same number of decode threads.

use std::thread;

use crate::{config::Provider, registry::manifest::Execution};

/// CPUs that this process may use: affinity mask and cgroup quota are counted (the standard library reads both).
#[must_use]
pub fn usable_cpus() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Sessions and threads of one variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Sessions side by side, each with a worker thread.
    pub instances: usize,
    /// Intra-op threads a session, the worker's own included.
    pub threads: usize,
}

impl Plan {
    /// The plan for a model whose first choice is `provider`, on a machine of `cpus` usable CPUs.
    #[must_use]
    pub fn new(execution: &Execution, provider: Provider, cpus: usize) -> Self {
        let instances = match provider {
            Provider::Cpu | Provider::Openvino => execution.instances.or(cpus),
            Provider::Cuda | Provider::Tensorrt => execution.instances.or(1),
        };
        Self { instances, threads: execution.threads.or(1) }
    }
}
