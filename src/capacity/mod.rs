//! How full a replica is.
//!
//! In: what requests asked for ([`Tally`]), what answers take ([`Footprint`], the latency profiles), the time. Out:
//! the load of this replica, of which 1 is full ([`CapacityEstimator`]). [`saturation()`] defines "full": the part of
//! its time that a replica can be asked for while 99 in 100 answers keep the promise. Nothing here reads a clock.

mod estimator;
mod footprint;
mod saturation;
mod tally;

pub use self::{
    estimator::{CapacityEstimator, Estimate, ModelLoad, VariantLoad},
    footprint::Footprint,
    saturation::saturation,
    tally::{Asked, Tally},
};
