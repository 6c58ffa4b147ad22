//! Detections on an image: a frame and a label each.

use embedded_graphics::primitives::Rectangle;

use super::Detection;
use crate::{
    tasks::text::label_and_score,
    vision::draw::{Canvas, class_color},
};

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
