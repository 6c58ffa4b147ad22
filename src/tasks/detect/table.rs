//! Detections for the terminal: a line each.

use super::Detection;
use crate::tasks::text::{label_or_mark, label_width};

pub(in crate::tasks) fn table(found: &[Detection], labels: &[String]) -> String {
    if found.is_empty() {
        return "  nothing found\n".to_owned();
    }
    let w = label_width(labels, found.iter().map(|detection| detection.class_id));
    let mut text = format!("  {:<w$}  score     x1     y1     x2     y2\n", "label");
    for Detection { class_id, score, bbox } in found {
        text += &format!(
            "  {:<w$}  {score:>5.2}  {:>5.0}  {:>5.0}  {:>5.0}  {:>5.0}\n",
            label_or_mark(labels, *class_id),
            bbox.x1,
            bbox.y1,
            bbox.x2,
            bbox.y2
        );
    }
    text
}
