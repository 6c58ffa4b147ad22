//! How full a replica is. Pure: rates and times are arguments.
//!
//! [`saturation()`] says which part of its time a replica can be asked for while 99 in 100 answers keep the promise.

mod saturation;

pub use self::saturation::saturation;
