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
    memory::{Memory, Room},
    response::{DrawnImage, ImageFacts, ImageOutput, Response},
    run::{self, Run},
    shadow::{self, Sample},
    thread_queue::Piece,
    work_times::WorkEstimate,
};
use crate::{
    config::ImageLimits,
    cost::CpuTime,
    error::Error,
    limits::Allowance,
    tasks::{PostprocessOptions, Prediction},
    telemetry::{Stage, StageTimes},
    vision::{
        decode::{self, DecodeError, DecodeNeeds, DecodeScale, DecodedImage},
        draw::DrawOptions,
        header::ImageHeader,
        prepare::{Placement, Preprocessed, Preprocessor},
        tensor::Tensor,
    },
};

/// The longest time that an image waits for memory.
const MEMORY_PATIENCE: Duration = Duration::from_secs(5);

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
        let Preprocess { preprocessed, image, room, facts, times, cpu } =
            preprocess(&inference, run, image, kept).await?;
        record.stages = times;
        record.overhead += cpu;
        let ran = run.queue(preprocessed.inputs).await?;
        record.stages.add(Stage::Queue, ran.queue_time);
        record.stages.set(Stage::Inference, ran.run_time);
        record.batch_size = ran.batch_size;
        // Where nobody else needs the pixels, they are drawn on as they are.
        let (to_draw, to_sample) = match &ticket {
            Some(_) => (image.clone(), image),
            None => (image, None),
        };
        let drawing = draw.zip(to_draw).map(|(options, image)| Drawing { options, image, room });
        let work = postprocess(run, ran.outputs, preprocessed.placement, options, drawing);
        // Drawing and encoding take about as long as decoding, so they use the decode pool.
        let pool = if draw.is_some() { &inference.decoding } else { &inference.postprocessing };
        let piece = Piece { arrival: run.arrival(), ..pool.piece(run.context.share) };
        // Drawing says nothing about decoding.
        let is_typical: fn(&Result<Postprocessed, String>) -> bool = if draw.is_some() { |_| false } else { |_| true };
        let done = pool.run_piece(piece, Some(&run.meter), work, is_typical).await;
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

/// An image with what its header says of the work that it makes. The header is read once.
#[derive(Debug)]
pub(super) struct IncomingImage {
    image: ImageInput,
    /// None where the image is decoded already, or where its header tells nothing.
    header: Option<ImageHeader>,
    /// What decoding it takes; none where it is decoded already.
    pub work: Option<WorkEstimate>,
}

impl IncomingImage {
    pub(super) fn new(inference: &Inference, image: ImageInput) -> Self {
        let ImageInput::Encoded(bytes) = &image else { return Self { image, header: None, work: None } };
        let header = inference.header(bytes);
        Self { image, header, work: Some(inference.decoding.estimate(header)) }
    }
}

/// What the pixels are needed for once they are preprocessed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct KeptPixels {
    /// The answer is drawn on them, and encoded.
    pub draw: Option<DrawOptions>,
    /// They are compared with another variant's answer.
    pub sample: bool,
}

impl KeptPixels {
    fn any(self) -> bool {
        self.draw.is_some() || self.sample
    }

    /// The most bytes that so many pixels take after they are decoded.
    fn bytes(self, pixels: u64) -> u64 {
        const RGB: u64 = 3;
        let copy = if self.draw.is_some() && self.sample { RGB } else { 0 };
        let kept = if self.any() { RGB } else { 0 };
        pixels.saturating_mul(kept + copy + self.draw.map_or(0, |draw| draw.format.bytes_a_pixel()))
    }
}

/// An image that was decoded and preprocessed.
pub(super) struct Preprocess {
    pub preprocessed: Preprocessed,
    /// The pixels, where they were to be kept.
    pub image: Option<Arc<DecodedImage>>,
    /// The memory for the tensors, and for the pixels and what is drawn on them.
    pub room: Room,
    facts: ImageFacts,
    /// Decode, preprocess, and the wait for a thread.
    pub times: StageTimes,
    pub cpu: CpuTime,
}

