//! How full a replica is, and how many like it the requests need. Pure: rates and `now` are arguments.
//!
//! [`full`] says which part of its time a replica can be asked for while 99 in 100 answers keep the promise; [`Asked`]
//! smooths what is asked of it; [`Desired`] makes a number of replicas of it that an autoscaler can follow.

mod asked;
mod desired;
mod full;

pub use self::{asked::Asked, desired::Desired, full::full};
