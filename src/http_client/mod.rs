//! Asks other servers over HTTP, in the clear or over TLS. In: a URL, and whose certificates are believed. Out: the answer, bounded in
//! size and time, or one sentence that says why there is none.
//!
//! - [`HttpsClient`]: gets small documents.
//! - [`Roots`]: whose certificates are believed. [`connector`] makes connections that believe them, for those who send requests themselves.

mod roots;

use std::{error::Error, time::Duration};

use bytes::Bytes;
use http::{StatusCode, Uri};
use http_body::Body;
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
pub use hyper_rustls::HttpsConnector;
use hyper_rustls::HttpsConnectorBuilder;
pub use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

pub use self::roots::Roots;

/// The longest time to open a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes connections, over TLS where the URL says https. The names of a server that answers must be in a certificate that `roots` believe.
///
/// # Errors
/// With a sentence: the certificates cannot be read.
pub fn connector(roots: &Roots) -> Result<HttpsConnector<HttpConnector>, String> {
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    let builder = HttpsConnectorBuilder::new().with_tls_config(roots.client_config()?);
    Ok(builder.https_or_http().enable_http1().wrap_connector(connector))
}

/// Gets documents. Clones share their connections.
#[derive(Debug, Clone)]
pub struct HttpsClient(Client<HttpsConnector<HttpConnector>, Empty<Bytes>>);

impl HttpsClient {
    /// A client that believes certificates of `roots`.
    ///
    /// # Errors
    /// These are the errors of [`connector`].
    pub fn new(roots: &Roots) -> Result<Self, String> {
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector(roots)?)))
    }

    /// Gets a document of at most `max_bytes` within `timeout`. Redirects are not followed.
    ///
    /// # Errors
    /// With a sentence: the URL cannot be used, or its server does not answer with 200 and such a document in time.
    pub async fn get(&self, url: &str, max_bytes: usize, timeout: Duration) -> Result<Bytes, String> {
        let getting = tokio::time::timeout(timeout, self.get_whole(url, max_bytes)).await;
        getting.unwrap_or_else(|_| Err(format!("{url} did not answer within {} ms", timeout.as_millis())))
    }

    async fn get_whole(&self, url: &str, max_bytes: usize) -> Result<Bytes, String> {
        let uri: Uri = url.parse().map_err(|error| format!("{url} is no address: {error}"))?;
        let answer = self.0.get(uri).await;
        let answer = answer.map_err(|error| format!("{url} does not answer: {}", root_cause(&error)))?;
        if answer.status() != StatusCode::OK {
            return Err(format!("{url} answers {}, and 200 is wanted", answer.status().as_u16()));
        }
        let too_large = || format!("{url} answers with more than {max_bytes} bytes");
        if answer.body().size_hint().lower() > max_bytes as u64 {
            return Err(too_large());
        }
        let body = Limited::new(answer.into_body(), max_bytes).collect().await;
        body.map(|body| body.to_bytes()).map_err(|error| match error.downcast_ref::<LengthLimitError>() {
            Some(_) => too_large(),
            None => format!("{url} does not answer to the end: {}", root_cause(&*error)),
        })
    }
}

/// The innermost cause of an error, as in "Connection refused" instead of "client error".
#[must_use]
pub fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut error = error;
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}
