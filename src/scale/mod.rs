//! How full a replica is. Pure: rates and times are arguments.
//!
//! [`full()`] says which part of its time a replica can be asked for while 99 in 100 answers keep the promise; [`Rate`]
//! smooths what is asked of it.

mod full;
mod rate;

pub use self::{full::full, rate::Rate};
