//! Every route and every layer.

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    middleware::{from_fn, from_fn_with_state},
    routing::{get, post},
};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;

use super::{
    admin::{health, metrics, repository},
    docs,
    middleware::{access_log, auth, draining, outcomes, rate_limit, request_info, security_headers, trace_context},
    oip_grpc, oip_rest,
    problem::{self, kinds},
    rest::{frontier, models, predict},
};
use crate::{auth::Authenticator, config::AdminListen, inference::Inference, telemetry::Traces};

/// What is served on the main listener.
pub fn app(inference: Arc<Inference>, auth: Arc<Authenticator>, traces: Traces) -> Router {
    app_with(inference, auth, traces, Router::new())
}

/// What is served on the main listener, with routes of the embedding program beside ounce's own: behind the same layers, so that they
/// are logged, traced and counted as ounce's are, and where keys are wanted, theirs are those with the scope `admin`.
pub fn app_with(inference: Arc<Inference>, auth: Arc<Authenticator>, traces: Traces, own: Router) -> Router {
    let admin_listen = inference.config().admin_listen;
    let mut described = OpenApiRouter::with_openapi(docs::Description::openapi())
        .routes(routes!(predict::detect))
        .routes(routes!(predict::classify))
        .routes(routes!(predict::predict))
        .routes(routes!(models::list))
        .routes(routes!(models::one))
        .routes(routes!(frontier::one))
        .routes(routes!(oip_rest::server))
        .routes(routes!(oip_rest::live))
        .routes(routes!(oip_rest::ready))
        .routes(routes!(oip_rest::model))
        .routes(routes!(oip_rest::model_ready))
        .routes(routes!(oip_rest::infer::infer))
        .routes(routes!(oip_rest::stats::all))
        .routes(routes!(oip_rest::stats::one))
        .routes(routes!(health::live))
        .routes(routes!(health::ready));
    if !matches!(admin_listen, AdminListen::At(_)) {
        described = described.routes(routes!(metrics::metrics)).routes(routes!(repository::index));
    }
    if admin_listen == AdminListen::Main {
        described = described.routes(routes!(repository::load)).routes(routes!(repository::unload));
    }
    let (routes, description) = described.split_for_parts();
    let mut grpc = oip_grpc::routes();
    if !matches!(admin_listen, AdminListen::At(_)) {
        grpc = grpc.merge(oip_grpc::index_routes());
    }
    if admin_listen == AdminListen::Main {
        grpc = grpc.merge(oip_grpc::change_routes());
    }
    let close_connections = from_fn_with_state(Arc::clone(&inference), draining::close_connections);
    layered(
        routes
            .route("/v2/models/{model}/versions/{version}", get(oip_rest::model))
            .route("/v2/models/{model}/versions/{version}/ready", get(oip_rest::model_ready))
            .route("/v2/models/{model}/versions/{version}/infer", post(oip_rest::infer::infer))
            .route("/v2/models/{model}/versions/{version}/stats", get(oip_rest::stats::one))
            .merge(grpc)
            .route("/", get(docs::front))
            .route("/errors", get(kinds::page))
            .with_state(Arc::clone(&inference))
            .merge(SwaggerUi::new("/docs").url("/openapi.json", description))
            .merge(own),
        inference,
        auth,
        traces,
    )
    .layer(close_connections)
}

/// What is served on the admin listener.
pub fn admin(inference: Arc<Inference>, auth: Arc<Authenticator>, traces: Traces) -> Router {
    layered(
        Router::new()
            .route("/metrics", get(metrics::metrics))
            .route("/v2/repository/index", post(repository::index))
            .route("/v2/repository/models/{model}/load", post(repository::load))
            .route("/v2/repository/models/{model}/unload", post(repository::unload))
            .route("/livez", get(health::live))
            .route("/readyz", get(health::ready))
            .merge(oip_grpc::index_routes())
            .merge(oip_grpc::change_routes())
            .with_state(Arc::clone(&inference)),
        inference,
        auth,
        traces,
    )
}

