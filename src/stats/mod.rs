//! Small number types and functions: a smoothed mean ([`Ewma`]), a smoothed rate ([`Rate`]) and rounding for output
//! ([`round`]). Everything here is pure: there is no clock and no lock.

mod ewma;
mod in_flight;
mod rate;
pub mod round;

pub use self::{
    ewma::Ewma,
    in_flight::{InFlight, InFlightGuard},
    rate::Rate,
};