/// Decodes and preprocesses an image on a decode thread, unless its answer would come too late anyway.
///
/// How much memory that takes is known once a thread looks at the header. Where there is too little, the image leaves the thread to
/// others and comes again when it has its memory.
pub(super) async fn preprocess(
    inference: &Inference,
    run: &Run,
    incoming: IncomingImage,
    kept: KeptPixels,
) -> Result<Preprocess, Error> {
    let IncomingImage { mut image, header, work } = incoming;
    let decoding = &inference.decoding;
    let variant = run.variant();
    let mut piece = Piece { header, arrival: run.arrival(), ..decoding.piece(run.context.share) };
    if let Some(estimate) = work.filter(|_| header.is_some()) {
        piece.estimate = estimate;
    }
    // An image that cannot be answered in time any more when its turn comes is not decoded.
    let needed = piece.estimate.least + variant.queue.service_times().fastest;
    piece.latest = run.context.deadline.at.checked_sub(needed);
    let is_typical: fn(&Result<Worked, Unworked>) -> bool = |done| done.as_ref().is_ok_and(|worked| worked.was_decoded);
    let in_flight = (decoding.enter(), variant.queue.upcoming.enter());
    let (mut room, mut waited_before) = (None, Duration::ZERO);
    loop {
        let work = PreprocessWork {
            limits: inference.config.images,
            preprocessor: Arc::clone(&variant.preprocessor),
            kept,
            memory: Arc::clone(&inference.gate.memory),
            allowance: run.context.allowance.clone(),
        };
        let has_room = room.is_some();
        let work = move || work.run(image, room);
        let done = decoding.run_piece(piece, Some(&run.meter), work, is_typical).await;
        let (done, WorkTime { waited, cpu }) = done.map_err(|not_done| run.not_done(not_done))?;
        let waited = waited + waited_before;
        let Worked { facts, image, room, preprocessed, mut times, .. } = match done {
            Err(Unworked::NoRoom { image: again, bytes }) if !has_room => {
                let began = Instant::now();
                room = Some(wait_for_memory(inference, run, bytes).await?);
                (image, waited_before) = (again, waited + began.elapsed());
                continue;
            }
            Err(Unworked::NoRoom { bytes, .. } | Unworked::Refused(DecodeError::NoMemory { bytes })) => {
                return Err(inference.gate.memory.lacks(bytes));
            }
            Err(Unworked::Refused(error)) => return Err(error.into()),
            Err(Unworked::Limited(error)) => return Err(error),
            Ok(worked) => worked,
        };
        drop(in_flight);
        times.add(Stage::Queue, waited);
        let preprocessed = preprocessed.map_err(|cause| run.failed(cause))?;
        return Ok(Preprocess { preprocessed, image, room, facts, times, cpu });
    }
}

/// Waits for memory that an image needs, for a while and within the deadline.
async fn wait_for_memory(inference: &Inference, run: &Run, bytes: u64) -> Result<Room, Error> {
    let memory = &inference.gate.memory;
    if !memory.fits(bytes) {
        let all = memory.max_bytes();
        return Err(Error::BadImage(format!(
            "the picture takes about {bytes} bytes of memory, and all requests together have {all} here; send a smaller \
             one, or more memory has to be set with OUNCE_MEMORY__MAX_BYTES"
        )));
    }
    let until = run.context.deadline.at.min(Instant::now() + MEMORY_PATIENCE);
    memory.take(bytes, until).await.ok_or_else(|| memory.lacks(bytes))
}

/// What a decode thread is given for an image.
struct PreprocessWork {
    limits: ImageLimits,
    preprocessor: Arc<Preprocessor>,
    kept: KeptPixels,
    memory: Arc<Memory>,
    /// The client's limits, where there are any.
    allowance: Option<Allowance>,
}

