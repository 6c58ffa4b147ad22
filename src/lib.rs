//! ounce: pictures in, boxes or classes out, in milliseconds, with the price of each answer.

pub mod batch;
pub mod cli;
pub mod config;
pub mod cost;
pub mod engine;
pub mod error;
pub mod http;
pub mod lifecycle;
pub mod metrics;
pub mod pipeline;
pub mod registry;
pub mod router;
pub mod server;
pub mod telemetry;
pub mod vision;
