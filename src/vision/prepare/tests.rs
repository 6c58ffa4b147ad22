use half::f16;

use super::*;
use crate::vision::{
    bbox::BBox,
    decode::{Pixels, SourceFormat},
};

fn spec(toml: &str) -> InputSpec {
    toml::from_str(toml).expect("a valid input table")
}

fn port(name: &str, element: ElementType, shape: &[usize]) -> Port {
    // 0 stands for a free dimension.
    Port { name: name.to_owned(), element, shape: shape.iter().map(|&n| (n > 0).then_some(n)).collect() }
}

fn image(width: u32, height: u32, rgb: &[u8]) -> DecodedImage {
    let pixels = Pixels { width, height, rgb: rgb.to_vec() };
    DecodedImage { width, height, pixels, format: SourceFormat::Png, orientation: 1 }
}

/// Two pixels: one (1, 2, 3), one (4, 5, 6).
fn two_pixels() -> DecodedImage {
    image(2, 1, &[1, 2, 3, 4, 5, 6])
}

fn only_input(toml: &str, port: Port, image: &DecodedImage) -> Tensor {
    let preparer = Preprocessor::new(&spec(toml), &[port]).expect("fits");
    preparer.preprocess(image).expect("prepares").inputs.swap_remove(0)
}

fn f32s(tensor: &Tensor) -> Vec<f32> {
    match tensor {
        Tensor::F32(array) => array.iter().copied().collect(),
        other => panic!("{:?}", other.element()),
    }
}

