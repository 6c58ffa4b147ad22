//! Detections on an image: a frame and a label each, and what is within made unrecognisable where that is wanted.

use embedded_graphics::{
    prelude::{Dimensions, Size},
    primitives::Rectangle,
};

use super::Detection;
use crate::{
    tasks::text::label_and_score,
    vision::draw::{Canvas, Redaction, class_color},
};

/// How often boxes may cover the picture, all together; past that they are redacted as one.
const MAX_COVERS: u64 = 8;

/// Whatever their class, and before anything is drawn.
pub(in crate::tasks) fn redact(canvas: &mut Canvas, found: &[Detection], how: Redaction) {
    let areas: Vec<Rectangle> = found.iter().map(|detection| canvas.area(&detection.bbox)).collect();
    let pixels = |area: &Rectangle| u64::from(area.size.width) * u64::from(area.size.height);
    let all: u64 = areas.iter().map(pixels).sum();
    if all > MAX_COVERS * pixels(&canvas.bounding_box()) {
        // A client may ask for a thousand boxes over each other, which shall not cost a thousand times as much.
        if let Some(whole) = areas.into_iter().reduce(around) {
            canvas.redact(whole, how);
        }
        return;
    }
    areas.into_iter().for_each(|area| canvas.redact(area, how));
}

/// The smallest area with both in it.
fn around(one: Rectangle, other: Rectangle) -> Rectangle {
    let ends = [one, other].map(|area| area.top_left + area.size);
    let begin = one.top_left.component_min(other.top_left);
    let size = ends[0].component_max(ends[1]) - begin;
    Rectangle::new(begin, Size::new(size.x.max(0).cast_unsigned(), size.y.max(0).cast_unsigned()))
}

/// All frames are drawn first, then all labels, so that no frame crosses a letter; the best come last and lie on top.
pub(in crate::tasks) fn draw(canvas: &mut Canvas, found: &[Detection], labels: &[String]) {
    let mut places: Vec<Rectangle> = Vec::with_capacity(found.len());
    let mut texts = Vec::with_capacity(found.len());
    for detection in found {
        let text = label_and_score(labels, detection.class_id, detection.score);
        places.push(canvas.place_label(&text, canvas.area(&detection.bbox), &places));
        texts.push(text);
    }
    for detection in found.iter().rev() {
        canvas.draw_frame(canvas.area(&detection.bbox), class_color(detection.class_id));
    }
    for ((detection, text), place) in found.iter().zip(&texts).zip(places).rev() {
        canvas.draw_label(text, place, class_color(detection.class_id));
    }
}

#[cfg(test)]
mod tests;
