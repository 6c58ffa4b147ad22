//! Classes on an image: labels in its top left corner, the best on top.

use embedded_graphics::{prelude::Point, primitives::Rectangle};

use super::Class;
use crate::{
    tasks::text::label_and_score,
    vision::draw::{Canvas, class_color},
};

pub(in crate::tasks) fn draw(canvas: &mut Canvas, classes: &[Class], labels: &[String]) {
    let mut at = Point::zero();
    for class in classes {
        let text = label_and_score(labels, class.class_id, class.score);
        let place = Rectangle::new(at, canvas.label_size(&text));
        canvas.draw_label(&text, place, class_color(class.class_id));
        at.y += place.size.height.cast_signed();
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        tasks::{Prediction, classify::Class},
        vision::{
            decode::{DecodedImage, Pixels, SourceFormat},
            draw::ImageFormat,
        },
    };

    #[test]
    fn jpeg_is_jpeg() {
        let pixels = Pixels { width: 64, height: 64, rgb: vec![128; 64 * 64 * 3] };
        let image = DecodedImage { width: 64, height: 64, pixels, format: SourceFormat::Png, orientation: 1 };
        let prediction = Prediction::Classes(vec![Class { class_id: 7, score: 0.5 }]);
        let bytes = prediction.draw(std::sync::Arc::new(image), &[], ImageFormat::Jpeg.into()).expect("draws");
        assert!(bytes.to_vec().starts_with(&[0xFF, 0xD8, 0xFF]));
    }
}
