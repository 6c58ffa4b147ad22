//! Finished boxes in rows: each layout is written here by hand, and read back.

use half::f16;
use proptest::prelude::*;

use super::tests::{assert_one, detections};
use crate::tasks::{
    PostprocessOptions, Prediction,
    detect::Detection,
    testing::{TestOutput, output, placement, reader},
};

/// What a network found: the box in input pixels, the score, the class.
type Found = ([f32; 4], f32, usize);

const LAYOUTS: [&str; 6] = ["end2end", "yolov7-end2end", "yolo-nas-flat", "openvino-ssd", "mmdeploy", "paddle"];

fn manifest(decode: &str) -> String {
    let unit = if decode == "paddle" { "\nbox_unit = 'input'" } else { "" };
    format!("decode = '{decode}'\nmin_score = 0.3{unit}")
}

/// The outputs of a graph of that layout, by the words of its repository.
fn outputs(decode: &str, found: &[Found]) -> Vec<TestOutput> {
    let k = found.len();
    let row = |&([a, b, c, d], score, class): &Found| {
        let class = class as f32;
        match decode {
            "end2end" => vec![a, b, c, d, score, class],
            "yolov7-end2end" => vec![0.0, a, b, c, d, class, score],
            "yolo-nas-flat" => vec![0.0, a, b, c, d, score, class],
            "openvino-ssd" => vec![0.0, class, score, a / 32.0, b / 32.0, c / 32.0, d / 32.0],
            "mmdeploy" => vec![a, b, c, d, score],
            _ => vec![class, score, a, b, c, d],
        }
    };
    let values: Vec<f32> = found.iter().flat_map(row).collect();
    let shape = match decode {
        "end2end" => vec![1, k, 6],
        "openvino-ssd" => vec![1, 1, k, 7],
        "mmdeploy" => vec![1, k, 5],
        "paddle" => vec![k, 6],
        _ => vec![k, 7],
    };
    let mut outputs = vec![output("dets", &shape, values)];
    match decode {
        "mmdeploy" => {
            outputs.push(output("labels", &[1, k], found.iter().map(|found| found.2 as i64).collect::<Vec<_>>()));
        }
        "paddle" => outputs.push(output("count", &[1], vec![k as i32])),
        _ => {}
    }
    outputs
}

fn one() -> Vec<Found> {
    vec![([8.0, 8.0, 16.0, 16.0], 0.75, 3)]
}

#[test]
fn every_layout_says_the_same_box() {
    for decode in LAYOUTS {
        let found = detections(&manifest(decode), 80, &outputs(decode, &one()));
        assert_one(&found, 3, 0.75, [16.0, 8.0, 32.0, 16.0]);
        assert_eq!(detections(&manifest(decode), 80, &outputs(decode, &[])), [], "{decode}");
    }
}

#[test]
fn end2end_rows_may_lie_under_any_number_of_ones() {
    let rows = vec![8.0f32, 8.0, 16.0, 16.0, 0.75, 3.0];
    for shape in [&[1, 6][..], &[1, 1, 6], &[1, 1, 1, 6]] {
        let found = detections("decode = 'end2end'", 80, &[output("output0", shape, rows.clone())]);
        assert_one(&found, 3, 0.75, [16.0, 8.0, 32.0, 16.0]);
    }
    let halves = rows.into_iter().map(f16::from_f32).collect();
    assert_eq!(detections("decode = 'end2end'", 80, &[output("output0", &[1, 1, 6], halves)]).len(), 1);
}

#[test]
fn rows_that_only_fill_up_are_no_answer() {
    for decode in LAYOUTS {
        let mut rows = vec![([8.0, 8.0, 16.0, 16.0], 0.0, 0)];
        let toml = manifest(decode).replace("0.3", "0.0");
        assert_eq!(detections(&toml, 80, &outputs(decode, &rows)), [], "{decode}");
        rows[0].1 = f32::NAN;
        assert_eq!(detections(&toml, 80, &outputs(decode, &rows)), [], "{decode}");
    }
    let none = [-1.0f32, 0.9, 0.0, 0.0, 9.0, 9.0];
    let paddle = [output("rows", &[1, 6], none.to_vec()), output("count", &[1], vec![1i32])];
    assert_eq!(detections(&manifest("paddle"), 80, &paddle), []);
    // OpenVINO ends its list with a picture of -1.
    let end = vec![-1.0f32, 1.0, 0.9, 0.0, 0.0, 1.0, 1.0];
    assert_eq!(detections("decode = 'openvino-ssd'", 80, &[output("out", &[1, 1, 1, 7], end)]), []);
}

