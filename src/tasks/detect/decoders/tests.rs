use half::f16;

use crate::{
    tasks::{
        Prediction,
        detect::Detection,
        testing::{TestOutput, output, read, reader},
    },
    vision::bbox::BBox,
};

pub(super) fn detections(toml: &str, labels: usize, outputs: &[TestOutput]) -> Vec<Detection> {
    match read(toml, labels, outputs) {
        Prediction::Detections(candidates) => candidates,
        Prediction::Classes(_) => panic!("classes"),
    }
}

#[track_caller]
pub(super) fn assert_one(candidates: &[Detection], class_id: usize, score: f32, sides: [f32; 4]) {
    let [one] = candidates else { panic!("{candidates:?}") };
    let BBox { x1, y1, x2, y2 } = one.bbox;
    let close = [x1, y1, x2, y2].iter().zip(sides).all(|(a, b)| (a - b).abs() < 0.01);
    assert!(one.class_id == class_id && (one.score - score).abs() < 1e-3 && close, "{one:?}");
}

const YOLOX: &str = "decode = 'yolox'\nstrides = [16, 32]";

#[test]
fn yolox_rows_are_offsets_from_their_cells() {
    // Cells: (0,0) (1,0) (0,1) (1,1) of stride 16, then one of stride 32.
    let mut values = vec![0.0f32; 5 * 7];
    values[3 * 7..4 * 7].copy_from_slice(&[0.25, 0.5, 0.0, 0.5f32.ln(), 0.9, 0.2, 0.8]);
    // Centre (1.25, 1.5)·16 = (20, 24), size (16, 8); x counts double on the image.
    let candidates = detections(YOLOX, 2, &[output("output", &[1, 5, 7], values.clone())]);
    assert_one(&candidates, 1, 0.72, [24.0, 20.0, 56.0, 28.0]);
    values.fill(0.0);
    assert_eq!(detections(YOLOX, 2, &[output("output", &[1, 5, 7], values)]), []);
}

#[test]
fn numbers_that_are_none_never_survive() {
    let nan = vec![f32::NAN; 5 * 7];
    assert_eq!(detections(YOLOX, 2, &[output("output", &[1, 5, 7], nan)]), []);
    let mut values = vec![0.9f32; 5 * 7];
    values.iter_mut().step_by(7).for_each(|x| *x = f32::NAN);
    assert_eq!(detections(YOLOX, 2, &[output("output", &[1, 5, 7], values)]), []);
    let huge = vec![f32::INFINITY; 5 * 7];
    assert_eq!(detections(YOLOX, 2, &[output("output", &[1, 5, 7], huge)]), []);
}

#[test]
fn yolov5_rows_are_input_pixels() {
    let rows = vec![
        16.0f32, 16.0, 8.0, 8.0, 0.5, 0.1, 0.9, 16.5, 16.0, 8.0, 8.0, 0.9, 0.1, 0.9, 4.0, 4.0, 8.0, 8.0, 0.2, 1.0, 1.0,
    ];
    // The second hides the first; the third is no object.
    let candidates = detections("decode = 'yolov5'", 2, &[output("output0", &[1, 3, 7], rows.clone())]);
    assert_one(&candidates, 1, 0.81, [25.0, 12.0, 41.0, 20.0]);
    // Without a batch axis, in half precision.
    let halves = rows.into_iter().map(f16::from_f32).collect();
    assert_eq!(detections("decode = 'yolov5'", 2, &[output("output0", &[3, 7], halves)]).len(), 1);
}

#[test]
fn yolov8_columns_have_no_objectness() {
    let columns = vec![16.0f32, 8.0, 16.0, 8.0, 8.0, 8.0, 8.0, 8.0, 0.9, 0.1, 0.2, 0.25];
    let candidates = detections("decode = 'yolov8'", 2, &[output("output0", &[1, 6, 2], columns)]);
    assert_one(&candidates, 0, 0.9, [24.0, 12.0, 40.0, 20.0]);
    assert_eq!(detections("decode = 'yolov8'", 2, &[output("output0", &[1, 6, 0], Vec::<f32>::new())]), []);
}

