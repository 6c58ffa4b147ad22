//! Statistics that every room may use: a moving average ([`Ewma`]), a smoothed rate ([`Rate`]) and a [`quantile`].
//!
//! Numbers come in, numbers go out. Nothing here reads a clock or takes a lock.

mod ewma;
mod quantile;
mod rate;

pub use self::{ewma::Ewma, quantile::quantile, rate::Rate};
