//! The handlers of `/v1/detect`, `/v1/classify` and `/v1/models/{model}/predict`: one image or several in, an answer for each out.

use std::{sync::Arc, time::Instant};

use axum::{
    Extension, Json,
    body::Bytes,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use futures_util::{StreamExt, stream};

use super::{
    accept, formats,
    images::{self, ImageBody, ImagePart},
    params::{ImageParams, Params},
    wire::{self, ImageResult, ImageResults, RefusedImage},
};
use crate::{
    api::{
        body::{Upload, stream_holding},
        client_address::client_address,
        docs::{AnswerOrResults, Binary, ImageForm, ImageJson},
        drain,
        middleware::{outcomes::RefusedImages, request_info::RequestInfo},
        path::Path,
        problem::{Problem, Refusals},
        tenant,
    },
    config::Task,
    inference::{self, Admitted, ImageInput, ImageOutput, ImageRequest, Inference, InputKind, Target, Terms, Timing},
    vision::draw::DrawOptions,
};

/// The number of images of one request that are answered at the same time.
const CONCURRENT_IMAGES: usize = 8;

macro_rules! image_route {
    ($(#[$doc:meta])* $name:ident, $path:literal, ($($captured:ident as $segment:literal)?), $addressee:expr) => {
        $(#[$doc])*
        #[utoipa::path(
            post, path = $path, tag = "pictures",
            params($(($segment = String, Path, description = "The model's name"),)? ImageParams),
            request_body(description = "The picture", content(
                (Binary = "application/octet-stream"),
                (Binary = "image/*"),
                (ImageForm = "multipart/form-data"),
                (ImageJson = "application/json"),
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
        pub(in crate::api) async fn $name(
            State(inference): State<Arc<Inference>>,
            Extension(info): Extension<RequestInfo>,
            $(Path($captured): Path<String>,)?
            request: Request,
        ) -> Result<Response, Problem> {
            answer(&inference, info, $addressee, request).await
        }
    };
}

image_route! {
    /// Where things are in a picture.
    detect, "/v1/detect", (), Addressee::Task(Task::Detect)
}

image_route! {
    /// What a picture shows.
    classify, "/v1/classify", (), Addressee::Task(Task::Classify)
}

image_route! {
    /// What a model says about a picture, whatever its task.
    predict, "/v1/models/{model}/predict", (model as "model"), Addressee::Model(model)
}

/// Whom the path names.
enum Addressee {
    Task(Task),
    Model(String),
}

impl Addressee {
    /// The model that is wanted, by the path and the parameter `model`.
    fn target(self, model: Option<&str>) -> Result<Target, Problem> {
        match (self, model) {
            (Self::Task(task), None) => Ok(Target::Task(task)),
            (Self::Task(task), Some(name)) => Ok(Target::Model { name: name.to_owned(), task: Some(task) }),
            (Self::Model(name), None) => Ok(Target::Model { name, task: None }),
            (Self::Model(_), Some(_)) => {
                Err(Problem::bad_parameter("model", "the path names the model already; leave it out"))
            }
        }
    }
}

async fn answer(
    inference: &Arc<Inference>,
    info: RequestInfo,
    addressee: Addressee,
    request: Request,
) -> Result<Response, Problem> {
    let received = Instant::now();
    let (head, body) = request.into_parts();
    let mut upload = Upload::new(&head.headers, body);
    let answered = admit_and_run(inference, info.clone(), addressee, &head, &mut upload, received).await;
    if let Err(problem) = &answered {
        drain(inference, &info, &mut upload, problem).await;
    }
    answered
}

/// Admits the request, reads its body, and answers its images.
async fn admit_and_run(
    inference: &Arc<Inference>,
    info: RequestInfo,
    addressee: Addressee,
    head: &Parts,
    upload: &mut Upload,
    received: Instant,
) -> Result<Response, Problem> {
    let params = Params::parse(head.uri.query())?;
    let model = inference.find(&addressee.target(params.model.as_deref())?)?;
    info.set_model(&model.info.name);
    params.shape.check(model.info.task)?;
    let drawing = params.drawing(model.info.task, accept::wanted_image(&head.headers))?;
    let terms = Terms {
        preference: params.preference.clone(),
        deadline: inference.deadline(&model, received, params.time_budget),
        priority: params.priority,
        input: InputKind::Images(1),
    };
    let address = client_address(inference.config(), &head.extensions, &head.headers);
    let reserved = inference.receive(model, tenant(&head.extensions), address)?;
    let admitted = reserved.limited_by(head.extensions.get()).admit(&terms)?;
    let body = images::read(inference, &|bytes| admitted.hold(bytes), &head.headers, upload).await?;
    let call = ImageCall { info, params };
    match body {
        ImageBody::One(bytes) => call.one(admitted, bytes, drawing).await,
        ImageBody::Several(_) if call.params.redaction.is_some() => Err(Problem::bad_parameter(
            "redact",
            "a redacted picture is the whole answer: send one picture, not a list",
        )),
        ImageBody::Several(parts) => call.several(admitted, parts, received).await,
    }
}

/// What became of one of several images, with the name it came with.
type PartOutcome = Result<(inference::Response<ImageOutput>, Option<String>), (Problem, Option<String>)>;

/// What the images of a request have in common.
struct ImageCall {
    info: RequestInfo,
    params: Params,
}

impl ImageCall {
    async fn run(
        &self,
        admitted: Admitted,
        bytes: Bytes,
        draw: Option<DrawOptions>,
    ) -> Result<inference::Response<ImageOutput>, Problem> {
        let request = ImageRequest { image: ImageInput::Encoded(bytes), options: self.params.options.clone(), draw };
        let answer = admitted.run_image(request).await?;
        self.info.record_answer(&answer.variant().info.name, &answer.timing);
        Ok(answer)
    }

    /// Answers a request that is one image: with JSON, or with the image that the answer is drawn on.
    async fn one(self, admitted: Admitted, bytes: Bytes, draw: Option<DrawOptions>) -> Result<Response, Problem> {
        let mut answer = self.run(admitted, bytes, draw).await?;
        let timing = wire::server_timing(&answer.timing, Some(&answer.cost));
        Ok(match (draw, answer.output.drawn.take()) {
            (Some(options), Some(image)) => {
                answer.permit.shrink_body(0);
                let content_type = [(header::CONTENT_TYPE, options.format.content_type())];
                (timing, content_type, stream_holding(image, answer.permit)).into_response()
            }
            _ => {
                let shaped = formats::shape(self.params.shape, self.info.id(), 0, None, &answer);
                (timing, Json(shaped)).into_response()
            }
        })
    }

    /// Answers a request of several images with a list. Each is answered or refused for itself; when all are refused, the response has
    /// the status of the first.
    async fn several(&self, admitted: Admitted, parts: Vec<ImagePart>, received: Instant) -> Result<Response, Problem> {
        // The place stays taken until the response is built, since it bounds how many answers are in memory.
        let (_place, admitted) = admitted.split(parts.len())?;
        let requests = admitted.into_iter().zip(parts);
        let answers = stream::iter(requests.map(|(admitted, part)| self.part(admitted, part)));
        let outcomes: Vec<_> = answers.buffered(CONCURRENT_IMAGES).collect().await;

        let answered = outcomes.iter().any(Result::is_ok);
        let first = if answered { None } else { outcomes.iter().find_map(|outcome| outcome.as_ref().err()) };
        let (status, headers) =
            first.map_or((StatusCode::OK, HeaderMap::new()), |(problem, _)| (problem.status(), problem.headers()));
        let refused = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()?.0.refusal()).collect();
        let id = self.info.id();
        let results = outcomes
            .iter()
            .enumerate()
            .map(|(place, outcome)| match outcome {
                Ok((answer, file)) => {
                    let shaped = formats::shape(self.params.shape, id, place, file.as_deref(), answer);
                    ImageResult::Answered(shaped)
                }
                Err((problem, file)) => ImageResult::Refused(RefusedImage::new(file.clone(), problem, id)),
            })
            .collect();
        // The stages of several images overlap; only the whole is worth a header.
        let whole = Timing { total: received.elapsed(), ..Timing::default() };
        let timing = wire::server_timing(&whole, None);
        Ok((status, headers, timing, Extension(RefusedImages(refused)), Json(ImageResults { results })).into_response())
    }

    /// Answers one of several images. Either way, the name it came with stays with it.
    async fn part(&self, admitted: Admitted, part: ImagePart) -> PartOutcome {
        let ImagePart { file, bytes } = part;
        let answer = match bytes {
            Ok(bytes) => self.run(admitted, bytes, None).await,
            Err(problem) => Err(problem),
        };
        match answer {
            Ok(answer) => Ok((answer, file)),
            Err(problem) => Err((problem, file)),
        }
    }
}
