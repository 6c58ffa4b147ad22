//! The server under load, and the requests that are sent to it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header, uri::PathAndQuery};
use http_body_util::Full;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

use super::EncodedImage;
use crate::http_client::{HttpConnector, HttpsConnector, Roots, connector};

/// Default path.
const PATH: &str = "/v1/detect";

/// A server, and the images that are sent to it in turn. Clones share the connections and the turn.
#[derive(Debug, Clone)]
pub struct BenchTarget {
    uri: Uri,
    headers: HeaderMap,
    images: Arc<[EncodedImage]>,
    next_image: Arc<AtomicUsize>,
    pub(super) client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl BenchTarget {
    /// Makes a target of an `http://` or `https://` address, with additional headers. The default path is `/v1/detect`. Over TLS the
    /// server is believed whose certificate `roots` believe.
    ///
    /// # Errors
    /// The address, a header or the authorities cannot be used, or there is no image.
    pub fn new(
        url: &str,
        images: Vec<EncodedImage>,
        headers: &[(String, String)],
        roots: &Roots,
    ) -> Result<Self, String> {
        if images.is_empty() {
            return Err("there is no picture to send".to_owned());
        }
        let mut additional = HeaderMap::new();
        for (name, value) in headers {
            let name_ok = HeaderName::try_from(name).map_err(|_| format!("`{name}` is no name of a header"))?;
            let value =
                HeaderValue::try_from(value).map_err(|_| format!("the value of header `{name}` cannot be sent"))?;
            additional.append(name_ok, value);
        }
        let uri = address(url)?;
        // In the clear nobody shows a certificate, and none of the system's is read.
        let roots = if uri.scheme_str() == Some("https") { roots } else { &Roots::Nobody };
        let client = Client::builder(TokioExecutor::new()).build(connector(roots)?);
        Ok(Self { uri, headers: additional, images: images.into(), next_image: Arc::default(), client })
    }

    /// The URL that requests are sent to.
    #[must_use]
    pub fn url(&self) -> String {
        self.uri.to_string()
    }

    /// Number of images that are sent in turn.
    #[must_use]
    pub fn image_count(&self) -> usize {
        self.images.len()
    }

    /// Mean size of the images in bytes.
    #[must_use]
    pub fn mean_image_bytes(&self) -> usize {
        self.images.iter().map(|image| image.bytes.len()).sum::<usize>() / self.images.len()
    }

    pub(super) fn host(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    /// Makes the next request. An additional header replaces a default one of the same name.
    pub(super) fn request(&self) -> Request<Full<Bytes>> {
        let next = self.next_image.fetch_add(1, Ordering::Relaxed);
        let image = &self.images[next % self.images.len()];
        let mut request = Request::new(Full::new(image.bytes.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(image.content_type));
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        for name in self.headers.keys() {
            headers.remove(name);
        }
        headers.extend(self.headers.iter().map(|(name, value)| (name.clone(), value.clone())));
        request
    }
}

/// Reads an address, and adds the default path where it has none.
fn address(url: &str) -> Result<Uri, String> {
    let example = "as in http://127.0.0.1:8080/v1/detect";
    let uri: Uri = url.parse().map_err(|error| format!("`{url}` is no address ({error}); give one {example}"))?;
    match uri.scheme_str() {
        Some("http" | "https") => {}
        _ => return Err(format!("`{url}` does not begin with http:// or https://; give an address {example}")),
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let mut parts = uri.into_parts();
    if parts.path_and_query.as_ref().is_none_or(|path| path.path() == "/") {
        parts.path_and_query = PathAndQuery::try_from(format!("{PATH}{query}")).ok();
    }
    Uri::from_parts(parts).map_err(|error| format!("`{url}` is no address ({error}); give one {example}"))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn an_address_needs_http_but_no_path() {
        let full = |url| address(url).map(|uri| uri.to_string());
        assert_eq!(full("http://h:1"), Ok("http://h:1/v1/detect".to_owned()));
        assert_eq!(full("http://h:1/?model=a"), Ok("http://h:1/v1/detect?model=a".to_owned()));
        assert_eq!(full("http://h:1?model=a"), Ok("http://h:1/v1/detect?model=a".to_owned()));
        assert_eq!(full("http://[::1]:1/x?y=z"), Ok("http://[::1]:1/x?y=z".to_owned()));
        assert_eq!(full("https://h"), Ok("https://h/v1/detect".to_owned()));
        for (url, wrong) in [("ftp://h", "https://"), ("h:1/x", "address"), ("localhost", "http://"), ("", "address")] {
            assert!(full(url).is_err_and(|sentence| sentence.contains(wrong)), "{url}: {:?}", full(url));
        }
    }

    #[tokio::test]
    async fn images_are_sent_in_turn_and_headers_replace_the_defaults() {
        let image = |bytes: &'static [u8]| EncodedImage::new(Bytes::from_static(bytes));
        let header = ("content-type".to_owned(), "image/x".to_owned());
        let target =
            BenchTarget::new("http://h", vec![image(b"a"), image(b"bcd")], &[header], &Roots::Nobody).expect("fine");
        assert_eq!((target.image_count(), target.mean_image_bytes()), (2, 2));
        for expected in ["a", "bcd", "a"] {
            let body = target.request().into_body().collect().await.expect("a body");
            assert_eq!(body.to_bytes(), expected);
        }
        let request = target.request();
        let types: Vec<_> = request.headers().get_all("content-type").iter().collect();
        assert_eq!(types, ["image/x"]);
        assert!(
            BenchTarget::new("http://h", vec![image(b"a")], &[("a b".to_owned(), String::new())], &Roots::Nobody)
                .is_err()
        );
    }
}
