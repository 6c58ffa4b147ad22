//! Scores models on labelled pictures, through the very code that serves: files in, decoded, resized, run, read.
//!
//! Pictures go one at a time, a handful to each variant of each model in turn: so a moment in which the machine is busy
//! with something else strikes all alike, and caches are as warm as where one model is served.

mod report;

use std::{
    fmt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

pub use self::report::{Quantiles, Report, Row};
use crate::{
    error::Error,
    inference::{Deadline, ImageInput, ImageOutput, ImageRequest, Inference, PostprocessOverrides, Response, Terms},
    manifest::VariantId,
    models::{Model, ModelInfo, Variant},
    routing::policy::VariantPreference,
    tasks::{Dataset, GroundTruth, LabelledImage, Scorer},
    telemetry::Stage,
};

/// Nobody waits for these answers: a slow model is a slow model, not a refusal.
const DEADLINE: Duration = Duration::from_secs(3600);

/// Pictures that a variant answers before it is the next one's turn.
const HANDFUL: usize = 8;

/// Detections below this score do not count; nearly all are worth asking for, since AP looks at all thresholds.
pub const SCORE_FLOOR: f32 = 0.01;

/// One variant of a model that is loaded.
#[derive(Debug, Clone)]
pub struct Contestant {
    /// What the report calls the model: its name, or its folder where two have one name.
    pub title: String,
    /// Where it is loaded.
    pub inference: Arc<Inference>,
    /// The model.
    pub model: Arc<Model>,
    /// The variant.
    pub variant: VariantId,
    /// What a process needs that serves only this, where it was measured.
    pub resident_bytes: Option<u64>,
}

/// What a contestant answered so far, and what that took.
#[derive(Debug)]
struct ContestantScore {
    scorer: Scorer,
    inference_ms: Vec<f64>,
    total_ms: Vec<f64>,
    cpu_seconds: f64,
}

/// Runs all contestants, whose models [`Dataset::check`] has seen, over all pictures; `step` is called after each.
///
/// # Errors
/// When no picture can be read, or when a model fails: in one sentence.
pub async fn run(contestants: &[Contestant], data: &Dataset, mut step: impl FnMut()) -> Result<Report, String> {
    let mut tallies: Vec<ContestantScore> =
        contestants.iter().map(|contestant| ContestantScore::new(&contestant.model.info)).collect();
    let mut unreadable = Vec::new();
    for (at, handful) in data.images.chunks(HANDFUL).enumerate() {
        let mut pictures = Vec::new();
        for picture in handful {
            match std::fs::read(&picture.path) {
                Ok(bytes) => pictures.push((picture, Bytes::from(bytes))),
                Err(error) => unreadable.push(format!("{}: {error}", picture.path.display())),
            }
        }
        // Beginning with another one each time, and without the pictures that an earlier one could not read: what is
        // wrong with them is wrong for everybody.
        for turn in 0..contestants.len() {
            let one = (at + turn) % contestants.len();
            let wrong = answer(&contestants[one], &mut tallies[one], &pictures).await?;
            pictures.retain(|(picture, _)| !wrong.iter().any(|(path, _)| *path == picture.path));
            unreadable.extend(wrong.into_iter().map(|(path, why)| format!("{}: {why}", path.display())));
        }
        handful.iter().for_each(|_| step());
    }
    let scored = data.images.len() - unreadable.len();
    if scored == 0 {
        let first: Vec<_> = unreadable.into_iter().take(3).collect();
        return Err(format!("none of the {} pictures can be read: {}", data.images.len(), first.join("; ")));
    }
    // Only classes that all of them have, or the means would not be of the same things.
    let classes = contestants.iter().map(|contestant| contestant.model.info.labels.len()).min().unwrap_or_default();
    let rows = contestants.iter().zip(tallies).map(|(contestant, tally)| contestant.row(tally, classes)).collect();
    Ok(Report {
        ounce: env!("CARGO_PKG_VERSION"),
        score_floor: SCORE_FLOOR,
        pictures: scored,
        unreadable,
        remarks: data.remarks.clone(),
        rows,
    })
}

/// A handful of pictures to one contestant. What comes back are those that cannot be read, and why.
async fn answer<'a>(
    contestant: &Contestant,
    tally: &mut ContestantScore,
    pictures: &[(&'a LabelledImage, Bytes)],
) -> Result<Vec<(&'a Path, String)>, String> {
    let mut unreadable = Vec::new();
    for (picture, bytes) in pictures {
        let wrong = |why: &dyn fmt::Display| format!("{}: {}: {why}", picture.path.display(), contestant.title);
        match contestant.answer(bytes.clone()).await {
            Ok(answer) => tally.take(&answer, &picture.truth).map_err(|why| wrong(&why))?,
            Err(Error::BadImage(why) | Error::UnsupportedFormat(why) | Error::TooLarge(why)) => {
                unreadable.push((picture.path.as_path(), why));
            }
            Err(error) => return Err(wrong(&error)),
        }
    }
    Ok(unreadable)
}

impl Contestant {
    /// What it makes of an encoded picture, as a client would be told, but for the low threshold.
    ///
    /// # Errors
    /// As [`Inference::answer`].
    pub async fn answer(&self, bytes: Bytes) -> Result<Response<ImageOutput>, Error> {
        let variant = Some(self.variant().info.name.clone());
        let preference = VariantPreference { variant, ..VariantPreference::default() };
        let terms = Terms { preference, ..Terms::image(Deadline::after(Instant::now(), DEADLINE)) };
        let options = PostprocessOverrides {
            min_score: Some(SCORE_FLOOR.min(self.model.info.defaults.min_score)),
            max_detections: None,
            top_k: Some(usize::MAX),
            iou: None,
        };
        let request = ImageRequest { image: ImageInput::Encoded(bytes), options, draw: None };
        self.inference.answer(&self.model, &terms, request).await
    }

    fn variant(&self) -> &Variant {
        self.model.variant(self.variant)
    }

    fn row(&self, tally: ContestantScore, classes: usize) -> Row {
        let (model, pictures) = (&self.model.info, tally.total_ms.len().max(1) as f64);
        let variant = &self.variant().info;
        Row {
            title: self.title.clone(),
            model: model.name.clone(),
            version: model.version.clone(),
            variant: variant.name.clone(),
            default: variant.is_default(),
            input: [model.input_size.0, model.input_size.1],
            providers: variant.providers.iter().map(ToString::to_string).collect(),
            threads: variant.threads,
            score: tally.scorer.score(classes, model.defaults.min_score),
            inference_ms: Quantiles::of(tally.inference_ms),
            total_ms: Quantiles::of(tally.total_ms),
            cpu_seconds: tally.cpu_seconds / pictures,
            resident_bytes: self.resident_bytes,
            size_bytes: variant.size_bytes,
        }
    }
}

impl ContestantScore {
    fn new(model: &ModelInfo) -> Self {
        Self {
            scorer: Scorer::new(model.task, &model.labels),
            inference_ms: Vec::new(),
            total_ms: Vec::new(),
            cpu_seconds: 0.0,
        }
    }

    fn take(&mut self, answer: &Response<ImageOutput>, truth: &GroundTruth) -> Result<(), String> {
        let (image, prediction) = (&answer.output.image, &answer.output.prediction);
        self.scorer.observe(prediction, truth, (image.width, image.height))?;
        self.inference_ms.push(answer.timing.stages.get(Stage::Inference).as_secs_f64() * 1e3);
        self.total_ms.push(answer.timing.total.as_secs_f64() * 1e3);
        self.cpu_seconds += answer.cost.cpu_seconds;
        Ok(())
    }
}
