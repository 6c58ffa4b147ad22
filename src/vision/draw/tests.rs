use proptest::prelude::*;

use super::*;
use crate::vision::{
    answer::BBox,
    decode::{Format, Pixels},
};

fn grey(width: u32, height: u32) -> DecodedImage {
    let rgb = vec![128; (width * height * 3) as usize];
    DecodedImage { width, height, pixels: Pixels { width, height, rgb }, format: Format::Png, orientation: 1 }
}

fn found(class_id: usize, [x1, y1, x2, y2]: [f32; 4]) -> Detection {
    Detection { class_id, score: 0.91, bbox: BBox { x1, y1, x2, y2 } }
}

fn drawn(picture: &DecodedImage, answer: &Prediction) -> image::RgbImage {
    let bytes = draw(picture, answer, &["person".to_owned()], ImageFormat::Png).expect("draws");
    image::load_from_memory(&bytes).expect("a PNG").into_rgb8()
}

#[test]
fn a_box_is_a_frame_in_its_colour() {
    let picture = drawn(&grey(400, 400), &Prediction::Detections(vec![found(0, [100.0, 100.0, 300.0, 300.0])]));
    let edge = [color(0).r(), color(0).g(), color(0).b()];
    for (x, y) in [(100, 200), (299, 200), (200, 100), (200, 299)] {
        assert_eq!(picture.get_pixel(x, y).0, edge, "({x}, {y})");
    }
    assert_eq!(picture.get_pixel(200, 200).0, [128; 3]);
    assert_eq!(picture.get_pixel(300, 200).0, [128; 3]);
}

#[test]
fn nothing_found_is_the_picture() {
    assert!(drawn(&grey(20, 20), &Prediction::Detections(vec![])).pixels().all(|pixel| pixel.0 == [128; 3]));
}

#[test]
fn jpeg_is_jpeg() {
    let answer = Prediction::Classes(vec![Class { class_id: 7, score: 0.5 }]);
    let bytes = draw(&grey(64, 64), &answer, &[], ImageFormat::Jpeg).expect("draws");
    assert!(bytes.starts_with(&[0xFF, 0xD8, 0xFF]));
}

#[test]
fn pixels_that_are_missing_are_an_error() {
    let mut picture = grey(4, 4);
    picture.pixels.rgb.pop();
    assert!(draw(&picture, &Prediction::Detections(vec![]), &[], ImageFormat::Png).is_err());
}
#[test]
fn boxes_are_drawn_where_they_are_on_reduced_pixels() {
    let mut picture = grey(300, 200);
    (picture.width, picture.height) = (600, 400);
    let picture = drawn(&picture, &Prediction::Detections(vec![found(0, [200.0, 120.0, 440.0, 320.0])]));
    assert_eq!(picture.dimensions(), (300, 200));
    assert_eq!(picture.get_pixel(100, 110).0, rgb(color(0)));
    assert_eq!(picture.get_pixel(99, 110).0, [128; 3]);
}

#[test]
fn labels_stay_within_the_picture() {
    let picture = drawn(&grey(300, 200), &Prediction::Detections(vec![found(1, [290.0, 60.0, 299.0, 90.0])]));
    assert_eq!(picture.get_pixel(250, 59).0, rgb(color(1)));
}

#[test]
fn the_best_box_is_drawn_on_top() {
    let both = vec![found(0, [50.0, 50.0, 150.0, 150.0]), found(1, [50.0, 50.0, 150.0, 150.0])];
    assert_eq!(drawn(&grey(300, 200), &Prediction::Detections(both)).get_pixel(50, 100).0, rgb(color(0)));
}

#[test]
fn letters_read_well_on_every_colour() {
    let luminance = |color: Rgb888| {
        let linear = |byte: u8| {
            let share = f64::from(byte) / 255.0;
            if share <= 0.04045 { share / 12.92 } else { ((share + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(color.r()) + 0.7152 * linear(color.g()) + 0.0722 * linear(color.b())
    };
    for ground in (0..24).map(color) {
        let (a, b) = (luminance(ground), luminance(ink(ground)));
        assert!((a.max(b) + 0.05) / (a.min(b) + 0.05) >= 4.5, "{ground:?}"); // WCAG AA
    }
}

fn rgb(color: Rgb888) -> [u8; 3] {
    [color.r(), color.g(), color.b()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_box_on_any_picture_is_drawn(
        width in 1u32..300, height in 1u32..300, sides in proptest::array::uniform4(proptest::num::f32::ANY), class_id: usize
    ) {
        let answer = Prediction::Detections(vec![found(class_id, sides), found(0, [0.0, 0.0, width as f32, height as f32])]);
        prop_assert!(draw(&grey(width, height), &answer, &["long ".repeat(20)], ImageFormat::Png).is_ok());
    }
}
