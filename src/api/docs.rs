//! The description of the wire, and the front page.

use axum::response::Html;
use utoipa::{
    Modify, OpenApi, ToSchema, openapi,
    openapi::security::{Http, HttpAuthScheme, SecurityScheme},
};

use super::rest::wire::{AnswerBody, RefusedImage};

/// What `/openapi.json` starts from; the routes add themselves.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "ounce",
        description = "Pictures in, boxes or classes out, in milliseconds, with the price of each answer. Errors are \
                       `application/problem+json`; `/errors` explains each kind. Every response has an `x-request-id`: \
                       the request's own, or a new one.",
    ),
    components(schemas(RefusedImage, ResultsBody)),
    // Empty: where keys open nothing, none is needed.
    security((), ("key" = [])),
    modifiers(&KeyScheme),
    tags(
        (name = "pictures", description = "What is in this picture?"),
        (name = "models", description = "What is served"),
        (name = "open inference", description = "The Open Inference Protocol v2: tensors in, tensors out. Clients of Triton, KServe and OpenVINO Model Server work"),
        (name = "health", description = "For orchestrators"),
    ),
)]
#[derive(Debug)]
pub(super) struct Description;

/// How a key is shown, so that `/docs` has a place for one.
struct KeyScheme;

impl Modify for KeyScheme {
    fn modify(&self, openapi: &mut openapi::OpenApi) {
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)));
    }
}

/// The bytes of a picture or of tensors.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "only described")]
pub(super) struct Binary(Vec<u8>);

/// The answer to one picture, or the answers to several.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only described")]
pub(super) enum AnswerOrResults {
    One(Box<AnswerBody<'static>>),
    Many(ResultsBody),
}

/// A form with pictures.
#[derive(Debug, ToSchema)]
#[schema(as = PictureForm)]
#[expect(dead_code, reason = "only described")]
pub(super) struct ImageForm {
    /// One or more pictures, each a part named `image` (or `images`, or `file`); at most 64.
    #[schema(value_type = Vec<String>, format = Binary)]
    image: Vec<Vec<u8>>,
}

/// Pictures in base64.
#[derive(Debug, ToSchema)]
#[schema(as = PictureJson)]
#[expect(dead_code, reason = "only described")]
pub(super) struct ImageJson {
    /// One picture, with or without a `data:` prefix.
    image: Option<String>,
    /// Several pictures, answered as `{"results": […]}`; at most 64.
    images: Option<Vec<String>>,
}

/// The answers to several pictures, in the order they were sent.
#[derive(Debug, ToSchema)]
#[schema(as = Results)]
#[expect(dead_code, reason = "only described")]
pub(super) struct ResultsBody {
    /// For each picture an answer, or `{"error": …}`.
    results: Vec<ResultBody>,
}

/// What became of one of several pictures.
#[derive(Debug, ToSchema)]
#[schema(as = Result)]
#[serde(untagged)]
#[expect(dead_code, reason = "only described")]
enum ResultBody {
    Answer(Box<AnswerBody<'static>>),
    Refused(RefusedImage),
}

/// The front page.
pub(super) async fn front() -> Html<&'static str> {
    Html(concat!(
        "<!doctype html><meta charset=utf-8><title>ounce</title>\
         <style>body{font:16px/1.5 system-ui;max-width:44rem;margin:2rem auto;padding:0 1rem}</style>\
         <h1>ounce ",
        env!("CARGO_PKG_VERSION"),
        "</h1><p>Pictures in, boxes or classes out, in milliseconds, with the price of each answer.</p>\
         <pre>curl --data-binary @photo.jpg http://HOST/v1/detect</pre>\
         <ul><li><a href=/docs/>/docs</a>: every route, to try out\
         <li><a href=/openapi.json>/openapi.json</a>: the same for machines\
         <li><a href=/v1/models>/v1/models</a>: what is served\
         <li><a href=/errors>/errors</a>: every kind of refusal\
         <li><a href=/readyz>/readyz</a>, <a href=/livez>/livez</a></ul>"
    ))
}
