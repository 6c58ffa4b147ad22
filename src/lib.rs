//! ounce: pictures in, boxes or classes out, in milliseconds, with the price of each answer.
//!
//! # Layout
//!
//! A room may use those below it, never those above. One request comes down through them and its answer goes back up.
//!
//! - [`cli`]: one file a subcommand.
//! - [`tune`]: the cheapest way to serve a model here that keeps a promise.
//! - [`simulate`]: a day of requests on paper, with replicas that an autoscaler starts and ends.
//! - [`server`]: wires the rooms; sockets and the shutdown signal come from outside.
//! - [`bench`](mod@bench): a load generator; knows nothing of the others, only HTTP.
//! - [`http`]: the only room that knows axum and status codes.
//! - [`evaluate`]: scores of models on labelled pictures, through the pipeline.
//! - [`pipeline`]: one request's life: admit → decode → queue → run → read → account.
//! - [`router`]: which variant of a model answers; [`scale`]: how full a replica is.
//! - [`batch`]: who waits, what runs together by what runs were seen to cost, and the worker threads.
//! - [`engine`]: the only room that knows ONNX Runtime.
//! - [`vision`]: pure picture work: decode, resize, tensor, outputs → boxes or classes, drawing.
//! - [`registry`]: the model folder: manifests, files, checksums.
//! - [`cost`]: CPU time and its price.
//! - [`metrics`], [`telemetry`], [`lifecycle`], [`config`], [`error`], [`plot`]: one thing each, used everywhere.

pub mod api;
pub mod capacity;
pub mod cli;
pub mod config;
pub mod cost;
pub mod engine;
pub mod error;
pub mod inference;
pub mod lifecycle;
pub mod manifest;
pub mod models;
pub mod oip;
pub mod routing;
pub mod scheduler;
pub mod server;
pub mod stats;
pub mod tasks;
pub mod telemetry;
pub mod tools;
pub mod vision;
