//! What came out: as a table, as JSON, as lines of a chart.

use std::fmt::{self, Write};

use serde::Serialize;

use super::{ClassificationScore, DetectionScore};
use crate::tools::plot::Series;

/// All rows of one evaluation.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The version of ounce.
    pub ounce: &'static str,
    /// Detections count from this score on.
    pub score_floor: f32,
    /// Pictures that were scored.
    pub pictures: usize,
    /// Those that could not be read, and why.
    pub unreadable: Vec<String>,
    /// What was odd about the labels.
    pub remarks: Vec<String>,
    /// A row a variant.
    pub rows: Vec<Row>,
}

/// One variant: how good, how fast, how large.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// What the table calls the model: its name, or its folder where two have one name.
    pub title: String,
    /// The model.
    pub model: String,
    /// Its version.
    pub version: String,
    /// The variant.
    pub variant: String,
    /// Does it answer when a request names none?
    pub default: bool,
    /// Width and height of the network's input in pixels.
    pub input: [u32; 2],
    /// Execution providers in order.
    pub providers: Vec<String>,
    /// Intra-op threads of the session that ran.
    pub threads: usize,
    /// How good.
    #[serde(flatten)]
    pub score: Score,
    /// The session's run alone, one picture at a time.
    pub inference_ms: Quantiles,
    /// From the encoded picture to the answer.
    pub total_ms: Quantiles,
    /// CPU seconds a picture, decoding included; where a session has several threads, those count as busy while it runs.
    pub cpu_seconds: f64,
    /// Resident memory of a process that serves only this variant; `null` where it cannot be read.
    pub resident_bytes: Option<u64>,
    /// The file, as it is on disk.
    pub size_bytes: u64,
}

/// How good a variant is, by its task.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Score {
    /// Of boxes.
    Detection(DetectionScore),
    /// Of classes.
    Classification(ClassificationScore),
}

/// The middle and the tail, in milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize, PartialEq)]
pub struct Quantiles {
    /// Half took no longer.
    pub p50: f64,
    /// One in a hundred took longer.
    pub p99: f64,
}

impl Quantiles {
    pub(super) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let index = (share * values.len() as f64).ceil() as usize;
            values.get(index.saturating_sub(1)).copied().unwrap_or_default()
        };
        Self { p50: at(0.5), p99: at(0.99) }
    }
}

impl Report {
    /// The precision-recall curve of each variant that has one.
    #[must_use]
    pub fn precision_recall_curves(&self) -> Vec<Series> {
        let curve = |row: &Row| {
            let (metric, value, curve) = match &row.score {
                Score::Detection(score) => ("AP50", score.ap50, &score.precision_at_recall),
                Score::Classification(score) => ("F1", score.f1, &score.precision_at_recall),
            };
            let name = format!("{} {}: {metric} {value:.3}", row.title, row.variant);
            // Where the curve has ended there is nothing to draw.
            let reached = curve.iter().rposition(|precision| *precision > 0.0).map_or(0, |last| last + 1);
            let points: Vec<_> =
                curve.iter().take(reached).enumerate().map(|(at, y)| (at as f64 / 100.0, *y)).collect();
            (!points.is_empty()).then(|| Series::line(name, points))
        };
        self.rows.iter().filter_map(curve).collect()
    }
}

