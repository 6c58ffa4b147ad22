//! The names in a path. A path that cannot be read is refused like everything else.

use axum::{
    extract::{self, FromRequestParts},
    http::request::Parts,
};
use serde::de::DeserializeOwned;

use super::problem::Problem;

/// The names in a path, as axum extracts them; a path that is no UTF-8 is a [`Problem`].
pub(super) struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = extract::Path::from_request_parts(parts, state).await;
        path.map(|extract::Path(named)| Self(named)).map_err(|error| Problem::bad_parameter("path", error.body_text()))
    }
}
