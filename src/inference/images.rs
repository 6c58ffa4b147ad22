//! An image in, a prediction out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    Inference,
    admission::Admitted,
    cpu_pool::WorkTime,
    response::{ImageFacts, ImageOutput, Response},
    run::{self, Run},
    shadow::{self, Sample},
};
use crate::{
    config::ImageLimits,
    cost::CpuTime,
    error::Error,
    tasks::{PostprocessOptions, Prediction},
    telemetry::{Stage, StageTimes},
    vision::{
        decode::{self, DecodeError, DecodeScale, DecodedImage},
        draw::DrawOptions,
        prepare::{Placement, Preprocessed, Preprocessor},
        tensor::Tensor,
    },
};

/// An image and what is asked about it.
#[derive(Debug)]
pub struct ImageRequest {
    /// The image.
    pub image: ImageInput,
    /// What differs from the model's defaults.
    pub options: PostprocessOverrides,
    /// How the image is wanted with the prediction drawn on it, if it is.
    pub draw: Option<DrawOptions>,
}

/// An image as it comes.
#[derive(Debug, Clone)]
pub enum ImageInput {
    /// The bytes of a file: JPEG, PNG, WebP, BMP, GIF or TIFF.
    Encoded(Bytes),
    /// Pixels that were decoded before, for this model or for another.
    Decoded(Arc<DecodedImage>),
}

/// What a request may set for itself instead of the model's defaults.
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

impl PostprocessOverrides {
    /// The model's defaults, replaced by these values where they are set.
    #[must_use]
    pub fn over(&self, defaults: &PostprocessOptions) -> PostprocessOptions {
        PostprocessOptions {
            min_score: self.min_score.unwrap_or(defaults.min_score),
            iou: self.iou.unwrap_or(defaults.iou),
            max_detections: self.max_detections.unwrap_or(defaults.max_detections),
            top_k: self.top_k.unwrap_or(defaults.top_k),
        }
    }
}

/// Answers an image.
pub(super) async fn run_image(mut admitted: Admitted, request: ImageRequest) -> Result<Response<ImageOutput>, Error> {
    let ImageRequest { image, options, draw } = request;
    let options = options.over(&admitted.record.model.info.defaults);
    match admitted.fresh_forecast() {
        // Drawing is not forecast, so a drawn answer is not compared with its forecast.
        Ok(forecast) => admitted.record.forecast = forecast.filter(|_| draw.is_none()),
        Err(error) => return Err(admitted.record.fail(error)),
    }
    let inference = Arc::clone(&admitted.inference);
    let ticket = shadow::ticket(&inference, &admitted.record.model, admitted.route);
    let keep = draw.is_some() || ticket.is_some();
    run::run(admitted, async move |run, record| {
        record.typical = draw.is_none();
        let Preprocess { preprocessed, image, facts, times, cpu } = preprocess(&inference, run, image, keep).await?;
        record.stages = times;
        record.overhead += cpu;
        let ran = run.queue(preprocessed.inputs).await?;
        record.stages.add(Stage::Queue, ran.queue_time);
        record.stages.set(Stage::Inference, ran.run_time);
        record.batch_size = ran.batch_size;
        let drawing = draw.zip(image.clone()).map(|(options, image)| Drawing { options, image });
        let work = postprocess(run, ran.outputs, preprocessed.placement, options, drawing);
        // Drawing and encoding take about as long as decoding, so they use the decode pool.
        let pool = if draw.is_some() { &inference.decoding } else { &inference.postprocessing };
        let (done, work) = pool.run(Some(&run.meter), work).await.map_err(|cause| run.failed(cause))?;
        let Postprocessed { prediction, drawn, took } = done.map_err(|cause| run.failed(cause))?;
        record.stages.add(Stage::Queue, work.waited);
        record.stages.set(Stage::Postprocess, took);
        record.overhead += work.cpu;
        record.sample = ticket
            .zip(image)
            .map(|(ticket, image)| Arc::new(Sample { ticket, image, options, prediction: prediction.clone() }));
        Ok(ImageOutput { image: facts, prediction, drawn })
    })
    .await
}

/// An image that was decoded and preprocessed.
pub(super) struct Preprocess {
    pub preprocessed: Preprocessed,
    /// The pixels, where they were to be kept.
    pub image: Option<Arc<DecodedImage>>,
    facts: ImageFacts,
    /// Decode, preprocess, and the wait for a thread.
    pub times: StageTimes,
    pub cpu: CpuTime,
}

