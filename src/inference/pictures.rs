//! A picture in, boxes or classes out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::time::timeout_at;

use super::{
    BudgetExceeded, Permit, Pipeline, RequestContext, RequestCost, Route, ServedModel, ServedVariant, Timing, ms,
    promise::ForecastGuard,
};
use crate::{
    config::ImageLimits,
    cost::{Account, CpuTime, Meter},
    error::Error,
    routing::Reason,
    telemetry::metrics::Metrics,
    vision::{
        answer::{PostprocessOptions, Prediction},
        decode::{self, DecodeError, DecodedImage, Format, Scale},
        draw::{self, ImageFormat},
        prepare::{Preprocessed, Preprocessor},
    },
};

/// A picture and what is asked of it.
#[derive(Debug)]
pub struct PictureRequest {
    /// Who answers.
    pub model: Arc<ServedModel>,
    /// With which of its files.
    pub route: Route,
    /// The encoded picture.
    pub bytes: Bytes,
    /// What differs from the model's defaults.
    pub options: PostprocessOverrides,
    /// Until when it is wanted, and before whom.
    pub terms: RequestContext,
    /// Draw the answer onto the picture, too.
    pub draw: Option<ImageFormat>,
}

/// What a request may set for itself.
#[derive(Debug, Clone, Default)]
pub struct PostprocessOverrides {
    /// Detections below this score are left out.
    pub min_score: Option<f32>,
    /// Of two boxes of a class that overlap by more than this IoU, the weaker is left out.
    pub iou: Option<f32>,
    /// The most detections.
    pub max_detections: Option<usize>,
    /// The most classes.
    pub top_k: Option<usize>,
}

/// An answer with its circumstances.
#[derive(Debug)]
pub struct PictureAnswer {
    /// Who answered.
    pub model: Arc<ServedModel>,
    /// With which file.
    pub variant: String,
    /// Why with this one.
    pub reason: Reason,
    /// What the picture is.
    pub picture: PictureFacts,
    /// The answer.
    pub answer: Prediction,
    /// Where the time went.
    pub timing: Timing,
    /// Pictures in the run that it was part of.
    pub batch_size: usize,
    /// What it cost.
    pub cost: RequestCost,
    /// The picture with the answer drawn on it, encoded.
    pub drawn: Option<Vec<u8>>,
}

/// What a picture is.
#[derive(Debug, Clone, Copy)]
pub struct PictureFacts {
    /// Pixels across, as a person sees it.
    pub width: u32,
    /// Pixels down, as a person sees it.
    pub height: u32,
    /// Its file format.
    pub format: Format,
    /// Its EXIF orientation, 1 to 8; already applied.
    pub orientation: u8,
}

/// A picture made ready on a decode thread.
pub(super) struct Ready {
    pub prepared: Preprocessed,
    facts: PictureFacts,
    picture: Option<DecodedImage>,
    pub decode: Duration,
    pub preprocess: Duration,
}

/// An answer, and where the time went.
struct Work {
    answer: Prediction,
    drawn: Option<Vec<u8>>,
    facts: PictureFacts,
    decode: Duration,
    preprocess: Duration,
    queue: Duration,
    inference: Duration,
    postprocess: Duration,
    batch_size: usize,
    /// CPU time beside the run.
    aside: CpuTime,
}

impl Pipeline {
    /// Answers a request.
    ///
    /// # Errors
    /// Each of [`Error`]'s kinds but those of admission. When this future is dropped, what is not computed yet never is.
    pub async fn answer(&self, _permit: &Permit, request: PictureRequest) -> Result<PictureAnswer, Error> {
        let model = Arc::clone(&request.model);
        let variant = model.of(request.route);
        let mut gone = CountedWhenDropped { metrics: self.metrics(), model: &model.name, armed: true };
        let deadline = request.terms.deadline;
        let result = timeout_at(deadline.at.into(), self.answer_with(variant, &model, request)).await;
        gone.armed = false;
        self.ended(&model, &variant.name, result.unwrap_or_else(|_| Err(deadline.passed())))
    }

