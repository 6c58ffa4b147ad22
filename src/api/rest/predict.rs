//! `/v1`: pictures in, answers out.

use std::{sync::Arc, time::Instant};

use axum::{
    Extension, Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};

use super::{
    accept,
    body::{Upload, held},
    docs::{AnswerOrResults, Binary, PictureForm, PictureJson},
    formats::{self, Shaped},
    observe::{RequestId, record_answer, record_model},
    params::{Params, PictureParams},
    path::Path,
    pictures::{self, Part, Pictures},
    problem::{Problem, Refusals},
    refused, tenant,
    wire::{self, Outcome, Refused, Results},
};
use crate::{
    inference::{
        Deadline, ImageFormat, Permit, PictureAnswer, PictureRequest, Pipeline, RequestContext, Route, ServedModel,
        Timing,
    },
    manifest::Task,
};

/// How many pictures of one request are answered at a time.
const AT_ONCE: usize = 8;

macro_rules! picture_route {
    ($(#[$doc:meta])* $name:ident, $path:literal, ($($captured:ident as $segment:literal)?), $target:expr) => {
        $(#[$doc])*
        #[utoipa::path(
            post, path = $path, tag = "pictures",
            params($(($segment = String, Path, description = "The model's name"),)? PictureParams),
            request_body(description = "The picture", content(
                (Binary = "application/octet-stream"),
                (Binary = "image/*"),
                (PictureForm = "multipart/form-data"),
                (PictureJson = "application/json"),
            )),
            responses(
                (status = 200, description = "The answer; for a multipart form or `images`, `{\"results\": […]}` with an \
                  answer or an `error` for each picture. With `Accept: image/jpeg` or `image/png`, the picture with the \
                  answer drawn on it. `Server-Timing` says where the time went", content(
                    (AnswerOrResults = "application/json"),
                    (Binary = "image/jpeg"),
                    (Binary = "image/png"),
                )),
                Refusals,
            ),
        )]
        pub(super) async fn $name(
            State(pipeline): State<Pipeline>,
            Extension(id): Extension<RequestId>,
            $(Path($captured): Path<String>,)?
            request: Request,
        ) -> Result<Response, Problem> {
            answer(&pipeline, $target, &id.0, request).await
        }
    };
}

picture_route! {
    /// Where things are in a picture.
    detect, "/v1/detect", (), Target::Task(Task::Detect)
}

picture_route! {
    /// What a picture shows.
    classify, "/v1/classify", (), Target::Task(Task::Classify)
}

picture_route! {
    /// What a model says about a picture, whatever its task.
    predict, "/v1/models/{model}/predict", (model as "model"), Target::Model(model)
}

/// What the path asks for.
enum Target {
    Task(Task),
    Model(String),
}

impl Target {
    fn resolve(&self, pipeline: &Pipeline, params: &Params) -> Result<Arc<ServedModel>, Problem> {
        match (self, params.model.as_deref()) {
            (Self::Task(task), name) => Ok(pipeline.model_for(*task, name)?),
            (Self::Model(name), None) => Ok(pipeline.model(name)?),
            (Self::Model(_), Some(_)) => {
                Err(Problem::bad_parameter("model", "the path names the model already; leave it out"))
            }
        }
    }
}

