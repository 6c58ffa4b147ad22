//! Names and scores of classes, as all tasks write them.

use crate::stats::round::places;

/// A class's name for JSON; its number where the labels end too soon.
pub(super) fn label(labels: &[String], class_id: usize) -> String {
    labels.get(class_id).cloned().unwrap_or_else(|| class_id.to_string())
}

/// A score as JSON has it.
pub(super) fn score(score: f32) -> f64 {
    places(score, 4)
}

/// A class and its score for an image: `person 0.91`.
pub(super) fn label_and_score(labels: &[String], class_id: usize, score: f32) -> String {
    match labels.get(class_id) {
        Some(label) => format!("{label} {score:.2}"),
        None => format!("class {class_id} {score:.2}"),
    }
}

/// A class's name for the terminal.
pub(super) fn label_or_mark(labels: &[String], class_id: usize) -> &str {
    labels.get(class_id).map_or("?", String::as_str)
}

/// The width of the column with these classes' names.
pub(super) fn label_width(labels: &[String], class_ids: impl Iterator<Item = usize>) -> usize {
    class_ids.map(|class_id| label_or_mark(labels, class_id).chars().count()).max().unwrap_or(0).max(5)
}
