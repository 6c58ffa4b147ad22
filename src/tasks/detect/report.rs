//! A detector's score in words.

use std::fmt::Write;

use super::DetectionScore;
use crate::tasks::ScoreSummary;

const KEY: &str = "AP over scores from 0.01; precision, recall and F1 at the score where F1 is best. Times are \
                   medians, one picture at a time. * answers by default.";

pub(in crate::tasks) fn summary<'a>(score: &'a DetectionScore, title: &str) -> ScoreSummary<'a> {
    let best = score.best;
    ScoreSummary {
        columns: " AP50  AP50:95",
        cells: format!("{:>5.3}  {:>7.3}", score.ap50, score.ap50_95),
        precision: best.precision,
        recall: best.recall,
        f1: best.f1,
        key: KEY,
        details: details(score, title),
        metric: "AP50",
        value: score.ap50,
        precision_at_recall: &score.precision_at_recall,
    }
}

/// The two thresholds that matter, then each class where there are several.
fn details(score: &DetectionScore, title: &str) -> String {
    let mut text = String::new();
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
    text
}
