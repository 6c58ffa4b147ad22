//! Numbers that are mean from what happens: a smoothed mean ([`Ewma`]) and a smoothed rate ([`Rate`]). Pure: no clock, no lock.

mod ewma;
mod in_flight;
mod rate;

pub use self::{
    ewma::Ewma,
    in_flight::{InFlight, InFlightGuard},
    rate::Rate,
};
