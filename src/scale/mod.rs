//! How full a replica is. Pure: rates and times are arguments.
//!
//! [`full()`] says which part of its time a replica can be asked for while 99 in 100 answers keep the promise; [`Asked`]
//! smooths what is asked of it.

mod asked;
mod full;

pub use self::{asked::Asked, full::full};
