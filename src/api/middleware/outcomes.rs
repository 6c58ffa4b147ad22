//! Counts what is really sent: each response by route, method and status, and each refusal by its reason.
//!
//! This is the only place that counts refusals. A refused request is a response with a [`Problem`] in its extensions; that is so for
//! handlers, for paths and methods that nobody answers, and for panics. Over gRPC every response has status 200 and a code of its own,
//! which is counted beside it. A request with several images may refuse some of them and
//! answer the others: its response carries [`RefusedImages`]. A request whose client went away before the response was there is not
//! counted here, since nothing was sent (`ounce_cancelled_total` has it). A probe that hears that the server is not ready is a response,
//! but no refusal: nobody has missed an answer. A scrape without a key is one.

use std::sync::Arc;

use axum::{
    Extension,
    extract::{Request, State},
    http::StatusCode,
    middleware::Next,
    response::Response,
};

use super::{is_probe, matched_route, method_name, request_info::RequestInfo};
use crate::{
    api::{
        oip_grpc::status::{self, GrpcCode},
        problem::{Problem, kinds},
    },
    inference::Inference,
};

/// The images of a request that were refused for themselves, by the reason of each.
#[derive(Debug, Clone)]
pub(in crate::api) struct RefusedImages(pub Vec<&'static str>);

/// Counts the response, and the refusals that it stands for.
pub(in crate::api) async fn count_outcome(
    State(inference): State<Arc<Inference>>,
    Extension(info): Extension<RequestInfo>,
    request: Request,
    next: Next,
) -> Response {
    let (method, route) = (method_name(request.method()), matched_route(&request));
    let mut response = next.run(request).await;
    let route = route.as_deref().unwrap_or("none");
    if info.is_grpc() {
        status::translate(&mut response);
        if let Some(GrpcCode(code)) = response.extensions().get() {
            inference.metrics().grpc_responded(route, code);
        }
    }
    inference.metrics().responded(route, method, response.status().as_u16());
    let whole = response.extensions().get::<Problem>().and_then(Problem::refusal);
    let of_access = matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
    if (is_probe(route) && !of_access) || (asks_for_readiness(route) && whole == Some(kinds::NOT_READY.reason)) {
        return response;
    }
    let images = response.extensions().get::<RefusedImages>().map_or(&[][..], |RefusedImages(reasons)| reasons);
    if whole.is_some() || !images.is_empty() {
        let model = info.model().unwrap_or_default();
        whole.iter().chain(images).for_each(|reason| inference.refused(model, reason));
    }
    response
}

/// Whether the route tells if one model can be asked, as KServe's probes do.
fn asks_for_readiness(route: &str) -> bool {
    matches!(route, "/v2/models/{model}/ready" | "/v2/models/{model}/versions/{version}/ready")
}