#[test]
fn paddle_rows_after_the_count_do_not() {
    let found = [one()[0], ([0.0, 0.0, 8.0, 8.0], 0.9, 1)];
    let mut outputs = outputs("paddle", &found);
    outputs[1] = output("count", &[1], vec![1i32]);
    assert_one(&detections(&manifest("paddle"), 80, &outputs), 3, 0.75, [16.0, 8.0, 32.0, 16.0]);
    let said = reader("decode = 'paddle'", 80, &outputs).expect_err("no unit");
    assert!(said.contains("wants output.box_unit: \"picture\""), "{said}");
}

fn read_asked(outputs: &[TestOutput], toml: &str, asked_iou: Option<f32>) -> Result<Vec<Detection>, String> {
    let (reader, defaults) = reader(toml, 80, outputs).expect("fits");
    let options = PostprocessOptions { asked_iou, iou: asked_iou.unwrap_or(defaults.iou), ..defaults };
    let tensors: Vec<_> = outputs.iter().map(|output| output.tensor.clone()).collect();
    match reader.read(&tensors, &placement(), &options)? {
        Prediction::Detections(found) => Ok(found),
        Prediction::Classes(_) => panic!("classes"),
    }
}

#[test]
fn overlapping_boxes_stay_unless_the_request_names_an_iou() {
    let twice = [one()[0], ([8.0, 8.0, 16.0, 17.0], 0.5, 3)];
    for decode in LAYOUTS {
        let outputs = outputs(decode, &twice);
        assert_eq!(read_asked(&outputs, &manifest(decode), None).expect("reads").len(), 2, "{decode}");
        assert_eq!(read_asked(&outputs, &manifest(decode), Some(0.5)).expect("reads").len(), 1, "{decode}");
    }
}

#[test]
fn columns_in_another_order_are_an_error_and_no_answer() {
    let misread = [
        ("yolo-nas-flat", "yolov7-end2end", "has the class 0.75"),
        ("yolov7-end2end", "yolo-nas-flat", "has the class 0.75"),
    ];
    for (written, read, reason) in misread {
        let said = read_asked(&outputs(written, &one()), &manifest(read), None).expect_err("other columns");
        assert!(said.contains(reason) && said.contains("its columns are not one output [K, 7]"), "{said}");
    }
    // An angle after the class makes rows of 7, whose first number is no picture.
    let angled = output("out", &[1, 7], vec![8.0f32, 8.0, 4.0, 4.0, 0.9, 2.0, 0.1]);
    let said = read_asked(&[angled], &manifest("yolov7-end2end"), None).expect_err("an angle");
    assert!(said.contains("has the picture number 8"), "{said}");
}

#[test]
fn outputs_that_do_not_fit_are_refused_with_what_would() {
    let cases = [
        (
            "end2end",
            80,
            &[1, 84, 21][..],
            "wants one output [N, K, 6] or [K, 6] (x1, y1, x2, y2, score, class) (this \
          shape is that of \"yolov8\")",
        ),
        ("end2end", 80, &[1, 21, 85], "(this shape is that of \"yolov5\" or \"yolox\")"),
        ("end2end", 80, &[1, 300, 38], "(rows of 38 hold more than a box, a score and a class: an angle, a mask"),
        ("end2end", 80, &[300, 7], "(rows of 7 are those of \"yolov7-end2end\", \"yolo-nas-flat\""),
        ("yolov7-end2end", 80, &[1, 300, 7], "(rows of 7 hold more than a box"),
        ("yolo-nas-flat", 80, &[300, 6], "(rows of 6 are those of \"end2end\", or \"paddle\")"),
        ("openvino-ssd", 80, &[1, 300, 7], "wants one output [1, 1, K, 7]"),
        ("mmdeploy", 80, &[1, 300, 5], "wants dets [N, K, 5] (x1, y1, x2, y2, score) and whole labels [N, K]"),
        ("yolov8", 80, &[1, 300, 6], "(4 + 80 labels) (rows of 6 are those of \"end2end\", or \"paddle\")"),
        // 81 labels would not make it right, so nothing is said that invites them.
        ("end2end", 80, &[1, 85, 8400], "x2, y2, score, class); the graph has"),
        // 16 + 4 + 1 cells of 32×32: YOLOv5 with one label.
        ("end2end", 1, &[1, 63, 6], "boxes before NMS: with one label that is \"yolov5\""),
        ("end2end", 1, &[1, 21, 6], "boxes before NMS"),
    ];
    for (decode, labels, shape, reason) in cases {
        let outputs = [output("out", shape, vec![0.0f32; shape.iter().product()])];
        let said = reader(&manifest(decode), labels, &outputs).expect_err("refused");
        assert!(said.contains(reason) && said.contains("the graph has: out f32["), "{decode}: {said}");
    }
}