    async fn answer_with(
        &self,
        variant: &ServedVariant,
        model: &Arc<ServedModel>,
        request: PictureRequest,
    ) -> Result<PictureAnswer, Error> {
        let started = Instant::now();
        let PictureRequest { route, bytes, terms, draw, .. } = request;
        let options = request.options.over(model);
        // Drawing is no part of what is expected, so a drawn answer is no surprise.
        let promise = Some(self.promise(model, variant, terms)?).filter(|_| draw.is_none());
        let meter = self.meter(Account::Request, model, variant, terms.tenant);
        // Only for a comparison is the picture held for longer than it takes to decode it.
        let again = model.shadow.as_ref().map(|_| bytes.clone());
        let work = self.work(model, variant, (bytes, draw), &options, terms, &meter).await?;
        promise.into_iter().for_each(ForecastGuard::kept);

        let total = started.elapsed();
        let cost = self.settle(model, route, &meter, (work.aside, draw.is_none()), 1);
        if let Some(bytes) = again {
            self.shadow(model, route, (bytes, options), &work.answer);
        }
        let stages = [
            ("decode", work.decode),
            ("preprocess", work.preprocess),
            ("queue", work.queue),
            ("inference", work.inference),
            ("postprocess", work.postprocess),
        ];
        stages.iter().for_each(|(stage, took)| self.metrics().stage(&model.name, stage, *took));
        self.metrics().answered(&model.name, &variant.name, total);
        Ok(PictureAnswer {
            model: Arc::clone(model),
            variant: variant.name.clone(),
            reason: route.reason,
            picture: work.facts,
            answer: work.answer,
            timing: Timing {
                decode_ms: ms(work.decode),
                preprocess_ms: ms(work.preprocess),
                queue_ms: ms(work.queue),
                inference_ms: ms(work.inference),
                postprocess_ms: ms(work.postprocess),
                total_ms: ms(total),
            },
            batch_size: work.batch_size,
            cost,
            drawn: work.drawn,
        })
    }

    /// Decodes, runs, reads the outputs, and draws the answer where that is wanted.
    async fn work(
        &self,
        model: &Arc<ServedModel>,
        variant: &ServedVariant,
        (bytes, draw): (Bytes, Option<ImageFormat>),
        options: &PostprocessOptions,
        terms: RequestContext,
        meter: &Arc<Meter>,
    ) -> Result<Work, Error> {
        let keep = draw.is_some();
        let (ready, decoding) = self.make_ready(model, variant, bytes, keep, terms, meter).await?;
        let Ready { prepared, facts, picture, decode, preprocess } = ready;
        let ran = model.run(variant, prepared.inputs, terms, meter).await?;
        let (reader, served, options) = (Arc::clone(&variant.reader), Arc::clone(model), *options);
        let read = move || {
            let begun = Instant::now();
            let answer = reader.read(&ran.outputs, &prepared.placement, &options)?;
            let drawn = draw.zip(picture);
            let drawn = drawn.map(|(format, picture)| draw::draw(&picture, &answer, &served.labels, format));
            Ok::<_, String>((answer, drawn.transpose()?, begun.elapsed()))
        };
        // What is drawn and encoded takes as long as a decode does.
        let stage = if keep { &self.0.decoding } else { &self.0.reading };
        let (read, reading) = self.on_thread(stage, &model.name, Some(meter), read).await?;
        let (answer, drawn, postprocess) =
            read.map_err(|cause| Error::ModelFailed { model: model.name.clone(), cause })?;
        let queue = decoding.waited + ran.queue_time + reading.waited;
        let (inference, batch_size, aside) = (ran.run_time, ran.batch_size, decoding.cpu + reading.cpu);
        Ok(Work { answer, drawn, facts, decode, preprocess, queue, inference, postprocess, batch_size, aside })
    }

