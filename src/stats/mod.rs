//! Numbers that are mean from what happens: a smoothed mean ([`Ewma`]) and a smoothed rate ([`Rate`]). Pure: no clock, no lock.

mod ewma;
mod rate;
pub mod round;

pub use self::{ewma::Ewma, rate::Rate};