#[test]
fn only_rows_of_one_picture_can_be_told_apart_in_a_run() {
    let alone = |toml: &str, outputs: &[TestOutput]| reader(toml, 80, outputs).expect("fits").0.why_single().is_some();
    for (decode, single) in LAYOUTS.into_iter().zip([false, true, true, true, false, true]) {
        assert_eq!(alone(&manifest(decode), &outputs(decode, &one())), single, "{decode}");
    }
    assert!(alone("decode = 'end2end'", &[output("out", &[300, 6], vec![0.0f32; 1800])]));
    let nms = |shape: &[usize]| {
        let k = [shape.iter().product::<usize>() / 4];
        let boxes = output("boxes", shape, vec![0.0f32; k[0] * 4]);
        [boxes, output("scores", &k, vec![0.0f32; k[0]]), output("labels", &k, vec![0i64; k[0]])]
    };
    assert!(alone("decode = 'nms-in-graph'", &nms(&[5, 4])));
    assert!(!alone("decode = 'nms-in-graph'", &nms(&[1, 5, 4])));
}

fn efficient_nms(count: &TestOutput) -> [TestOutput; 4] {
    let count = output("num_dets", count.tensor.shape(), vec![1i32; count.tensor.shape().iter().product()]);
    [
        count,
        output("det_boxes", &[1, 2, 4], vec![8.0f32, 8.0, 16.0, 16.0, 0.0, 0.0, 32.0, 32.0]),
        output("det_scores", &[1, 2], vec![0.75f32, 0.9]),
        output("det_classes", &[1, 2], vec![3i32, 5]),
    ]
}

#[test]
fn efficient_nms_counts_in_one_axis_or_two() {
    for shape in [&[1, 1][..], &[1]] {
        let outputs = efficient_nms(&output("num_dets", shape, vec![0i32]));
        assert_one(&detections("decode = 'nms-in-graph'", 80, &outputs), 3, 0.75, [16.0, 8.0, 32.0, 16.0]);
    }
    let outputs = efficient_nms(&output("num_dets", &[1, 2], vec![0i32; 2]));
    let said = reader("decode = 'nms-in-graph'", 80, &outputs).expect_err("two counts");
    assert!(said.contains("wants the count num_dets to be [N] or [N, 1]"), "{said}");
}

proptest! {
    #[test]
    fn each_layout_reads_what_was_written(
        found in proptest::collection::vec(
            ((0.0f32..30.0, 0.0f32..30.0, 0.5f32..20.0, 0.5f32..20.0), 0.01f32..1.0, 0usize..80), 0..20)
    ) {
        let found: Vec<Found> =
            found.into_iter().map(|((x, y, w, h), score, class)| ([x, y, x + w, y + h], score, class)).collect();
        // The image is 64×32: across, a pixel of the input is two of the image.
        let mut wanted: Vec<_> = found
            .iter()
            .filter(|found| found.1 >= 0.3)
            .map(|&([a, b, c, d], score, class)| (class, score, [a * 2.0, b, (c * 2.0).min(64.0), d.min(32.0)]))
            .collect();
        wanted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        for decode in LAYOUTS {
            let read = detections(&manifest(decode), 80, &outputs(decode, &found));
            prop_assert_eq!(read.len(), wanted.len(), "{}", decode);
            for (read, (class, score, sides)) in read.iter().zip(&wanted) {
                assert_one(std::slice::from_ref(read), *class, *score, *sides);
            }
        }
    }
}
