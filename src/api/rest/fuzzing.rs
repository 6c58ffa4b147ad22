//! Entrances for fuzzers (`crate::fuzzing`) to what is private here.

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, Request},
};

use super::{
    accept::wanted_image,
    images::{self, ImageBody},
    params::Params,
};
use crate::{
    api::{
        body::Upload,
        middleware::auth::{RouteAccess, check},
        problem::Problem,
    },
    auth::{Authenticator, Scope},
    inference::Inference,
    oip::MAX_IMAGES,
};

/// Reads the images of a body.
pub async fn body(inference: &Inference, headers: &HeaderMap, body: Bytes) {
    let length = body.len();
    let mut upload = Upload::new(headers, Body::from(body));
    match images::read(inference, &|_| Ok(()), headers, &mut upload).await {
        Ok(ImageBody::One(image)) => assert!(image.len() <= length),
        Ok(ImageBody::Several(parts)) => {
            assert!((1..=MAX_IMAGES).contains(&parts.len()), "{} images", parts.len());
            let kept: usize = parts.iter().filter_map(|part| part.bytes.as_ref().ok()).map(Bytes::len).sum();
            assert!(kept <= length, "{kept} bytes of images in {length}");
            parts.iter().filter_map(|part| part.bytes.as_ref().err()).for_each(is_the_clients);
        }
        Err(problem) => is_the_clients(&problem),
    }
}

/// Reads a query.
pub fn query(query: &str) {
    match Params::parse(Some(query)) {
        Ok(params) => {
            let within = |share: Option<f32>| share.is_none_or(|share| (0.0..=1.0).contains(&share));
            assert!(within(params.options.min_score) && within(params.options.iou), "{:?}", params.options);
            assert!(params.model.is_none_or(|name| !name.is_empty()));
        }
        Err(problem) => is_the_clients(&problem),
    }
}

/// Reads what the client wants back.
pub fn accept(headers: &HeaderMap) {
    let _ = wanted_image(headers);
}

/// Reads who asks, and from where.
pub fn keys(authenticator: &Authenticator, headers: HeaderMap) {
    let mut head = Request::new(()).into_parts().0;
    head.headers = headers;
    for access in [RouteAccess::Key(Scope::Infer), RouteAccess::KeyOrLocal(Scope::Admin)] {
        let _ = check(authenticator, access, &head);
    }
}

/// A refusal blames the client, and can be told.
pub(in crate::api) fn is_the_clients(problem: &Problem) {
    assert!(problem.status().is_client_error() && !problem.detail.is_empty(), "{problem:?}");
    drop(problem.render(None));
}
