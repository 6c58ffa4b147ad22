//! Scores models on labelled pictures, through the very pipeline that serves: files in, decoded, resized, run, read.
//!
//! Every variant of every model sees each picture in turn before the next picture comes, one at a time, so that a moment
//! in which the machine is busy with something else strikes all of them alike.

mod classification;
mod dataset;
mod detection;
mod report;

use std::{sync::Arc, time::Instant};

pub use self::{
    classification::ClassificationScore,
    dataset::{Dataset, Labelled, TrueBox, Truth},
    detection::{ClassAp, DetectionScore, Operating},
    report::{Quantiles, Report, Row, Score},
};
use self::{classification::Guess, detection::Compared};
use crate::{
    error::Error,
    pipeline::{
        Answer, BBox, Deadline, Overrides, PictureAnswer, PictureRequest, Pipeline, Priority, ServedModel, Terms,
    },
    registry::manifest::Task,
};

/// Detections below this score do not count; nearly all are worth asking for, since AP looks at all thresholds.
pub const SCORE_FLOOR: f32 = 0.01;

/// One variant of a model that is loaded.
#[derive(Debug, Clone)]
pub struct Contestant {
    /// Where it is loaded.
    pub pipeline: Pipeline,
    /// The model.
    pub model: Arc<ServedModel>,
    /// The variant's place among the model's.
    pub variant: usize,
    /// What a process needs that serves only this, where it was measured.
    pub resident_bytes: Option<u64>,
}

/// What a contestant answered so far, and what that took.
#[derive(Debug, Default)]
struct Tally {
    compared: Vec<Compared>,
    guesses: Vec<Guess>,
    inference_ms: Vec<f64>,
    total_ms: Vec<f64>,
    cpu_seconds: f64,
}

/// Runs all contestants over all pictures; `step` is called after each.
///
/// # Errors
/// When no picture can be read, when a model fails, or when the data's classes are not the model's: in one sentence.
pub async fn run(contestants: &[Contestant], data: &Dataset, mut step: impl FnMut()) -> Result<Report, String> {
    let mut tallies: Vec<Tally> = contestants.iter().map(|_| Tally::default()).collect();
    let mut unreadable = Vec::new();
    for picture in &data.pictures {
        let name = picture.path.display();
        let bytes = bytes::Bytes::from(std::fs::read(&picture.path).map_err(|error| format!("{name}: {error}"))?);
        for (contestant, tally) in contestants.iter().zip(&mut tallies) {
            match contestant.answer(bytes.clone()).await {
                Ok(answer) => tally.take(&answer, &picture.truth).map_err(|why| format!("{name}: {why}"))?,
                // What is wrong with a picture is wrong for everybody: the first to look tells.
                Err(Error::BadPicture(why) | Error::UnsupportedFormat(why) | Error::TooLarge(why)) => {
                    unreadable.push(format!("{name}: {why}"));
                    break;
                }
                Err(error) => return Err(format!("{name}: {}: {error}", contestant.model.name)),
            }
        }
        step();
    }
    let scored = data.pictures.len() - unreadable.len();
    if scored == 0 {
        return Err(format!("none of the {} pictures can be read: {}", unreadable.len(), unreadable.join("; ")));
    }
    let rows = contestants.iter().zip(tallies).map(|(contestant, tally)| contestant.row(tally)).collect();
    Ok(Report { pictures: scored, unreadable, remarks: data.remarks.clone(), rows })
}

impl Contestant {
    async fn answer(&self, bytes: bytes::Bytes) -> Result<PictureAnswer, Error> {
        let request = PictureRequest {
            model: Arc::clone(&self.model),
            variant: self.model.variants.get(self.variant).map(|variant| variant.name.clone()),
            bytes,
            options: Overrides {
                min_score: Some(SCORE_FLOOR),
                max_detections: None,
                top_k: Some(usize::MAX),
                iou: None,
            },
            terms: Terms {
                deadline: Deadline::after(Instant::now(), self.pipeline.config().requests.deadline),
                priority: Priority::default(),
            },
            draw: None,
        };
        let permit = self.pipeline.admit()?;
        self.pipeline.answer(&permit, request).await
    }

    fn row(&self, tally: Tally) -> Row {
        let (model, pictures) = (&self.model, tally.total_ms.len().max(1) as f64);
        let variant = &model.variants[self.variant];
        let score = match model.task {
            Task::Detect => {
                Score::Detection(detection::score(&tally.compared, &model.labels, model.defaults.min_score))
            }
            Task::Classify => Score::Classification(classification::score(&tally.guesses, &model.labels)),
        };
        Row {
            model: model.name.clone(),
            version: model.version.clone(),
            variant: variant.name.clone(),
            default: variant.default,
            input: [model.input_size.0, model.input_size.1],
            providers: variant.providers.iter().map(ToString::to_string).collect(),
            threads: variant.threads,
            score,
            inference_ms: Quantiles::of(tally.inference_ms),
            total_ms: Quantiles::of(tally.total_ms),
            cpu_seconds: tally.cpu_seconds / pictures,
            resident_bytes: self.resident_bytes,
            size_bytes: variant.size_bytes,
        }
    }
}

impl Tally {
    fn take(&mut self, answer: &PictureAnswer, truth: &Truth) -> Result<(), String> {
        match (&answer.answer, truth) {
            (Answer::Detections(found), Truth::Boxes(boxes)) => {
                let (width, height) = (answer.picture.width as f32, answer.picture.height as f32);
                let on_picture = |thing: &TrueBox| {
                    let [x1, y1, x2, y2] = thing.sides;
                    (thing.class_id, BBox { x1: x1 * width, y1: y1 * height, x2: x2 * width, y2: y2 * height })
                };
                self.compared.push(Compared { found: found.clone(), truth: boxes.iter().map(on_picture).collect() });
            }
            (Answer::Classes(classes), Truth::Class(name)) => {
                let labels = &answer.model.labels;
                let truth = labels.iter().position(|label| label.eq_ignore_ascii_case(name)).ok_or_else(|| {
                    format!(
                        "`{name}` is no label of {}; folders are named like its labels: {}",
                        answer.model.name,
                        some(labels)
                    )
                })?;
                let mut scores = vec![0.0; labels.len()];
                for class in classes {
                    if let Some(score) = scores.get_mut(class.class_id) {
                        *score = class.score;
                    }
                }
                self.guesses.push(Guess { truth, scores });
            }
            _ => return Err("its labels are for another task".to_owned()),
        }
        self.inference_ms.push(answer.timing.inference_ms);
        self.total_ms.push(answer.timing.total_ms);
        self.cpu_seconds += answer.cost.cpu_seconds;
        Ok(())
    }
}

/// The first few labels.
fn some(labels: &[String]) -> String {
    let few = labels.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
    if labels.len() > 8 { format!("{few}, … ({} in all)", labels.len()) } else { few }
}
