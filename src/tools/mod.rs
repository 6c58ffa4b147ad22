//! What is no part of serving: a load generator, scores of models, a day on paper, the search for the cheapest setting, charts.

pub mod bench;
pub mod evaluate;
pub mod plot;
pub mod simulate;
pub mod tune;
