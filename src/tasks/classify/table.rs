//! Classes for the terminal: a line each.

use super::Class;
use crate::tasks::text::{label_or_mark, label_width};

pub(in crate::tasks) fn table(classes: &[Class], labels: &[String]) -> String {
    let w = label_width(labels, classes.iter().map(|class| class.class_id));
    let mut text = format!("  {:<w$}  score\n", "label");
    for Class { class_id, score } in classes {
        text += &format!("  {:<w$}  {score:>5.2}\n", label_or_mark(labels, *class_id));
    }
    text
}
