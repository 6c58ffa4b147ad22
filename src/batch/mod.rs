//! Between requests and sessions: a bounded queue a model variant, and the worker threads that pull from it.
//!
//! Workers pull, so a request waits only while every session is busy. What belongs together is decided at that moment:
//! a worker takes what is waiting, up to the model's `max_batch`.

pub mod job;
pub mod queue;
pub mod worker;
