//! A classifier's score in words.

use std::fmt::Write;

use super::ClassificationScore;
use crate::tasks::ScoreSummary;

const KEY: &str = "Of two classes, precision, recall and F1 are the second's; of more, the mean. Times are \
                   medians, one picture at a time. * answers by default.";

/// The confusion matrix of more classes than this is too wide for a terminal.
const MOST_CLASSES: usize = 12;

pub(in crate::tasks) fn summary<'a>(score: &'a ClassificationScore, title: &str) -> ScoreSummary<'a> {
    ScoreSummary {
        columns: "accuracy",
        cells: format!("{:>8.3}", score.accuracy),
        precision: score.precision,
        recall: score.recall,
        f1: score.f1,
        key: KEY,
        details: details(score, title),
        metric: "F1",
        value: score.f1,
        precision_at_recall: &score.precision_at_recall,
    }
}

/// The confusion matrix.
fn details(score: &ClassificationScore, title: &str) -> String {
    let classes = score.labels.len();
    if classes > MOST_CLASSES {
        return format!("{title}: the confusion matrix of {classes} classes is in --json\n");
    }
    let mut text = String::new();
    let width = score.labels.iter().map(|label| label.chars().count()).max().unwrap_or(0).max(6);
    let _ = writeln!(text, "\n{title}: true class (row), answered class (column)");
    let cells = |row: &mut dyn Iterator<Item = String>| row.map(|cell| format!("{cell:>width$}")).collect::<Vec<_>>();
    let _ = writeln!(text, "  {:<width$}  {}", "", cells(&mut score.labels.iter().cloned()).join("  "));
    for (label, counts) in score.labels.iter().zip(&score.confusion) {
        let counts = cells(&mut counts.iter().map(ToString::to_string));
        let _ = writeln!(text, "  {label:<width$}  {}", counts.join("  "));
    }
    text
}