#[test]
fn boxes_are_clipped_to_the_image() {
    let columns = vec![0.0f32, 16.0, 200.0, 8.0, 0.9];
    let candidates = detections("decode = 'yolov8'", 1, &[output("output0", &[1, 5, 1], columns)]);
    assert_one(&candidates, 0, 0.9, [0.0, 12.0, 64.0, 20.0]);
}

#[test]
fn integer_outputs_are_dequantised() {
    let columns: Vec<u8> = vec![26, 26, 18, 18, 100];
    let toml = "decode = 'yolov8'\nscale = 1.0\nzero_point = 10";
    let candidates = detections(toml, 1, &[output("output0", &[1, 5, 1], columns)]);
    assert_one(&candidates, 0, 90.0, [24.0, 12.0, 40.0, 20.0]);
}

#[test]
fn boxes_beside_the_image_take_no_place() {
    let columns = vec![-50.0f32, 16.0, 16.0, 16.0, 8.0, 8.0, 8.0, 8.0, 0.9, 0.5];
    let candidates = detections("decode = 'yolov8'\nmax_detections = 1", 1, &[output("output0", &[1, 5, 2], columns)]);
    assert_one(&candidates, 0, 0.5, [24.0, 12.0, 40.0, 20.0]);
}

/// 32×32 with strides 16 and 32: 4 cells and 1 cell; two bins a side.
fn nanodet(names: [&str; 4]) -> Vec<TestOutput> {
    let mut classes = vec![0.0f32; 4 * 3];
    classes[3 * 3 + 2] = 0.7;
    let mut distances = vec![0.0f32; 4 * 8];
    // The last cell's right side is surely bin 1, the others are half way.
    distances[3 * 8 + 4..3 * 8 + 6].copy_from_slice(&[-50.0, 50.0]);
    vec![
        output(names[0], &[1, 4, 3], classes),
        output(names[1], &[1, 1, 3], vec![0.0f32; 3]),
        output(names[2], &[1, 4, 8], distances),
        output(names[3], &[1, 1, 8], vec![0.0f32; 8]),
    ]
}

#[test]
fn nanodet_distances_are_expectations() {
    let toml = "decode = 'nanodet'\nstrides = [16, 32]";
    let named = ["cls_pred_stride_16", "cls_pred_stride_32", "dis_pred_stride_16", "dis_pred_stride_32"];
    for names in [named, ["a", "b", "c", "d"]] {
        // Centre 1.5·16 − 0.5 = 23.5; left, top, bottom 8, right 16.
        assert_one(&detections(toml, 3, &nanodet(names)), 2, 0.7, [31.0, 15.5, 64.0, 31.5]);
    }
    let said = reader(toml, 5, &nanodet(named)).expect_err("five labels");
    assert!(
        said.contains("for the stride 16 an output [N, 4, 5]") && said.contains("cls_pred_stride_16 f32[1, 4, 3]"),
        "{said}"
    );
}

#[test]
fn fastestdet_weighs_objectness_and_class() {
    let mut grid = vec![0.0f32; 7 * 4];
    let mut set = |channel: usize, value: f32| grid[channel * 4 + 3] = value;
    set(0, 0.5);
    set(6, 0.25);
    set(1, 0.5493); // tanh = 0.5
    let score = 0.5f32.powf(0.6) * 0.25f32.powf(0.4);
    // Centre ((1 + 0.5) / 2, 1 / 2), size 1/2: of 64×32.
    let candidates = detections("decode = 'fastestdet'", 2, &[output("758", &[1, 7, 2, 2], grid)]);
    assert_one(&candidates, 1, score, [32.0, 8.0, 64.0, 24.0]);
}

