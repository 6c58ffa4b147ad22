//! For operators and their machines: health, metrics, and what is loaded. The last two are served on the admin listener when there is
//! one.

pub(super) mod health;
pub(super) mod metrics;
pub(super) mod repository;
