//! Who may do what: every endpoint with every kind of key, and what a server without keys keeps to its own machine.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use ounce::auth::{ApiKey, KeyEntry, Scope};
use reqwest::Method;
use serde_json::Value;

use crate::{
    harness::{Process, Server, only, ounce, photo, root, series, sum, until},
    scraped::metrics_text,
};

tests![
    every_endpoint_opens_to_its_scope_and_to_no_other,
    no_endpoint_is_missing_from_the_table,
];

/// What an endpoint wants, and what it answers to an empty body from who may ask.
struct Endpoint {
    method: &'static str,
    path: &'static str,
    scope: Option<Scope>,
    answer: u16,
}

const fn endpoint(method: &'static str, path: &'static str, scope: Option<Scope>, answer: u16) -> Endpoint {
    Endpoint { method, path, scope, answer }
}
