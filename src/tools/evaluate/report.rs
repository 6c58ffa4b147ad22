//! What came out: as a table, as JSON, as lines of a chart.

use std::fmt;

use serde::Serialize;

use crate::{
    stats::quantile,
    tasks::{ScoreSummary, TaskScore},
    tools::plot::Series,
};

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
    pub score: TaskScore,
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
        let at = |share: f64| quantile(&values, share).unwrap_or_default();
        Self { p50: at(0.5), p99: at(0.99) }
    }
}

impl Report {
    /// The precision-recall curve of each variant that has one.
    #[must_use]
    pub fn precision_recall_curves(&self) -> Vec<Series> {
        let curve = |row: &Row| {
            let summary = row.score.summary("");
            let curve = summary.precision_at_recall;
            let name = format!("{} {}: {} {:.3}", row.title, row.variant, summary.metric, summary.value);
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
        // All rows are of one task.
        let titles = self.rows.iter().map(|row| format!("{} {}", row.title, row.variant));
        let scores: Vec<_> = self.rows.iter().zip(titles).map(|(row, title)| row.score.summary(&title)).collect();
        let (columns, key) = scores.first().map_or_else(Default::default, |score| (score.columns, score.key));
        writeln!(
            f,
            "{:<width$}  {columns}  precision  recall     F1   run ms    p99  answer ms  CPU ms  memory MB  file kB  on",
            "variant"
        )?;
        for (row, score) in self.rows.iter().zip(&scores) {
            let ScoreSummary { cells, precision, recall, f1, .. } = score;
            let memory = row.resident_bytes.map_or("-".to_owned(), |bytes| format!("{:.0}", bytes as f64 / 1e6));
            writeln!(
                f,
                "{:<width$}  {cells}  {precision:>9.3}  {recall:>6.3}  {f1:>5.3}  {:>7.2}  {:>5.1}  {:>9.2}  {:>6.2}  \
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
        writeln!(f, "\n{} pictures. {}", self.pictures, key)?;
        scores.iter().try_for_each(|score| f.write_str(&score.details))?;
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