fn ssd(names: [&str; 4], count: f32) -> Vec<TestOutput> {
    vec![
        output(names[0], &[1, 2, 4], vec![0.25f32, 0.5, 0.75, 1.0, 0.0, 0.0, 1.0, 1.0]),
        output(names[1], &[1, 2], vec![16.0f32, 3.0]),
        output(names[2], &[1, 2], vec![0.8f32, 0.9]),
        output(names[3], &[1], vec![count]),
    ]
}

#[test]
fn ssd_boxes_are_top_left_first_and_counted() {
    let unnamed = ["PostProcess", "PostProcess:1", "PostProcess:2", "PostProcess:3"];
    assert_one(&detections("decode = 'ssd'", 90, &ssd(unnamed, 1.0)), 16, 0.8, [32.0, 8.0, 64.0, 24.0]);
    let both = detections("decode = 'ssd'", 90, &ssd(unnamed, 2.0));
    assert_eq!(both.iter().map(|candidates| candidates.class_id).collect::<Vec<_>>(), [3, 16]);
    assert_eq!(detections("decode = 'ssd'", 90, &ssd(unnamed, 0.0)), []);
    assert_eq!(detections("decode = 'ssd'", 90, &ssd(unnamed, f32::NAN)), []);
    let mut named = ssd(["detection_boxes:0", "detection_classes:0", "detection_scores:0", "num_detections:0"], 1.0);
    named.reverse();
    assert_eq!(detections("decode = 'ssd'", 90, &named).len(), 1);
}

#[test]
fn boxes_and_scores_may_have_a_background() {
    let outputs = |order: [usize; 2]| {
        let mut both = [
            Some(output("scores", &[1, 2, 2], vec![0.2f32, 0.8, 0.9, 0.1])),
            Some(output("boxes", &[1, 2, 4], vec![0.25f32, 0.25, 0.5, 0.5, 0.0, 0.0, 1.0, 1.0])),
        ];
        order.map(|i| both[i].take().expect("once"))
    };
    let toml = "decode = 'boxes-scores'\nbackground = 0";
    for order in [[0, 1], [1, 0]] {
        // Two labels: the background has one. One label: it has none, and the face is class 0.
        assert_one(&detections(toml, 2, &outputs(order)), 1, 0.8, [16.0, 8.0, 32.0, 16.0]);
        assert_one(&detections(toml, 1, &outputs(order)), 0, 0.8, [16.0, 8.0, 32.0, 16.0]);
    }
    let said = reader("decode = 'boxes-scores'\nbackground = 7", 2, &outputs([0, 1])).expect_err("refused");
    assert!(said.contains("output.background is 7"), "{said}");
    let said = reader(toml, 5, &outputs([0, 1])).expect_err("refused");
    assert!(said.contains("scores [N, n, 5]") && said.contains("scores f32[1, 2, 2]"), "{said}");
}

#[test]
fn raw_detr_heads_are_activated() {
    let toml = "decode = 'boxes-scores'\nactivation = 'softmax'\nbackground = 2\nbox_format = 'cxcywh'\niou = 1.0";
    let outputs = [
        output("logits", &[1, 1, 3], vec![0.0f32, 2.0, 0.0]),
        output("pred_boxes", &[1, 1, 4], vec![0.5f32, 0.5, 0.5, 0.5]),
    ];
    let score = 2f32.exp() / (2f32.exp() + 2.0);
    assert_one(&detections(toml, 2, &outputs), 1, score, [16.0, 8.0, 48.0, 24.0]);
}

