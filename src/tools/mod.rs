//! Tools beside the server: a load generator, the evaluation of models, a simulation of autoscaling, the search for the
//! cheapest setting, and charts.

pub mod bench;
pub mod evaluate;
pub mod plot;
pub mod simulate;
pub mod tune;