    /// The answer of another variant to the same picture.
    pub(super) async fn look_again(
        &self,
        model: &Arc<ServedModel>,
        variant: &ServedVariant,
        bytes: Bytes,
        options: &PostprocessOptions,
        terms: RequestContext,
        meter: &Arc<Meter>,
    ) -> Result<Prediction, Error> {
        Ok(self.work(model, variant, (bytes, None), options, terms, meter).await?.answer)
    }

    /// Decodes and prepares a picture on a decode thread, unless its answer would come too late anyway.
    pub(super) async fn make_ready(
        &self,
        model: &ServedModel,
        variant: &ServedVariant,
        bytes: Bytes,
        keep: bool,
        terms: RequestContext,
        meter: &Arc<Meter>,
    ) -> Result<(Ready, BudgetExceeded), Error> {
        let decoding = &self.0.decoding;
        // Where others wait, a picture that cannot be answered in time any more is not decoded.
        let others_wait = decoding.inside() >= decoding.threads();
        let needed = if others_wait { decoding.fastest() + variant.queue.fastest() } else { Duration::ZERO };
        let latest = terms.deadline.at.checked_sub(needed);
        let inside = (decoding.enter(), variant.decoding.enter());
        let (limits, preparer) = (self.config().images, Arc::clone(&variant.preparer));
        let name = model.name.clone();
        let work = move || {
            let in_time = latest.is_some_and(|latest| Instant::now() < latest);
            in_time.then(|| make_ready(&name, &bytes, &limits, &preparer, keep))
        };
        let (ready, spent) = self.on_thread(decoding, &model.name, Some(meter), work).await?;
        drop(inside);
        let ready = ready.ok_or_else(|| terms.deadline.passed())??;
        decoding.observe(spent.took);
        Ok((ready, spent))
    }
}

fn make_ready(
    model: &str,
    bytes: &[u8],
    limits: &ImageLimits,
    preparer: &Preprocessor,
    keep: bool,
) -> Result<Ready, Error> {
    let begun = Instant::now();
    let (width, height) = preparer.input_size();
    let scale = if keep { Scale::Full } else { Scale::AtLeast { width, height } };
    let picture = decode::decode(bytes, limits, scale)?;
    let decode = begun.elapsed();
    let prepared = preparer.prepare(&picture).map_err(|cause| Error::ModelFailed { model: model.to_owned(), cause })?;
    let preprocess = begun.elapsed().saturating_sub(decode);
    let facts = PictureFacts {
        width: picture.width,
        height: picture.height,
        format: picture.format,
        orientation: picture.orientation,
    };
    Ok(Ready { prepared, facts, picture: keep.then_some(picture), decode, preprocess })
}

impl PostprocessOverrides {
    fn over(&self, model: &ServedModel) -> PostprocessOptions {
        PostprocessOptions {
            min_score: self.min_score.unwrap_or(model.defaults.min_score),
            iou: self.iou.unwrap_or(model.defaults.iou),
            max_detections: self.max_detections.unwrap_or(model.defaults.max_detections),
            top_k: self.top_k.unwrap_or(model.defaults.top_k),
        }
    }
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        let sentence = error.to_string();
        match error {
            DecodeError::TooManyBytes { .. } => Self::TooLarge(sentence),
            DecodeError::UnknownFormat { .. } | DecodeError::Unsupported { .. } => Self::UnsupportedFormat(sentence),
            DecodeError::Empty
            | DecodeError::TooManyPixels { .. }
            | DecodeError::TooLong { .. }
            | DecodeError::Broken { .. } => Self::BadPicture(sentence),
        }
    }
}

/// Counts a request whose future was dropped: its client went away.
pub(super) struct CountedWhenDropped<'a> {
    pub metrics: &'a Metrics,
    pub model: &'a str,
    pub armed: bool,
}

impl Drop for CountedWhenDropped<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.metrics.cancelled(self.model);
        }
    }
}
