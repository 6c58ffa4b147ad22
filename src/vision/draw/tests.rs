use proptest::prelude::*;

use super::*;
use crate::vision::{
    answer::BBox,
    decode::{Format, Pixels},
};

fn grey(width: u32, height: u32) -> Picture {
    let rgb = vec![128; (width * height * 3) as usize];
    Picture { width, height, pixels: Pixels { width, height, rgb }, format: Format::Png, orientation: 1 }
}

fn found(class_id: usize, [x1, y1, x2, y2]: [f32; 4]) -> Detection {
    Detection { class_id, score: 0.91, bbox: BBox { x1, y1, x2, y2 } }
}

fn drawn(picture: &Picture, answer: &Answer) -> image::RgbImage {
    let bytes = draw(picture, answer, &["person".to_owned()], ImageFormat::Png).expect("draws");
    image::load_from_memory(&bytes).expect("a PNG").into_rgb8()
}

#[test]
fn a_box_is_a_frame_in_its_colour() {
    let picture = drawn(&grey(400, 400), &Answer::Detections(vec![found(0, [100.0, 100.0, 300.0, 300.0])]));
    let edge = [color(0).r(), color(0).g(), color(0).b()];
    for (x, y) in [(100, 200), (299, 200), (200, 100), (200, 299)] {
        assert_eq!(picture.get_pixel(x, y).0, edge, "({x}, {y})");
    }
    assert_eq!(picture.get_pixel(200, 200).0, [128; 3]);
    assert_eq!(picture.get_pixel(300, 200).0, [128; 3]);
}

#[test]
fn nothing_found_is_the_picture() {
    assert!(drawn(&grey(20, 20), &Answer::Detections(vec![])).pixels().all(|pixel| pixel.0 == [128; 3]));
}

#[test]
fn jpeg_is_jpeg() {
    let answer = Answer::Classes(vec![Class { class_id: 7, score: 0.5 }]);
    let bytes = draw(&grey(64, 64), &answer, &[], ImageFormat::Jpeg).expect("draws");
    assert!(bytes.starts_with(&[0xFF, 0xD8, 0xFF]));
}

#[test]
fn pixels_that_are_missing_are_an_error() {
    let mut picture = grey(4, 4);
    picture.pixels.rgb.pop();
    assert!(draw(&picture, &Answer::Detections(vec![]), &[], ImageFormat::Png).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_box_on_any_picture_is_drawn(
        width in 1u32..300, height in 1u32..300, sides in proptest::array::uniform4(-1e9f32..1e9), class_id: usize
    ) {
        let answer = Answer::Detections(vec![found(class_id, sides), found(0, [0.0, 0.0, width as f32, height as f32])]);
        prop_assert!(draw(&grey(width, height), &answer, &["long ".repeat(20)], ImageFormat::Png).is_ok());
    }
}