/// The table, then what is worth knowing beside it.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |row: &Row| format!("{} {}{}", row.title, row.variant, if row.default { " *" } else { "" });
        let width = self.rows.iter().map(|row| name(row).chars().count()).max().unwrap_or(0).max(8);
        let detects = self.rows.iter().any(|row| matches!(row.score, Score::Detection(_)));
        let quality = if detects { " AP50  AP50:95" } else { "accuracy" };
        writeln!(
            f,
            "{:<width$}  {quality}  precision  recall     F1   run ms    p99  answer ms  CPU ms  memory MB  file kB  on",
            "variant"
        )?;
        for row in &self.rows {
            let (quality, [precision, recall, f1]) = match &row.score {
                Score::Detection(score) => {
                    let best = score.best;
                    (format!("{:>5.3}  {:>7.3}", score.ap50, score.ap50_95), [best.precision, best.recall, best.f1])
                }
                Score::Classification(s) => (format!("{:>8.3}", s.accuracy), [s.precision, s.recall, s.f1]),
            };
            let memory = row.resident_bytes.map_or("-".to_owned(), |bytes| format!("{:.0}", bytes as f64 / 1e6));
            writeln!(
                f,
                "{:<width$}  {quality}  {precision:>9.3}  {recall:>6.3}  {f1:>5.3}  {:>7.2}  {:>5.1}  {:>9.2}  {:>6.2}  \
                 {memory:>9}  {:>7}  {}×{}",
                name(row),
                row.inference_ms.p50,
                row.inference_ms.p99,
                row.total_ms.p50,
                row.cpu_seconds * 1000.0,
                row.size_bytes.div_ceil(1000),
                row.providers.first().map_or("-", String::as_str),
                row.threads
            )?;
        }
        writeln!(f, "\n{} pictures. {}", self.pictures, if detects { DETECTION_KEY } else { CLASSIFICATION_KEY })?;
        for row in &self.rows {
            f.write_str(&details(row))?;
        }
        for remark in &self.remarks {
            writeln!(f, "{remark}.")?;
        }
        if !self.unreadable.is_empty() {
            writeln!(f, "{} pictures could not be read:", self.unreadable.len())?;
            self.unreadable.iter().try_for_each(|why| writeln!(f, "  {why}"))?;
        }
        Ok(())
    }
}

const DETECTION_KEY: &str = "AP over scores from 0.01; precision, recall and F1 at the score where F1 is best. Times are \
                             medians, one picture at a time. * answers by default.";
const CLASSIFICATION_KEY: &str = "Of two classes, precision, recall and F1 are the second's; of more, the mean. Times are \
                                  medians, one picture at a time. * answers by default.";

/// What does not fit into the table: each class of a detector, the confusion matrix of a classifier.
fn details(row: &Row) -> String {
    let mut text = String::new();
    let title = format!("{} {}", row.title, row.variant);
    match &row.score {
        Score::Detection(score) => {
            let (best, shipped) = (score.best, score.shipped);
            let (only, many) = match &score.classes[..] {
                [class] => (format!("{} `{}`; ", class.labelled, class.label), &[][..]),
                many => (String::new(), many),
            };
            let _ = writeln!(
                text,
                "{title}: {only}F1 is best at {:.2}; at the manifest's {:.2}: precision {:.3}, recall {:.3}, F1 {:.3}",
                best.min_score, shipped.min_score, shipped.precision, shipped.recall, shipped.f1
            );
            for class in many {
                let (label, labelled) = (&class.label, class.labelled);
                let _ = writeln!(text, "    {label:<20} {labelled:>5} labelled  AP50 {:.3}", class.ap50);
            }
        }
        Score::Classification(score) if score.labels.len() <= 12 => {
            let width = score.labels.iter().map(|label| label.chars().count()).max().unwrap_or(0).max(6);
            let _ = writeln!(text, "\n{title}: true class (row), answered class (column)");
            let cells =
                |row: &mut dyn Iterator<Item = String>| row.map(|cell| format!("{cell:>width$}")).collect::<Vec<_>>();
            let _ = writeln!(text, "  {:<width$}  {}", "", cells(&mut score.labels.iter().cloned()).join("  "));
            for (label, counts) in score.labels.iter().zip(&score.confusion) {
                let counts = cells(&mut counts.iter().map(ToString::to_string));
                let _ = writeln!(text, "  {label:<width$}  {}", counts.join("  "));
            }
        }
        Score::Classification(score) => {
            let _ = writeln!(text, "{title}: the confusion matrix of {} classes is in --json", score.labels.len());
        }
    }
    text
}