#[test]
fn detr_boxes_are_image_pixels_and_may_overlap() {
    let outputs = [
        output("labels", &[1, 3], vec![5i64, 5, -1]),
        output("boxes", &[1, 3, 4], [[10.0f32, 10.0, 20.0, 20.0]; 3].concat()),
        output("scores", &[1, 3], vec![0.6f32, 0.9, 0.95]),
    ];
    let candidates = detections("decode = 'detr'", 80, &outputs);
    assert_eq!(
        candidates.iter().map(|candidates| (candidates.class_id, candidates.score)).collect::<Vec<_>>(),
        [(5, 0.9), (5, 0.6)]
    );
    assert_eq!(candidates[0].bbox, BBox { x1: 10.0, y1: 10.0, x2: 20.0, y2: 20.0 });
    assert_eq!(detections("decode = 'detr'\nmax_detections = 1", 80, &outputs).len(), 1);
}

#[test]
fn nms_in_graph_may_find_nothing() {
    let outputs = |k: usize| {
        let boxes = [[8.0f32, 8.0, 16.0, 16.0]].repeat(k).concat();
        let mut outputs =
            vec![output("b", &[k, 4], boxes), output("s", &[k], vec![0.5f32; k]), output("l", &[k], vec![1i64; k])];
        outputs.iter_mut().for_each(|output| output.port.shape[0] = None);
        outputs
    };
    assert_one(&detections("decode = 'nms-in-graph'", 2, &outputs(1)), 1, 0.5, [16.0, 8.0, 32.0, 16.0]);
    assert_eq!(detections("decode = 'nms-in-graph'", 2, &outputs(0)), []);
    let said = reader("decode = 'nms-in-graph'\nnames = { scores = 'conf' }", 2, &outputs(1)).expect_err("no conf");
    assert!(said.contains("an output named conf"), "{said}");
}

#[test]
fn misfits_are_refused_with_both_shapes() {
    let one = |shape: &[usize]| [output("out", shape, vec![0.0f32; shape.iter().product()])];
    let cases = [
        (YOLOX, 2, &[1, 5, 8][..], "wants one output [N, 5, 7]"),
        (YOLOX, 2, &[1, 6, 7], "wants one output [N, 5, 7]"),
        ("decode = 'yolov5'", 80, &[1, 10, 84], "wants one output [N, n, 85] (5 + 80 labels)"),
        ("decode = 'yolov8'", 80, &[1, 10, 84], "wants one output [N, 84, n] (4 + 80 labels)"),
        ("decode = 'fastestdet'", 1, &[1, 5, 2, 2], "wants one output [N, 6, rows, columns]"),
        ("decode = 'ssd'", 1, &[1, 10, 4], "wants boxes [N, K, 4], classes [N, K]"),
        ("decode = 'detr'", 1, &[1, 10, 4], "wants boxes [N, K, 4], scores [N, K] and labels [N, K]"),
    ];
    for (toml, labels, shape, reason) in cases {
        let said = reader(toml, labels, &one(shape)).expect_err("refused");
        assert!(said.contains(reason) && said.contains("the graph has: out f32[1, "), "{said}");
    }
}

#[test]
fn picodet_cells_lie_half_a_pixel_further() {
    let toml = "decode = 'picodet'\nstrides = [16, 32]";
    let names = ["a", "b", "c", "d"];
    // Centre 1.5·16 = 24; left, top, bottom 8, right 16.
    assert_one(&detections(toml, 3, &nanodet(names)), 2, 0.7, [32.0, 16.0, 64.0, 32.0]);
    let said = reader("decode = 'picodet'\nstrides = [16]", 3, &nanodet(names)).expect_err("a stride too few");
    assert!(said.contains("two outputs a stride, so 2 for output.strides, which has 1 (PicoDet has"), "{said}");
}

