//! A small HTTP client for commands that send one request.

use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode, Uri, header, request::Builder};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use crate::http_client::root_cause;

/// Largest body that is read.
const MAX_BYTES: usize = 16 << 20;

/// Sends a GET request for `path` to a server such as `http://127.0.0.1:8080`, and returns the status and the body.
///
/// # Errors
/// The URL cannot be used, or there is no answer within `timeout`.
pub(super) fn get(server: &str, path: &str, timeout: Duration) -> anyhow::Result<(StatusCode, Bytes)> {
    send(server, path, Request::builder(), timeout)
}

/// Posts an empty body, with a key if there is one, and returns the status and the body.
///
/// # Errors
/// These are the errors of [`get`], and a key that no header can hold.
pub(super) fn post(
    server: &str,
    path: &str,
    key: Option<&str>,
    timeout: Duration,
) -> anyhow::Result<(StatusCode, Bytes)> {
    let mut request = Request::builder().method(Method::POST);
    if let Some(key) = key {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    send(server, path, request, timeout)
}

fn send(server: &str, path: &str, request: Builder, timeout: Duration) -> anyhow::Result<(StatusCode, Bytes)> {
    let url = format!("{}/{path}", server.trim_end_matches('/'));
    let uri: Uri = url.parse().with_context(|| format!("`{server}` is no address"))?;
    if uri.scheme_str() != Some("http") {
        bail!("`{server}` is no address to ask: give one as in http://127.0.0.1:8080");
    }
    let request =
        request.uri(uri).body(Empty::<Bytes>::new()).context("the key cannot be sent: it is no plain text")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let asking = async {
        let client: Client<HttpConnector, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        let response = client.request(request).await.map_err(|error| root_cause(&error))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_BYTES).collect().await;
        body.map(|body| (status, body.to_bytes())).map_err(|error| error.to_string())
    };
    let answer = runtime.block_on(async { tokio::time::timeout(timeout, asking).await });
    let Ok(answer) = answer else { bail!("{url} did not answer within {} ms", timeout.as_millis()) };
    answer.map_err(|why| anyhow::anyhow!("{url} does not answer: {why}"))
}
