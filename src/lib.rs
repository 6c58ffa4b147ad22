//! ounce: pictures in, boxes or classes out, in milliseconds, with the price of each answer.

pub mod config;
pub mod registry;
pub mod vision;
