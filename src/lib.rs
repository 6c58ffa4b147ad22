//! ounce: images in, boxes or classes out, in milliseconds, with the price of each answer.
//!
//! # Layout
//!
//! A room may use those below it, never those above. One request comes down through them and its answer goes back up.
//!
//! | room | what goes in | what comes out |
//! |---|---|---|
//! | [`cli`] | arguments | an exit code; one file a subcommand |
//! | [`tools`] | a server's URL, a model, a day's traffic | load measurements, scores, simulations, settings, charts: no part of serving |
//! | [`server`] | sockets, the shutdown signal | a server that answers until it has drained |
//! | [`api`] | HTTP requests | calls to `inference`, and its answers as HTTP responses; the only room with status codes |
//! | [`oip`] | the bytes of the Open Inference Protocol | tensors and parameters, and back; knows no transport |
//! | [`auth`] | the keys and tokens that a request shows | who asks, and what may be asked for |
//! | [`inference`] | a target, terms, an image or tensors | a [`Response`](inference::Response) with its timing and cost: `reserve → admit → run` |
//! | [`models`] | the folder of model folders | [`Model`](models::Model)s that run, kept up to date |
//! | [`tasks`] | a graph's outputs | a [`Prediction`](tasks::Prediction): how it is decoded, written, drawn, compared, scored |
//! | [`routing`] | what is known about variants, what a request wants | the variant that answers, and why |
//! | [`capacity`] | what requests asked for | how full this replica is |
//! | [`scheduler`] | tensors that wait | batches that run, on worker threads that own a session each |
//! | [`engine`] | an ONNX file, tensors | tensors; the only room that knows ONNX Runtime |
//! | [`vision`] | the bytes of an image | pixels, the input tensors of a graph; knows no task |
//! | [`cost`] | CPU and GPU time | dollars, on accounts that add up to the price of the replica |
//! | [`limits`] | who asks, from where | what he may still use, or why not |
//! | [`telemetry`] | what happened | metrics, logs, traces |
//! | [`http_client`] | a URL, whom to trust | what its server answers, over TLS or in the clear |
//! | [`files`], [`manifest`], [`stats`], [`config`], [`lifecycle`], [`error`] | | the leaves: what every room may use |
//!
//! Beside them stands `fuzzing`, entrances for fuzzers, which is compiled for tests and with the feature of that name only.
//!
//! Where to begin: [`inference::Inference`] is what front doors hold; `docs/architecture.md` follows one request through the
//! rooms; `CONTRIBUTING.md` says which files to touch for a metric, an endpoint, a decoder, a task, a setting.

pub mod api;
pub mod auth;
pub mod capacity;
pub mod cli;
pub mod config;
pub mod cost;
pub mod engine;
pub mod error;
pub mod files;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod http_client;
pub mod inference;
pub mod lifecycle;
pub mod limits;
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
