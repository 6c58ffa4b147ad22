//! What the decoders of all tasks share: finding a graph's outputs at load, and reading their numbers later.

pub(super) mod activate;
pub(super) mod ports;
mod values;

pub(super) use self::{
    ports::OutputPorts,
    values::{OutputValues, Quantisation},
};