async fn answer(pipeline: &Pipeline, target: Target, id: &str, request: Request) -> Result<Response, Problem> {
    let received = Instant::now();
    let (head, body) = request.into_parts();
    let mut upload = Upload::new(&head.headers, body);
    let answered = async {
        let params = Params::parse(head.uri.query()).inspect_err(|problem| refused(pipeline, "", problem))?;
        let model = target.resolve(pipeline, &params)?;
        record_model(&model.name);
        params.shape.check(model.task).inspect_err(|problem| refused(pipeline, &model.name, problem))?;
        let mut permit = pipeline.admit()?;
        let deadline = Deadline::after(received, params.budget.unwrap_or(pipeline.config().requests.deadline));
        let terms = RequestContext { deadline, priority: params.priority, tenant: tenant(pipeline, &head.headers) };
        let route = pipeline.route(&model, &params.preference, terms)?;
        pipeline.may_promise(&model, route, terms)?;
        let pictures = pictures::read(pipeline, &mut permit, &head.headers, &mut upload)
            .await
            .inspect_err(|problem| refused(pipeline, &model.name, problem))?;
        let ask = Ask { pipeline, permit, model, params, terms, route, id };
        match pictures {
            Pictures::One(bytes) => ask.one(bytes, &head.headers).await,
            Pictures::Many(parts) => Ok(ask.many(parts, received).await),
        }
    }
    .await;
    if let Err(problem) = &answered {
        upload.drain(problem).await;
    }
    answered
}

/// All that the pictures of a request have in common.
struct Ask<'a> {
    pipeline: &'a Pipeline,
    permit: Permit,
    model: Arc<ServedModel>,
    params: Params,
    terms: RequestContext,
    route: Route,
    id: &'a str,
}

impl Ask<'_> {
    async fn picture(&self, bytes: axum::body::Bytes, draw: Option<ImageFormat>) -> Result<PictureAnswer, Problem> {
        let request = PictureRequest {
            model: Arc::clone(&self.model),
            route: self.route,
            bytes,
            options: self.params.options.clone(),
            terms: self.terms,
            draw,
        };
        let answer = self.pipeline.answer(&self.permit, request).await?;
        record_answer(&answer.variant, &answer.timing);
        Ok(answer)
    }

    async fn one(self, bytes: axum::body::Bytes, headers: &HeaderMap) -> Result<Response, Problem> {
        let draw = accept::wanted_picture(headers);
        let mut answer = self.picture(bytes, draw).await?;
        let timing = wire::server_timing(&answer.timing, Some(&answer.cost));
        Ok(match (draw, answer.drawn.take()) {
            (Some(format), Some(picture)) => {
                let kind = [(header::CONTENT_TYPE, format.content_type())];
                (timing, kind, held(picture, self.permit)).into_response()
            }
            _ => (timing, Json(formats::shape(self.params.shape, self.id, 0, None, &answer))).into_response(),
        })
    }

    async fn many(&self, parts: Vec<Part>, received: Instant) -> Response {
        // The router has heard of one.
        self.pipeline.more_pictures(&self.model, self.route, parts.len().saturating_sub(1));
        let answers = stream::iter(parts.into_iter().enumerate()).map(|(place, part)| self.part(place, part));
        let outcomes: Vec<_> = answers.buffered(AT_ONCE).collect().await;

        let answered = outcomes.iter().any(Result::is_ok);
        let first = if answered { None } else { outcomes.iter().find_map(|outcome| outcome.as_ref().err()) };
        let (status, headers) =
            first.map_or((StatusCode::OK, HeaderMap::new()), |(problem, _)| (problem.status(), problem.headers()));
        let results = outcomes
            .into_iter()
            .map(|outcome| match outcome {
                Ok(shaped) => Outcome::Answered(shaped),
                Err((problem, file)) => Outcome::Refused(Refused::new(file, &problem, self.id)),
            })
            .collect();
        // The stages of several pictures overlap; only the whole is worth a header.
        let whole = Timing { total_ms: received.elapsed().as_secs_f64() * 1e3, ..Timing::default() };
        (status, headers, wire::server_timing(&whole, None), Json(Results { results })).into_response()
    }

    async fn part(&self, place: usize, part: Part) -> Result<Shaped, (Problem, Option<String>)> {
        let Part { file, bytes } = part;
        let answer = match bytes {
            Ok(bytes) => self.picture(bytes, None).await,
            Err(problem) => {
                refused(self.pipeline, &self.model.name, &problem);
                Err(problem)
            }
        };
        match answer {
            Ok(answer) => Ok(formats::shape(self.params.shape, self.id, place, file, &answer)),
            Err(problem) => Err((problem, file)),
        }
    }
}
