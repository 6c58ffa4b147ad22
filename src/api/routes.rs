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

use super::{docs, frontier, health, kinds, models, observe, problem, v1, v2};
use crate::{inference::Pipeline, telemetry::Traces};

/// What is served on the main listener.
pub fn app(pipeline: Pipeline, traces: Traces) -> Router {
    let mut described = OpenApiRouter::with_openapi(docs::Description::openapi())
        .routes(routes!(v1::detect))
        .routes(routes!(v1::classify))
        .routes(routes!(v1::predict))
        .routes(routes!(models::list))
        .routes(routes!(models::one))
        .routes(routes!(frontier::one))
        .routes(routes!(v2::server))
        .routes(routes!(v2::live))
        .routes(routes!(v2::ready))
        .routes(routes!(v2::model))
        .routes(routes!(v2::model_ready))
        .routes(routes!(v2::infer))
        .routes(routes!(v2::stats::all))
        .routes(routes!(v2::stats::one))
        .routes(routes!(health::live))
        .routes(routes!(health::ready));
    if pipeline.config().admin_listen.is_none() {
        described = described
            .routes(routes!(health::metrics))
            .routes(routes!(v2::repository::index))
            .routes(routes!(v2::repository::load))
            .routes(routes!(v2::repository::unload));
    }
    let (routes, description) = described.split_for_parts();
    let part = middleware::from_fn_with_state(pipeline.clone(), health::part);
    layered(
        routes
            .route("/v2/models/{model}/versions/{version}", get(v2::model))
            .route("/v2/models/{model}/versions/{version}/ready", get(v2::model_ready))
            .route("/v2/models/{model}/versions/{version}/infer", post(v2::infer))
            .route("/v2/models/{model}/versions/{version}/stats", get(v2::stats::one))
            .route("/", get(docs::front))
            .route("/errors", get(kinds::page))
            .with_state(pipeline)
            .merge(SwaggerUi::new("/docs").url("/openapi.json", description)),
        traces,
    )
    .layer(part)
}

/// What is served on the admin listener.
pub fn admin(pipeline: Pipeline, traces: Traces) -> Router {
    layered(
        Router::new()
            .route("/metrics", get(health::metrics))
            .route("/v2/repository/index", post(v2::repository::index))
            .route("/v2/repository/models/{model}/load", post(v2::repository::load))
            .route("/v2/repository/models/{model}/unload", post(v2::repository::unload))
            .route("/livez", get(health::live))
            .route("/readyz", get(health::ready))
            .with_state(pipeline),
        traces,
    )
}

/// The layers around all routes, the innermost first.
fn layered(routes: Router, traces: Traces) -> Router {
    routes
        .fallback(problem::no_such_route)
        .method_not_allowed_fallback(problem::wrong_method)
        // Bodies are limited by `body`, which knows the operator's limits and says so in its refusals.
        .layer(DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(problem::panicked))
        .layer(middleware::from_fn_with_state(traces, observe::observe))
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

    async fn ask(method: &str, path: &str, id: &str) -> Response<Body> {
        let boom = || async {
            if true {
                unreachable!("boom")
            }
        };
        let routes = Router::new().route("/boom", get(boom)).route("/fine", get(|| async { "fine" }));
        let app = layered(routes, Traces::default());
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
