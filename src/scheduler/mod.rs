//! Between requests and sessions: who waits, what runs together, and the threads that run it.
//!
//! Workers pull: a free one takes the best batch of that moment, so nothing stands between a request and its run but
//! one lock. What "best" is, [`policy`] says from what [`latency_profile`] has learned about this machine; both are pure.
//!
//! - [`job`]: a request as the queue sees it, and what comes back.
//! - [`latency_profile`]: what a run of n rows costs here, learned from warm-up and traffic.
//! - [`policy`]: which of the waiting jobs run now, or until when to wait for more.
//! - [`backlog`]: who waits and who works; takes, refuses, drops. Still without a clock.
//! - [`queue`]: the backlog behind a lock.
//! - [`worker`]: a thread that owns a session.
//! - [`stats`]: what was run so far.

pub mod backlog;
pub mod forecast_errors;
pub mod job;
pub mod latency_profile;
pub mod policy;
pub mod pool;
pub mod queue;
pub mod stats;
pub mod worker;
