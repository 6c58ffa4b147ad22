//! Where requests go, and what they hold.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header, uri::PathAndQuery};
use http_body_util::Full;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};

use super::EncodedImage;

/// The path where none is given.
const PATH: &str = "/v1/detect";

/// A server, and the requests it gets: images in turn. Clones share connections, and the turn.
#[derive(Debug, Clone)]
pub struct BenchTarget {
    uri: Uri,
    headers: HeaderMap,
    images: Arc<[EncodedImage]>,
    turn: Arc<AtomicUsize>,
    pub(super) client: Client<HttpConnector, Full<Bytes>>,
}

impl BenchTarget {
    /// Requests to an `http://` address with these headers more. Without a path they go to `/v1/detect`.
    ///
    /// # Errors
    /// When the address or a header cannot be used, or when there is no image.
    pub fn new(url: &str, images: Vec<EncodedImage>, headers: &[(String, String)]) -> Result<Self, String> {
        if images.is_empty() {
            return Err("there is no picture to send".to_owned());
        }
        let mut more = HeaderMap::new();
        for (name, value) in headers {
            let name_ok = HeaderName::try_from(name).map_err(|_| format!("`{name}` is no name of a header"))?;
            let value =
                HeaderValue::try_from(value).map_err(|_| format!("the value of header `{name}` cannot be sent"))?;
            more.append(name_ok, value);
        }
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(Duration::from_secs(5)));
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { uri: address(url)?, headers: more, images: images.into(), turn: Arc::default(), client })
    }

    /// Where requests go.
    #[must_use]
    pub fn url(&self) -> String {
        self.uri.to_string()
    }

    /// How many images are sent in turn, and how many bytes they have in the mean.
    #[must_use]
    pub fn images(&self) -> (usize, usize) {
        let bytes: usize = self.images.iter().map(|image| image.bytes.len()).sum();
        (self.images.len(), bytes / self.images.len())
    }

    pub(super) fn host(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    /// The next request; a header that was given stands in for one of ours.
    pub(super) fn request(&self) -> Request<Full<Bytes>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let image = &self.images[turn % self.images.len()];
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

/// The address in full.
fn address(url: &str) -> Result<Uri, String> {
    let example = "as in http://127.0.0.1:8080/v1/detect";
    let uri: Uri = url.parse().map_err(|error| format!("`{url}` is no address ({error}); give one {example}"))?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => {
            return Err(format!("`{url}` is https, which would measure the encryption; give http, {example}"));
        }
        _ => return Err(format!("`{url}` does not begin with http://; give an address {example}")),
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
    fn an_address_needs_no_path_but_http() {
        let full = |url| address(url).map(|uri| uri.to_string());
        assert_eq!(full("http://h:1"), Ok("http://h:1/v1/detect".to_owned()));
        assert_eq!(full("http://h:1/?model=a"), Ok("http://h:1/v1/detect?model=a".to_owned()));
        assert_eq!(full("http://h:1?model=a"), Ok("http://h:1/v1/detect?model=a".to_owned()));
        assert_eq!(full("http://[::1]:1/x?y=z"), Ok("http://[::1]:1/x?y=z".to_owned()));
        for (url, wrong) in [("https://h", "is https"), ("h:1/x", "address"), ("localhost", "http://"), ("", "address")]
        {
            assert!(full(url).is_err_and(|sentence| sentence.contains(wrong)), "{url}: {:?}", full(url));
        }
    }

    #[tokio::test]
    async fn images_come_in_turn_and_headers_stand_in_for_ours() {
        let image = |bytes: &'static [u8]| EncodedImage::new(Bytes::from_static(bytes));
        let header = ("content-type".to_owned(), "image/x".to_owned());
        let target = BenchTarget::new("http://h", vec![image(b"a"), image(b"bcd")], &[header]).expect("fine");
        assert_eq!(target.images(), (2, 2));
        for expected in ["a", "bcd", "a"] {
            let body = target.request().into_body().collect().await.expect("a body");
            assert_eq!(body.to_bytes(), expected);
        }
        let request = target.request();
        let types: Vec<_> = request.headers().get_all("content-type").iter().collect();
        assert_eq!(types, ["image/x"]);
        assert!(BenchTarget::new("http://h", vec![image(b"a")], &[("a b".to_owned(), String::new())]).is_err());
    }
}
