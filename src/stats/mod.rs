//! Statistics that every room may use: a moving average ([`Ewma`]), a smoothed rate ([`Rate`]), a [`quantile`](fn@quantile), a count
//! of what is in flight ([`InFlight`]) and rounding for output ([`round`]).
//!
//! Numbers come in, numbers go out. Nothing here reads a clock or takes a lock.

mod ewma;
mod in_flight;
mod quantile;
mod rate;
pub mod round;

pub use self::{
    ewma::Ewma,
    in_flight::{InFlight, InFlightGuard},
    quantile::quantile,
    rate::Rate,
};