/// Decodes and preprocesses an image on a decode thread, unless its answer would come too late anyway.
pub(super) async fn preprocess(
    inference: &Inference,
    run: &Run,
    image: ImageInput,
    keep: bool,
) -> Result<Preprocess, Error> {
    let decoding = &inference.decoding;
    let variant = run.variant();
    // Where others wait, an image that cannot be answered in time any more is not decoded.
    let needed = match decoding.is_full() {
        true => decoding.fastest() + variant.queue.service_times().fastest,
        false => Duration::ZERO,
    };
    let latest = run.context.deadline.at.checked_sub(needed);
    let in_flight = (decoding.enter(), variant.queue.upcoming.enter());
    let (limits, preprocessor) = (inference.config.images, Arc::clone(&variant.preprocessor));
    let encoded = matches!(image, ImageInput::Encoded(_));
    let work = move || {
        let in_time = latest.is_some_and(|latest| Instant::now() < latest);
        in_time.then(|| preprocess_now(image, &limits, &preprocessor, keep))
    };
    let (done, WorkTime { waited, took, cpu }) =
        decoding.run(Some(&run.meter), work).await.map_err(|cause| run.failed(cause))?;
    drop(in_flight);
    let Some(done) = done else { return Err(run.deadline_exceeded()) };
    let Worked { facts, image, preprocessed, mut times } = done?;
    if encoded {
        decoding.learn(took);
    }
    times.add(Stage::Queue, waited);
    let preprocessed = preprocessed.map_err(|cause| run.failed(cause))?;
    Ok(Preprocess { preprocessed, image, facts, times, cpu })
}

/// What a decode thread hands back.
struct Worked {
    facts: ImageFacts,
    /// The pixels, where they were to be kept.
    image: Option<Arc<DecodedImage>>,
    preprocessed: Result<Preprocessed, String>,
    times: StageTimes,
}

fn preprocess_now(
    image: ImageInput,
    limits: &ImageLimits,
    preprocessor: &Preprocessor,
    keep: bool,
) -> Result<Worked, DecodeError> {
    let mut times = StageTimes::default();
    let started = Instant::now();
    let image = match image {
        ImageInput::Encoded(bytes) => {
            let (width, height) = preprocessor.input_size();
            let scale = if keep { DecodeScale::Full } else { DecodeScale::AtLeast { width, height } };
            Arc::new(decode::decode(&bytes, limits, scale)?)
        }
        ImageInput::Decoded(image) => image,
    };
    times.set(Stage::Decode, started.elapsed());
    let preprocessed = preprocessor.preprocess(&image);
    times.set(Stage::Preprocess, started.elapsed().saturating_sub(times.get(Stage::Decode)));
    let facts =
        ImageFacts { width: image.width, height: image.height, format: image.format, orientation: image.orientation };
    // Pixels that nobody needs any more go here, not on a thread that serves sockets.
    Ok(Worked { facts, image: keep.then_some(image), preprocessed, times })
}

/// An image that the prediction is drawn on.
pub(super) struct Drawing {
    options: DrawOptions,
    image: Arc<DecodedImage>,
}

/// What became of a graph's outputs.
pub(super) struct Postprocessed {
    pub prediction: Prediction,
    pub drawn: Option<Vec<u8>>,
    pub took: Duration,
}

/// The work that makes outputs into a prediction, and draws it where that is wanted.
pub(super) fn postprocess(
    run: &Run,
    outputs: Vec<Tensor>,
    placement: Placement,
    options: PostprocessOptions,
    drawing: Option<Drawing>,
) -> impl FnOnce() -> Result<Postprocessed, String> + Send + 'static {
    let (postprocessor, model) = (Arc::clone(&run.variant().postprocessor), Arc::clone(&run.model));
    move || {
        let started = Instant::now();
        let prediction = postprocessor.read(&outputs, &placement, &options)?;
        let drawn = match drawing {
            Some(Drawing { options, image }) => Some(prediction.draw(&image, &model.info.labels, options)?),
            None => None,
        };
        Ok(Postprocessed { prediction, drawn, took: started.elapsed() })
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
            | DecodeError::Broken { .. } => Self::BadImage(sentence),
        }
    }
}
