use std::sync::Arc;

use embedded_graphics::pixelcolor::{Rgb888, RgbColor};
use proptest::prelude::*;

use super::*;
use crate::{
    tasks::Prediction,
    vision::{
        bbox::BBox,
        decode::{DecodedImage, Pixels, SourceFormat},
        draw::ImageFormat,
    },
};

fn grey(width: u32, height: u32) -> DecodedImage {
    let rgb = vec![128; (width * height * 3) as usize];
    DecodedImage { width, height, pixels: Pixels { width, height, rgb }, format: SourceFormat::Png, orientation: 1 }
}

fn found(class_id: usize, [x1, y1, x2, y2]: [f32; 4]) -> Detection {
    Detection { class_id, score: 0.91, bbox: BBox { x1, y1, x2, y2 } }
}

fn drawn(image: DecodedImage, found: Vec<Detection>) -> image::RgbImage {
    let prediction = Prediction::Detections(found);
    let drawn = prediction.draw(Arc::new(image), &["person".to_owned()], ImageFormat::Png.into()).expect("draws");
    image::load_from_memory(&drawn.to_vec()).expect("a PNG").into_rgb8()
}

#[test]
fn a_box_is_a_frame_in_its_colour() {
    let image = drawn(grey(400, 400), vec![found(0, [100.0, 100.0, 300.0, 300.0])]);
    let edge = rgb(class_color(0));
    for (x, y) in [(100, 200), (299, 200), (200, 100), (200, 299)] {
        assert_eq!(image.get_pixel(x, y).0, edge, "({x}, {y})");
    }
    assert_eq!(image.get_pixel(200, 200).0, [128; 3]);
    assert_eq!(image.get_pixel(300, 200).0, [128; 3]);
}

#[test]
fn nothing_found_is_the_image() {
    assert!(drawn(grey(20, 20), vec![]).pixels().all(|pixel| pixel.0 == [128; 3]));
}

#[test]
fn pixels_that_are_missing_are_an_error() {
    let mut image = grey(4, 4);
    image.pixels.rgb.pop();
    assert!(Prediction::Detections(vec![]).draw(Arc::new(image), &[], ImageFormat::Png.into()).is_err());
}

#[test]
fn boxes_are_drawn_where_they_are_on_reduced_pixels() {
    let mut image = grey(300, 200);
    (image.width, image.height) = (600, 400);
    let image = drawn(image, vec![found(0, [200.0, 120.0, 440.0, 320.0])]);
    assert_eq!(image.dimensions(), (300, 200));
    assert_eq!(image.get_pixel(100, 110).0, rgb(class_color(0)));
    assert_eq!(image.get_pixel(99, 110).0, [128; 3]);
}

#[test]
fn labels_stay_within_the_image() {
    let image = drawn(grey(300, 200), vec![found(1, [290.0, 60.0, 299.0, 90.0])]);
    assert_eq!(image.get_pixel(250, 59).0, rgb(class_color(1)));
}

#[test]
fn the_best_box_is_drawn_on_top() {
    let both = vec![found(0, [50.0, 50.0, 150.0, 150.0]), found(1, [50.0, 50.0, 150.0, 150.0])];
    assert_eq!(drawn(grey(300, 200), both).get_pixel(50, 100).0, rgb(class_color(0)));
}

fn rgb(color: Rgb888) -> [u8; 3] {
    [color.r(), color.g(), color.b()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_box_on_any_image_is_drawn(
        width in 1u32..300, height in 1u32..300, sides in proptest::array::uniform4(proptest::num::f32::ANY), class_id: usize
    ) {
        let prediction = Prediction::Detections(vec![found(class_id, sides), found(0, [0.0, 0.0, width as f32, height as f32])]);
        prop_assert!(prediction.draw(Arc::new(grey(width, height)), &["long ".repeat(20)], ImageFormat::Png.into()).is_ok());
    }
}