/// What a decode thread hands back.
struct Worked {
    facts: ImageFacts,
    /// The pixels, where they were to be kept.
    image: Option<Arc<DecodedImage>>,
    /// The memory for what is still there.
    room: Room,
    preprocessed: Result<Preprocessed, String>,
    times: StageTimes,
    /// Whether the image was decoded here, and not before.
    was_decoded: bool,
}

/// Why a decode thread hands back nothing.
enum Unworked {
    /// There is no memory for so many bytes now.
    NoRoom { image: ImageInput, bytes: u64 },
    /// The image cannot be decoded.
    Refused(DecodeError),
    /// The client asks for more pixels than it may.
    Limited(Error),
}

impl PreprocessWork {
    fn run(self, image: ImageInput, room: Option<Room>) -> Result<Worked, Unworked> {
        let mut times = StageTimes::default();
        let started = Instant::now();
        let was_decoded = matches!(image, ImageInput::Encoded(_));
        let tensors = self.preprocessor.input_bytes();
        let (mut taken, mut lacking, mut limited) = (room, None, None);
        let mut take = |needs: DecodeNeeds| {
            let bytes = needs.peak.max(self.kept.bytes(needs.pixels)).saturating_add(tensors);
            if taken.is_none() {
                // An image that waited for memory has been counted.
                limited = self.allowance.as_ref().and_then(|allowance| allowance.pixels(needs.pixels).err());
                if limited.is_some() {
                    return false;
                }
                taken = self.memory.try_take(bytes);
            }
            lacking = taken.is_none().then_some(bytes);
            taken.is_some()
        };
        let decoded = match &image {
            ImageInput::Encoded(bytes) => {
                let (width, height) = self.preprocessor.input_size();
                let scale = if self.kept.any() { DecodeScale::Full } else { DecodeScale::AtLeast { width, height } };
                decode::decode_within(bytes, &self.limits, scale, &mut take).map(Arc::new)
            }
            // These pixels have their memory already.
            ImageInput::Decoded(image) => {
                let pixels = u64::from(image.pixels.width) * u64::from(image.pixels.height);
                match take(DecodeNeeds { peak: 0, pixels }) {
                    true => Ok(Arc::clone(image)),
                    false => Err(DecodeError::NoMemory { bytes: tensors }),
                }
            }
        };
        if let Some(error) = limited {
            return Err(Unworked::Limited(error));
        }
        if let Some(bytes) = lacking {
            return Err(Unworked::NoRoom { image, bytes });
        }
        drop(image);
        let image = decoded.map_err(Unworked::Refused)?;
        times.set(Stage::Decode, started.elapsed());
        let preprocessed = self.preprocessor.preprocess(&image);
        times.set(Stage::Preprocess, started.elapsed().saturating_sub(times.get(Stage::Decode)));
        let (width, height) = (image.width, image.height);
        let facts = ImageFacts { width, height, format: image.format, orientation: image.orientation };
        let pixels = u64::from(width) * u64::from(height);
        // Pixels that nobody needs any more go here, not on a thread that serves sockets.
        let image = self.kept.any().then_some(image);
        let Some(mut room) = taken else { return Err(Unworked::Refused(DecodeError::NoMemory { bytes: tensors })) };
        room.shrink_to(self.kept.bytes(pixels).saturating_add(tensors));
        Ok(Worked { facts, image, room, preprocessed, times, was_decoded })
    }
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

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        let sentence = error.to_string();
        match error {
            DecodeError::TooManyBytes { .. } => Self::TooLarge(sentence),
            DecodeError::NoMemory { bytes } => Self::NoMemory { bytes, retry_after: Duration::from_secs(1) },
            DecodeError::UnknownFormat { .. } | DecodeError::Unsupported { .. } => Self::UnsupportedFormat(sentence),
            DecodeError::Empty
            | DecodeError::TooManyPixels { .. }
            | DecodeError::TooLong { .. }
            | DecodeError::Broken { .. } => Self::BadImage(sentence),
        }
    }
}