#[test]
fn planes_or_pixels_rgb_or_bgr() {
    let nchw = || port("x", ElementType::F32, &[1, 3, 1, 2]);
    let nhwc = || port("x", ElementType::F32, &[0, 1, 2, 3]);
    let run = |toml, port| f32s(&only_input(toml, port, &two_pixels()));
    assert_eq!(run("", nchw()), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    assert_eq!(run("color = 'bgr'", nchw()), [3.0, 6.0, 2.0, 5.0, 1.0, 4.0]);
    assert_eq!(run("", nhwc()), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(run("color = 'bgr'", nhwc()), [3.0, 2.0, 1.0, 6.0, 5.0, 4.0]);
    let tensor = only_input("", nchw(), &two_pixels());
    assert_eq!(tensor.shape(), [1, 3, 1, 2]);
}

#[test]
fn normalisation_follows_the_order_of_the_channels() {
    let toml = "color = 'bgr'\nscale = 2\nmean = [1, 2, 3]\nstd = [1, 2, 4]";
    let values = f32s(&only_input(toml, port("x", ElementType::F32, &[1, 3, 1, 2]), &two_pixels()));
    assert_eq!(values, [5.0, 11.0, 1.0, 4.0, -0.25, 1.25]);
}

#[test]
fn integers_are_rounded_to_even_and_saturate() {
    let bytes = |toml| match only_input(toml, port("x", ElementType::U8, &[1, 3, 1, 2]), &two_pixels()) {
        Tensor::U8(array) => array.into_iter().collect::<Vec<u8>>(),
        other => panic!("{:?}", other.element()),
    };
    assert_eq!(bytes("scale = 0.5"), [0, 2, 1, 2, 2, 3]); // .5 → 0, 2.5 → 2, 1.5 → 2
    assert_eq!(bytes("scale = 100"), [100, 255, 200, 255, 255, 255]);
    let signed = only_input("mean = [128, 128, 128]", port("x", ElementType::I8, &[1, 3, 1, 2]), &two_pixels());
    assert_eq!(
        signed,
        Tensor::I8(
            ndarray::arr1(&[-127, -124, -126, -123, -125, -122])
                .into_shape_with_order(IxDyn(&[1, 3, 1, 2]))
                .expect("six")
        )
    );
}

#[test]
fn half_floats_and_grey() {
    let half = only_input("scale = 0.5", port("x", ElementType::F16, &[1, 3, 1, 2]), &two_pixels());
    assert!(matches!(half, Tensor::F16(array) if array[[0, 0, 0, 1]] == f16::from_f32(2.0)));
    let grey = only_input("", port("x", ElementType::F32, &[1, 1, 1, 2]), &image(2, 1, &[9, 9, 9, 255, 0, 0]));
    assert_eq!(f32s(&grey), [9.0, 76.0]); // Pillow: Image.new("RGB", (1, 1), (255, 0, 0)).convert("L") is 76
}

#[test]
fn bars_are_grey_before_normalisation() {
    let white = image(4, 2, &[255; 24]);
    let run = |toml| f32s(&only_input(toml, port("x", ElementType::F32, &[1, 3, 4, 4]), &white));
    let centred = run("fit = 'letterbox'\npad = 10\nmean = [5, 5, 5]");
    let plane = [[5.0; 4], [250.0; 4], [250.0; 4], [5.0; 4]].concat();
    assert_eq!(centred, plane.repeat(3));
    let top_left = run("fit = 'letterbox-top-left'");
    assert_eq!(top_left[..16], [[255.0; 4], [255.0; 4], [114.0; 4], [114.0; 4]].concat());
    let nhwc = only_input("fit = 'letterbox'", port("x", ElementType::F32, &[1, 4, 4, 3]), &white);
    assert_eq!(f32s(&nhwc)[9..15], [114.0, 114.0, 114.0, 255.0, 255.0, 255.0]);
}

#[test]
fn a_crop_takes_the_middle() {
    // Scaled to 4×4 of 8×4 (nothing to resample), then the 2×2 in the middle.
    let columns: Vec<u8> = (0..4).flat_map(|_| (0..8u8).flat_map(|x| [x * 10; 3])).collect();
    let toml = "fit = 'crop'\ncrop_ratio = 0.5";
    let values = f32s(&only_input(toml, port("x", ElementType::F32, &[1, 3, 2, 2]), &image(8, 4, &columns)));
    assert_eq!(values[..4], [30.0, 40.0, 30.0, 40.0]);
}

#[test]
fn bilinear_is_opencvs() {
    // cv2.resize(np.uint8([[0, 100, 200, 40]]), (2, 1)) == [[50, 120]]: the two nearest, no anti-aliasing.
    let row: Vec<u8> = [0, 100, 200, 40].into_iter().flat_map(|v| [v; 3]).collect();
    let shrunk = only_input("", port("x", ElementType::F32, &[1, 3, 1, 2]), &image(4, 1, &row));
    assert_eq!(f32s(&shrunk)[..2], [50.0, 120.0]);
    // Eight to two: OpenCV reads pixels 1, 2 and 5, 6 only.
    let row: Vec<u8> = [255, 10, 20, 255, 255, 30, 40, 255].into_iter().flat_map(|v| [v; 3]).collect();
    let shrunk = only_input("", port("x", ElementType::F32, &[1, 3, 1, 2]), &image(8, 1, &row));
    assert_eq!(f32s(&shrunk)[..2], [15.0, 35.0]);
    let area = only_input("resize = 'area'", port("x", ElementType::F32, &[1, 3, 1, 2]), &image(8, 1, &row));
    assert_eq!(f32s(&area)[..2], [135.0, 145.0]);
}

#[test]
fn the_images_size_is_a_second_input() {
    let inputs = [port("sizes", ElementType::I64, &[0, 2]), port("x", ElementType::F32, &[0, 3, 4, 4])];
    let prepared = |toml: &str| {
        let preparer = Preprocessor::new(&spec(toml), &inputs).expect("fits");
        assert_eq!(preparer.image_input(), 1);
        preparer.preprocess(&image(8, 2, &[0; 48])).expect("prepares").inputs
    };
    let sizes = |width, height| Tensor::I64(ndarray::arr2(&[[width, height]]).into_dyn());
    let stretched = prepared("");
    assert_eq!((&stretched[0], stretched[1].shape()), (&sizes(8, 2), &[1, 3, 4, 4][..]));
    assert_eq!(prepared("size_order = 'hw'")[0], sizes(2, 8));
    assert_eq!(prepared("fit = 'letterbox'\nsize_input = 'sizes'")[0], sizes(4, 4));
}

#[test]
fn pixels_may_be_fewer_than_the_image_has() {
    let mut reduced = image(2, 2, &[50; 12]);
    (reduced.width, reduced.height) = (16, 16);
    let preparer = Preprocessor::new(&spec(""), &[port("x", ElementType::F32, &[1, 3, 4, 4])]).expect("fits");
    let prepared = preparer.preprocess(&reduced).expect("prepares");
    assert_eq!(f32s(&prepared.inputs[0]), [50.0; 48]);
    let whole = prepared.placement.to_image(BBox { x1: 0.0, y1: 0.0, x2: 4.0, y2: 4.0 });
    assert_eq!(whole, BBox { x1: 0.0, y1: 0.0, x2: 16.0, y2: 16.0 });
}

#[test]
fn sizes_come_from_the_graph_or_the_manifest() {
    let size = |toml: &str, shape: &[usize]| {
        Preprocessor::new(&spec(toml), &[port("x", ElementType::F32, shape)]).map(|preparer| preparer.input_size())
    };
    assert_eq!(size("", &[1, 3, 240, 320]), Ok((320, 240)));
    assert_eq!(size("size = [320, 240]", &[0, 3, 0, 0]), Ok((320, 240)));
    assert_eq!(size("size = [320, 240]", &[0, 3, 240, 0]), Ok((320, 240)));
    assert_eq!(size("layout = 'nhwc'", &[1, 3, 8, 3]), Ok((8, 3)));
    assert_eq!(size("size = [32, 24]\nlayout = 'nhwc'", &[0, 0, 0, 0]), Ok((32, 24)));
}

#[test]
fn what_cannot_be_fed_is_refused_with_a_reason() {
    let refusal = |toml: &str, inputs: &[Port]| Preprocessor::new(&spec(toml), inputs).expect_err("refused");
    let x = |shape: &[usize]| port("x", ElementType::F32, shape);
    let cases: &[(&str, Vec<Port>, &str)] = &[
        ("", vec![], "no input takes a picture"),
        ("", vec![x(&[1, 3, 8])], "no input takes a picture"),
        ("", vec![x(&[1, 3, 8, 8]), x(&[1, 3, 8, 8])], "two inputs could take the picture"),
        ("", vec![x(&[4, 3, 8, 8])], "a fixed batch of 4"),
        ("", vec![x(&[1, 3, 0, 8])], "leaves its height free"),
        ("size = [8, 9]", vec![x(&[1, 3, 8, 8])], "input.size says height 9"),
        ("", vec![x(&[1, 5, 8, 8])], "shows no colour channels"),
        ("", vec![x(&[1, 3, 8, 3])], "say which in input.layout"),
        ("layout = 'nchw'", vec![x(&[1, 8, 8, 3])], "does not have 3 or 1 channels"),
        ("", vec![port("x", ElementType::I64, &[1, 3, 8, 8])], "holds i64"),
        (
            "",
            vec![x(&[1, 3, 8, 8]), port("train", ElementType::Bool, &[])],
            "nothing to feed the input train bool[] with",
        ),
        ("size_input = 'size'", vec![x(&[1, 3, 8, 8])], "input.size_input names size"),
        (
            "size_input = 'a'",
            vec![x(&[1, 3, 8, 8]), port("b", ElementType::I64, &[1, 2])],
            "nothing to feed the input b",
        ),
        ("std = [1, 0, 1]", vec![x(&[1, 3, 8, 8])], "std not 0"),
        ("fit = 'crop'\ncrop_ratio = 0", vec![x(&[1, 3, 8, 8])], "input.crop_ratio is 0"),
        ("", vec![x(&[1, 3, 8, 99_999])], "wanted: 1 to 16384"),
    ];
    for (toml, inputs, reason) in cases {
        let said = refusal(toml, inputs);
        assert!(said.contains(reason), "{said}\nshould say: {reason}");
    }
}