#[test]
fn nanodet_plus_counts_from_the_corners_of_cells() {
    let toml = "decode = 'nanodet-plus'\nstrides = [16, 32]";
    let row = 2 + 32;
    let mut values = vec![0.0f32; 5 * row];
    // The cell at (1, 0) of stride 16: x = 16, y = 0. Sides of bins 0.5, 0, 0.75, 1.5 by two even neighbours or one.
    let cell = &mut values[row..2 * row];
    cell.fill(-60.0);
    cell[..2].copy_from_slice(&[0.1, 0.7]);
    let mut bins = |side: usize, bins: &[usize]| bins.iter().for_each(|bin| cell[2 + side * 8 + bin] = 60.0);
    bins(0, &[0, 1]);
    bins(1, &[0]);
    bins(2, &[0, 1]);
    bins(3, &[1, 2]);
    // Left 8, top 0, right 8, bottom 24 of the input.
    let output0 = output("output", &[1, 5, row], values);
    assert_one(&detections(toml, 2, &[output0]), 1, 0.7, [16.0, 0.0, 48.0, 24.0]);
    let misfit = [output("output", &[1, 21, 34], vec![0.0f32; 21 * 34])];
    let said = reader(toml, 2, &misfit).expect_err("other strides");
    assert!(said.contains("wants one output [N, 5, 34] (the cells of output.strides [16, 32]"), "{said}");
    assert!(reader("decode = 'nanodet-plus'", 6, &misfit).is_err(), "34 numbers are no 6 labels and 28 bins");
}

#[test]
fn fastestv2_cells_have_three_anchors() {
    let row = 15 + 2;
    let mut values = vec![0.0f32; 5 * row];
    // The second anchor of the last cell of stride 16, at (1, 1): centre (2·0.25 − 0.5 + 1)·16 = 16.
    let cell = &mut values[3 * row..4 * row];
    cell[4..8].copy_from_slice(&[0.25, 0.25, 0.5, 0.25]);
    cell[12..17].copy_from_slice(&[0.0, 0.9, 0.0, 0.2, 0.8]);
    let toml = "decode = 'yolo-fastestv2'\nanchors = [[1, 1], [12, 16], [1, 1], [1, 1], [1, 1], [20, 8]]";
    // Size (1²·12, 0.5²·16); x counts double on the image.
    let wanted = [20.0, 14.0, 44.0, 18.0];
    for shape in [&[5, row][..], &[1, 5, row]] {
        let whole = [output("output", shape, values.clone())];
        assert_one(&detections(toml, 2, &whole), 1, 0.72, wanted);
        assert_eq!(reader(toml, 2, &whole).expect("fits").0.why_single().is_some(), shape.len() == 2);
    }
    let two = |values: &[f32]| {
        [
            output("794", &[1, 2, 2, row], values[..4 * row].to_vec()),
            output("796", &[1, 1, 1, row], values[4 * row..].to_vec()),
        ]
    };
    assert_one(&detections(toml, 2, &two(&values)), 1, 0.72, wanted);
    // The third anchor of stride 32, of COCO without a word: 279.92 wide.
    let mut values = vec![0.0f32; 5 * row];
    let cell = &mut values[4 * row..];
    cell[8..12].copy_from_slice(&[0.5, 0.5, 0.025, 0.5]);
    cell[12..17].copy_from_slice(&[0.0, 0.0, 1.0, 0.5, 0.1]);
    let (half, coco) = (0.05f32.powi(2) * 279.92 / 2.0, "decode = 'yolo-fastestv2'");
    let wanted = [2.0 * (16.0 - half), 0.0, 2.0 * (16.0 + half), 32.0];
    assert_one(&detections(coco, 2, &two(&values)), 0, 0.5, wanted);
    assert_one(&detections(coco, 2, &[output("output", &[5, row], values.clone())]), 0, 0.5, wanted);
    let said = reader(coco, 3, &two(&values)).expect_err("three labels");
    assert!(said.contains("wants one output [5, 18], or two [N, 2, 2, 18] and [N, 1, 1, 18]"), "{said}");
    let said = reader(
        "decode = 'yolo-fastestv2'\nanchors = [[1, 1], [0, 1], [1, 1], [1, 1], [1, 1], [1, 1]]",
        2,
        &two(&values),
    );
    assert!(said.is_err_and(|said| said.contains("output.anchors wants widths and heights above 0")));
}
