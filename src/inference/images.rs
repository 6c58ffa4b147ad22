//! An image in, a prediction out.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    admission::Admitted,
    memory::Room,
    preprocess::{IncomingImage, KeptPixels, Preprocess, preprocess},
    response::{DrawnImage, ImageOutput, Response},
    run::{self, Run},
    shadow::{self, Sample},
    thread_queue::Piece,
};
use crate::{
    error::Error,
    tasks::{PostprocessOptions, Prediction},
    telemetry::Stage,
    vision::{decode::DecodedImage, draw::DrawOptions, prepare::Placement, tensor::Tensor},
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
            asked_iou: self.iou,
            max_detections: self.max_detections.unwrap_or(defaults.max_detections),
            top_k: self.top_k.unwrap_or(defaults.top_k),
        }
    }
}

/// Answers an image.
pub(super) async fn run_image(mut admitted: Admitted, request: ImageRequest) -> Result<Response<ImageOutput>, Error> {
    let ImageRequest { image, options, draw } = request;
    let options = options.over(&admitted.record.model.info.defaults);
    let inference = Arc::clone(&admitted.inference);
    let image = IncomingImage::new(&inference, image);
    match admitted.fresh_forecast(image.work) {
        // Drawing is not forecast, so a drawn answer is not compared with its forecast.
        Ok(forecast) => admitted.record.forecast = forecast.filter(|_| draw.is_none()),
        Err(error) => return Err(admitted.record.fail(error)),
    }
    let ticket = shadow::ticket(&inference, &admitted.record.model, admitted.route);
    let kept = KeptPixels { draw, sample: ticket.is_some() };
    run::run(admitted, async move |run, record| {
        record.typical = draw.is_none();
        let Preprocess { queued, placement, image, room, facts, times, cpu } =
            preprocess(&inference, run, image, kept).await?;
        record.stages = times;
        record.overhead += cpu;
        let ran = run.outputs(queued?).await?;
        record.stages.add(Stage::Queue, ran.queue_time);
        record.stages.set(Stage::Inference, ran.run_time);
        record.batch_size = ran.batch_size;
        // Where nobody else needs the pixels, they are drawn on as they are.
        let (to_draw, to_sample) = match &ticket {
            Some(_) => (image.clone(), image),
            None => (image, None),
        };
        let drawing = draw.zip(to_draw).map(|(options, image)| Drawing { options, image, room });
        let work = postprocess(run, ran.outputs, placement, options, drawing);
        // Drawing and encoding take about as long as decoding, so they use the decode pool. They say nothing about decoding.
        let pool = if draw.is_some() { &inference.decoding } else { &inference.postprocessing };
        let piece = Piece { arrival: run.arrival(), ..pool.piece(run.context.share) };
        let done = if draw.is_some() {
            pool.run_piece(piece, Some(&run.meter), work, |_| false).await
        } else {
            pool.run_brief(piece, &run.meter, work).await
        };
        let (done, work) = done.map_err(|not_done| run.not_done(not_done))?;
        let Postprocessed { prediction, drawn, took } = done.map_err(|cause| run.failed(cause))?;
        record.stages.add(Stage::Queue, work.waited);
        record.stages.set(Stage::Postprocess, took);
        record.overhead += work.cpu;
        record.sample = ticket
            .zip(to_sample)
            .map(|(ticket, image)| Arc::new(Sample { ticket, image, options, prediction: prediction.clone() }));
        Ok(ImageOutput { image: facts, prediction, drawn })
    })
    .await
}

/// An image that the prediction is drawn on.
pub(super) struct Drawing {
    options: DrawOptions,
    image: Arc<DecodedImage>,
    /// The memory for it and for its file.
    room: Room,
}

/// What became of a graph's outputs.
pub(super) struct Postprocessed {
    pub prediction: Prediction,
    pub drawn: Option<DrawnImage>,
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
            Some(Drawing { options, image, room }) => {
                Some(DrawnImage::new(prediction.draw(image, &model.info.labels, options)?, room))
            }
            None => None,
        };
        Ok(Postprocessed { prediction, drawn, took: started.elapsed() })
    }
}
