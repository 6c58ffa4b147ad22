//! The thread plan: how many sessions and threads of a variant fit this machine.
//!
//! Two sessions of one thread beat one session of two for small convolutional nets (758 against 453 images/s on two
//! cores), so the plan is: as many one-thread sessions as usable CPUs, and the same number of decode threads. That is
//! twice as many threads as CPUs, and none of them spins: the system gives each CPU to whichever of the two has work.
//! Fewer sessions or fewer decoders leave a CPU idle whenever the mix of the moment is another (on two cores, 32
//! connections, 640×480 JPEG: 2 + 2 threads 224 answers/s; 1 + 1: 195; 1 + 2: 182; 2 + 1: 164).

use std::thread;

use crate::{config::Provider, manifest::Execution};

/// Number of CPUs that this process may use, by its affinity mask and its cgroup quota.
#[must_use]
pub fn usable_cpus() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Number of sessions and threads of one variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ThreadPlan {
    /// Number of sessions, each with a worker thread of its own.
    pub instances: usize,
    /// Number of intra-op threads of each session, including the worker's own.
    pub threads: usize,
}

impl ThreadPlan {
    /// Makes the plan of a model whose first execution provider is `provider`, for `cpus` usable CPUs.
    #[must_use]
    pub fn new(execution: &Execution, provider: Provider, cpus: usize) -> Self {
        let threads = execution.threads.or(1);
        let instances = match provider {
            Provider::Cpu | Provider::Openvino => execution.instances.or((cpus / threads).max(1)),
            Provider::Cuda | Provider::Tensorrt => execution.instances.or(1),
        };
        Self { instances, threads }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Auto;

    #[test]
    fn sessions_and_their_threads_are_as_many_as_cpus() {
        let fixed = |n| std::num::NonZeroUsize::new(n).map_or(Auto::Auto, Auto::Fixed);
        let plan = |instances, threads, provider, cpus| {
            let execution = Execution { providers: None, instances: fixed(instances), threads: fixed(threads) };
            let ThreadPlan { instances, threads } = ThreadPlan::new(&execution, provider, cpus);
            (instances, threads)
        };
        assert_eq!(plan(0, 0, Provider::Cpu, 8), (8, 1));
        assert_eq!(plan(0, 3, Provider::Cpu, 8), (2, 3));
        assert_eq!(plan(0, 4, Provider::Cpu, 2), (1, 4), "the operator's word");
        assert_eq!(plan(3, 0, Provider::Cpu, 8), (3, 1));
        assert_eq!(plan(0, 0, Provider::Cuda, 8), (1, 1));
    }
}
