//! Every route and every layer.

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware,
    routing::{get, post},
};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;

use super::{docs, health, kinds, models, observe, problem, v1, v2};
use crate::pipeline::Pipeline;

/// What is served on the main listener.
pub fn app(pipeline: Pipeline) -> Router {
    let mut described = OpenApiRouter::with_openapi(docs::Description::openapi())
        .routes(routes!(v1::detect))
        .routes(routes!(v1::classify))
        .routes(routes!(v1::predict))
        .routes(routes!(models::list))
        .routes(routes!(models::one))
        .routes(routes!(v2::server))
        .routes(routes!(v2::live))
        .routes(routes!(v2::ready))
        .routes(routes!(v2::model))
        .routes(routes!(v2::model_ready))
        .routes(routes!(v2::infer))
        .routes(routes!(health::live))
        .routes(routes!(health::ready));
    if pipeline.config().admin_listen.is_none() {
        described = described.routes(routes!(health::metrics));
    }
    let (routes, description) = described.split_for_parts();
    layered(
        routes
            .route("/v2/models/{model}/versions/{version}", get(v2::model))
            .route("/v2/models/{model}/versions/{version}/ready", get(v2::model_ready))
            .route("/v2/models/{model}/versions/{version}/infer", post(v2::infer))
            .route("/", get(docs::front))
            .route("/errors", get(kinds::page))
            .with_state(pipeline)
            .merge(SwaggerUi::new("/docs").url("/openapi.json", description)),
    )
}

/// What is served on the admin listener.
pub fn admin(pipeline: Pipeline) -> Router {
    layered(
        Router::new()
            .route("/metrics", get(health::metrics))
            .route("/livez", get(health::live))
            .route("/readyz", get(health::ready))
            .with_state(pipeline),
    )
}

/// The layers around all routes, the innermost first.
fn layered(routes: Router) -> Router {
    routes
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::wrong_method)
        // Bodies are limited by `body`, which knows the operator's limits and says so in its refusals.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(middleware::from_fn(observe::observe))
}
