//! What every answer tells browsers and caches, by OWASP's advice for REST services: not to guess another media type, not to
//! keep what is about somebody's image, and, of pages, not to show them within others.

use axum::http::{HeaderName, HeaderValue, Response, header};
use tower_http::set_header::SetResponseHeaderLayer;

/// A layer that sets a header which is always the same.
type Fixed = SetResponseHeaderLayer<HeaderValue>;

/// A layer that sets a header of pages alone.
type OfPages<B> = SetResponseHeaderLayer<fn(&Response<B>) -> Option<HeaderValue>>;

/// The layers, as one.
pub fn layers<B>() -> (Fixed, Fixed, OfPages<B>) {
    let fixed = |name: HeaderName, value| SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value));
    (
        fixed(header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        fixed(header::CACHE_CONTROL, "no-store"),
        SetResponseHeaderLayer::if_not_present(header::CONTENT_SECURITY_POLICY, in_no_frame),
    )
}

/// Only a page can be put into a frame, so other answers need not say it.
fn in_no_frame<B>(response: &Response<B>) -> Option<HeaderValue> {
    let is_page =
        response.headers().get(header::CONTENT_TYPE).is_some_and(|of| of.as_bytes().starts_with(b"text/html"));
    is_page.then(|| HeaderValue::from_static("frame-ancestors 'none'"))
}
