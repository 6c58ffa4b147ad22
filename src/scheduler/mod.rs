//! Dynamic batching between requests and sessions: a queue for each variant, and worker threads that run batches of it.
//!
//! A job goes in ([`queue::Queue::push`]), and its reply channel gets a [`job::RunOutput`] or a [`job::JobError`].
//! Workers pull: a free worker takes the best batch of that moment, so only one lock stands between a request and its
//! run. [`policy`] decides which batch is best, from what [`latency_profile`] has learned about this machine; both are
//! pure, and so is [`backlog`].
//!
//! - [`job`]: a request as the scheduler sees it, and its result.
//! - [`latency_profile`]: how long a run of n rows takes here, learned from warm-up and traffic.
//! - [`policy`]: which of the waiting jobs run now, or how long to wait for more.
//! - [`fair_queue`]: whose work is done next, so that no tenant makes another wait.
//! - [`backlog`]: the waiting jobs and the busy workers, without a clock and a lock.
//! - [`forecast_errors`]: how far recent forecasts were off.
//! - [`queue`]: the backlog behind a lock, with threads that wait for it.
//! - [`worker`]: a thread that owns a session and runs batches.
//! - [`pool_cpu_time`]: CPU time of runs on a session's own threads.
//! - [`stats`]: statistics of the runs so far.

pub mod backlog;
pub mod fair_queue;
pub mod forecast_errors;
pub mod job;
pub mod latency_profile;
pub mod policy;
pub mod pool_cpu_time;
pub mod queue;
pub mod stats;
pub mod worker;
