//! Scores models on labelled pictures, through the very code that serves: files in, decoded, resized, run, read.
//!
//! Pictures go one at a time, a handful to each variant of each model in turn: so a moment in which the machine is busy
//! with something else strikes all alike, and caches are as warm as where one model is served.

mod classification;
mod dataset;
mod detection;
mod report;

use std::{
    fmt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

pub use self::{
    classification::ClassificationScore,
    dataset::{Dataset, Labelled, TrueBox, Truth},
    detection::{ClassAp, DetectionScore, Operating},
    report::{Quantiles, Report, Row, Score},
};
use self::{classification::Guess, detection::Compared};
use crate::{
    error::Error,
    inference::{
        Deadline, ImageInput, ImageOutput, ImageRequest, Inference, PostprocessOverrides, Response, Terms,
    },
    manifest::{Task, VariantId},
    models::{Model, Variant},
    routing::policy::VariantPreference,
    telemetry::Stage,
    vision::answer::{BBox, Prediction},
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
#[derive(Debug, Default)]
struct Tally {
    compared: Vec<Compared>,
    guesses: Vec<Guess>,
    inference_ms: Vec<f64>,
    total_ms: Vec<f64>,
    cpu_seconds: f64,
}

/// Runs all contestants, whose models [`fits`] has seen, over all pictures; `step` is called after each.
///
/// # Errors
/// When no picture can be read, or when a model fails: in one sentence.
pub async fn run(contestants: &[Contestant], data: &Dataset, mut step: impl FnMut()) -> Result<Report, String> {
    let mut tallies: Vec<Tally> = contestants.iter().map(|_| Tally::default()).collect();
    let mut unreadable = Vec::new();
    for (at, handful) in data.pictures.chunks(HANDFUL).enumerate() {
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
    let scored = data.pictures.len() - unreadable.len();
    if scored == 0 {
        let first: Vec<_> = unreadable.into_iter().take(3).collect();
        return Err(format!("none of the {} pictures can be read: {}", data.pictures.len(), first.join("; ")));
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
    tally: &mut Tally,
    pictures: &[(&'a Labelled, Bytes)],
) -> Result<Vec<(&'a Path, String)>, String> {
    let mut unreadable = Vec::new();
    for (picture, bytes) in pictures {
        let wrong = |why: &dyn fmt::Display| format!("{}: {}: {why}", picture.path.display(), contestant.title);
        match contestant.answer(bytes.clone()).await {
            Ok(answer) => tally.take(&answer, &picture.truth).map_err(|why| wrong(&why))?,
            Err(Error::BadPicture(why) | Error::UnsupportedFormat(why) | Error::TooLarge(why)) => {
                unreadable.push((picture.path.as_path(), why));
            }
            Err(error) => return Err(wrong(&error)),
        }
    }
    Ok(unreadable)
}

/// Whether a model can be scored on that data, before anything runs; what it leaves out is a remark.
///
/// # Errors
/// When nothing that the model could find is labelled, or a folder is none of its classes.
pub fn fits(model: &str, labels: &[String], data: &Dataset) -> Result<Option<String>, String> {
    let (mut boxes, mut foreign, mut detects) = (0, 0, false);
    for picture in &data.pictures {
        match &picture.truth {
            Truth::Boxes(found) => {
                detects = true;
                foreign += found.iter().filter(|thing| thing.class_id >= labels.len()).count();
                boxes += found.len();
            }
            Truth::Class(folder) => drop(class_of(folder, labels).ok_or_else(|| {
                format!(
                    "`{folder}` is no label of {model}; folders are named like its labels, or by their numbers: {}",
                    some(labels)
                )
            })?),
        }
    }
    let known = format!("the {} that {model} has: {}", labels.len(), some(labels));
    if detects && foreign == boxes {
        return Err(format!("none of the {boxes} labelled boxes is of a class of {known}"));
    }
    Ok((foreign > 0)
        .then(|| format!("{foreign} of {boxes} labelled boxes are left out: their class is none of {known}")))
}

/// The label that a folder is named like: to the letter, else the only one but for its case, else by number.
fn class_of(folder: &str, labels: &[String]) -> Option<usize> {
    let mut alike = labels.iter().enumerate().filter(|(_, label)| label.eq_ignore_ascii_case(folder));
    let only = alike.next().filter(|_| alike.next().is_none()).map(|(class, _)| class);
    let by_number = || folder.parse().ok().filter(|class| *class < labels.len());
    labels.iter().position(|label| label == folder).or(only).or_else(by_number)
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

    fn row(&self, tally: Tally, classes: usize) -> Row {
        let (model, pictures) = (&self.model.info, tally.total_ms.len().max(1) as f64);
        let variant = &self.variant().info;
        let score = match model.task {
            Task::Detect => {
                let labels = &model.labels[..classes.min(model.labels.len())];
                Score::Detection(detection::score(&tally.compared, labels, model.defaults.min_score))
            }
            Task::Classify => Score::Classification(classification::score(&tally.guesses, &model.labels)),
        };
        Row {
            title: self.title.clone(),
            model: model.name.clone(),
            version: model.version.clone(),
            variant: variant.name.clone(),
            default: variant.is_default(),
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
    fn take(&mut self, answer: &Response<ImageOutput>, truth: &Truth) -> Result<(), String> {
        match (&answer.output.prediction, truth) {
            (Prediction::Detections(found), Truth::Boxes(boxes)) => {
                let (width, height) = (answer.output.image.width as f32, answer.output.image.height as f32);
                let on_picture = |thing: &TrueBox| {
                    let [x1, y1, x2, y2] = thing.sides;
                    (thing.class_id, BBox { x1: x1 * width, y1: y1 * height, x2: x2 * width, y2: y2 * height })
                };
                self.compared.push(Compared { found: found.clone(), truth: boxes.iter().map(on_picture).collect() });
            }
            (Prediction::Classes(classes), Truth::Class(folder)) => {
                let (Some(best), Some(truth)) = (classes.first(), class_of(folder, &answer.model.info.labels)) else {
                    return Err("it answers no class: its scores are no numbers".to_owned());
                };
                let yes = classes.iter().find(|class| class.class_id == 1).map_or(0.0, |class| class.score);
                self.guesses.push(Guess { truth, answer: best.class_id, yes });
            }
            _ => return Err("the labels are for another task".to_owned()),
        }
        self.inference_ms.push(answer.timing.stages.get(Stage::Inference).as_secs_f64() * 1e3);
        self.total_ms.push(answer.timing.total.as_secs_f64() * 1e3);
        self.cpu_seconds += answer.cost.cpu_seconds;
        Ok(())
    }
}

/// The first few labels.
fn some(labels: &[String]) -> String {
    let few = labels.iter().take(8).cloned().collect::<Vec<_>>().join(", ");
    if labels.len() > 8 { format!("{few}, … ({} in all)", labels.len()) } else { few }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_classes_by_name_or_number() {
        let labels = ["crane", "Crane", "owl", "tit/mouse"].map(str::to_owned);
        let class = |folder: &str| class_of(folder, &labels);
        assert_eq!([class("Crane"), class("OWL"), class("3")], [Some(1), Some(2), Some(3)]);
        assert_eq!([class("CRANE"), class("4"), class("wren")], [None; 3]);
    }

    #[test]
    fn boxes_of_classes_that_a_model_lacks_are_told() {
        let thing = |class_id| TrueBox { class_id, sides: [0.0, 0.0, 1.0, 1.0] };
        let data = |boxes: &[TrueBox]| Dataset {
            pictures: vec![Labelled { path: "a.png".into(), truth: Truth::Boxes(boxes.to_vec()) }],
            remarks: Vec::new(),
        };
        let fits = |boxes: &[TrueBox]| fits("mine", &["person".to_owned()], &data(boxes));
        assert_eq!(fits(&[thing(0)]), Ok(None));
        assert!(fits(&[thing(0), thing(1)]).is_ok_and(|remark| remark.is_some_and(|it| it.starts_with("1 of 2"))));
        assert!(fits(&[thing(5)]).is_err() && fits(&[]).is_err());
    }
}