/// The layers around all routes, the innermost first. Panics are caught inside of the others, so that these see the response.
fn layered(routes: Router, inference: Arc<Inference>, auth: Arc<Authenticator>, traces: Traces) -> Router {
    let routes = routes
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::wrong_method)
        // Bodies are limited by `body`, which knows the operator's limits and says so in its refusals.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(problem::panicked));
    let routes = match inference.limiter().is_empty() {
        true => routes,
        false => routes.layer(from_fn_with_state(Arc::clone(&inference), rate_limit::limit)),
    };
    routes
        .layer(from_fn_with_state((auth, Arc::clone(&inference)), auth::authenticate))
        .layer(from_fn_with_state(inference, outcomes::count_outcome))
        .layer(from_fn(access_log::log_request))
        .layer(from_fn_with_state(traces, trace_context::trace_request))
        .layer(from_fn(request_info::identify))
        .layer(security_headers::layers())
}

#[cfg(test)]
mod tests {
    use axum::{
        body::Body,
        http::{Request, Response},
    };
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::config::Layers;

    async fn ask(method: &str, path: &str, id: &str) -> Response<Body> {
        let boom = || async {
            if true {
                unreachable!("boom")
            }
        };
        let routes = Router::new().route("/boom", get(boom)).route("/fine", get(|| async { "fine" }));
        let routes = routes.route("/page", get(|| async { axum::response::Html("page") }));
        let config = Layers::defaults().and_then(|layers| layers.build()).expect("valid");
        let authenticator = Arc::new(Authenticator::open(&config));
        let app = layered(routes, Inference::new(config).expect("metrics"), authenticator, Traces::default());
        let request = Request::builder().method(method).uri(path).header("x-request-id", id).body(Body::empty());
        app.oneshot(request.expect("request")).await.expect("infallible")
    }

    async fn problem(response: Response<Body>) -> serde_json::Value {
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let body = response.into_body().collect().await.expect("body").to_bytes();
        serde_json::from_slice(&body).expect("json")
    }

    #[tokio::test]
    async fn the_id_goes_out_as_it_came_in_if_it_is_sane() {
        assert_eq!(ask("GET", "/fine", "abc-1").await.headers()["x-request-id"], "abc-1");
        for odd in ["", "a b", &"x".repeat(129)] {
            assert_eq!(ask("GET", "/fine", odd).await.headers()["x-request-id"].len(), 26, "{odd}");
        }
    }

    #[tokio::test]
    async fn browsers_and_caches_are_told_what_not_to_do_by_every_answer() {
        for (method, path) in [("GET", "/fine"), ("POST", "/fine"), ("GET", "/nowhere"), ("GET", "/boom")] {
            let answer = ask(method, path, "a").await;
            assert_eq!(answer.headers()["x-content-type-options"], "nosniff", "{method} {path}");
            assert_eq!(answer.headers()["cache-control"], "no-store", "{method} {path}");
            assert!(!answer.headers().contains_key("content-security-policy"), "{method} {path} is no page");
        }
        let page = ask("GET", "/page", "a").await;
        assert_eq!(page.headers()["content-security-policy"], "frame-ancestors 'none'");
    }

    #[tokio::test]
    async fn what_no_handler_answers_is_a_problem_too() {
        let nowhere = problem(ask("GET", "/nowhere", "a").await).await;
        assert_eq!((&nowhere["status"], &nowhere["instance"]), (&404.into(), &"a".into()));

        let wrong = ask("POST", "/fine", "a").await;
        assert_eq!(wrong.headers()["allow"], "GET,HEAD");
        assert_eq!(problem(wrong).await["status"], 405);

        let panicked = problem(ask("GET", "/boom", "a").await).await;
        assert_eq!((&panicked["status"], &panicked["instance"]), (&500.into(), &"a".into()));
        assert!(!panicked.to_string().contains("boom"));
    }
}
