//! Graphs made by hand, and what becomes of them.

use super::*;

fn value(number: u32, name: &str, first: Field) -> Field {
    let nested = onnx::VALUE_FIRST_DIM.iter().rev().fold(first, |inner, step| message(*step, &list([inner])));
    message(number, &list([bytes(onnx::VALUE_NAME, name), nested]))
}

fn fixed(number: u32, name: &str, size: u64) -> Field {
    value(number, name, integer(onnx::DIM_VALUE, size))
}

fn weight(name: &str, numbers: [i64; 2]) -> Field {
    let numbers = numbers.map(|number| integer(onnx::TENSOR_INT64_DATA, number.cast_unsigned()));
    let rest = [integer(onnx::TENSOR_DIMS, 2), integer(onnx::TENSOR_DATA_TYPE, 7), bytes(onnx::TENSOR_NAME, name)];
    message(onnx::GRAPH_INITIALIZER, &list(numbers.into_iter().chain(rest)))
}

fn node(op_type: &str, inputs: &[&str], output: &str, more: Option<Field>) -> Field {
    let inputs = inputs.iter().map(|name| bytes(onnx::NODE_INPUT, *name));
    let rest = [bytes(onnx::NODE_OUTPUT, output), bytes(onnx::NODE_OP_TYPE, op_type)];
    message(onnx::GRAPH_NODE, &list(rest.into_iter().chain(more).chain(inputs)))
}

fn model(fields: &[Field]) -> Vec<u8> {
    written(&list([message(onnx::MODEL_GRAPH, &list(fields.iter().cloned()))]))
}

/// One image `x` and a weight `w` are reshaped by the same constant `t`.
fn fields() -> [Field; 8] {
    [
        node("Reshape", &["x", "t"], "y", None),
        node("Reshape", &["w", "t"], "v", None),
        weight("t", [1, -1]),
        weight("w", [7, 7]),
        fixed(onnx::GRAPH_INPUT, "x", 1),
        fixed(onnx::GRAPH_INPUT, "w", 1),
        fixed(onnx::GRAPH_OUTPUT, "y", 1),
        fixed(onnx::GRAPH_VALUE_INFO, "v", 1),
    ]
}

#[test]
fn shapes_are_freed_and_only_the_reshape_of_the_image_is_changed() {
    let [_, of_weight, t, w, _, listed, ..] = fields();
    let free_dim = || bytes(onnx::DIM_PARAM, BATCH);
    let expected = [
        message(onnx::GRAPH_NODE, &constant("batch/0/t", &[0, -1])),
        node("Reshape", &["x", "batch/0/t"], "y", None),
        of_weight,
        t,
        w,
        value(onnx::GRAPH_INPUT, "x", free_dim()),
        listed,
        value(onnx::GRAPH_OUTPUT, "y", free_dim()),
    ];
    assert_eq!(free(&model(&fields())), Ok(model(&expected)));
}

#[test]
fn the_dimension_that_grows_with_the_batch_is_left_open() {
    assert_eq!(batched_target(&[1, 85, -1]), Some(vec![0, 85, -1]));
    assert_eq!(batched_target(&[1, 2, 58, 52, 52]), Some(vec![-1, 2, 58, 52, 52]));
    assert_eq!(batched_target(&[58, 2, 2704]), Some(vec![-1, 2, 2704]));
    assert_eq!(batched_target(&[2, 1, 58, 52, 52]), Some(vec![2, -1, 58, 52, 52]));
    for right in [&[2, -1, 58, 52, 52][..], &[0, 85, 2704], &[-1, 64], &[]] {
        assert_eq!(batched_target(right), None, "{right:?}");
    }
}

#[test]
fn what_cannot_be_freed_is_refused_with_the_reason() {
    let external = list([bytes(onnx::TENSOR_EXTERNAL_DATA, "")]);
    let allowzero = list([bytes(onnx::ATTRIBUTE_NAME, "allowzero"), integer(onnx::ATTRIBUTE_INT, 1)]);
    let allowzero = message(onnx::NODE_ATTRIBUTE, &allowzero);
    for (field, reason) in [
        (message(onnx::GRAPH_INITIALIZER, &external), "its weights are in a file beside it"),
        (fixed(onnx::GRAPH_OUTPUT, "z", 8), "its input or output `z` has 8 as its first dimension, not 1"),
        (node("NonMaxSuppression", &["y"], "z", None), "it picks its boxes itself (NonMaxSuppression)"),
        (node("Reshape", &["x", "t"], "z", Some(allowzero)), "its Reshape `` takes a 0 as a size (allowzero)"),
    ] {
        assert_eq!(free(&model(&[&fields()[..], &[field]].concat())), Err(reason.into()));
    }
    assert_eq!(free(&model(&[])), Err("none of its inputs is fixed at one picture".into()));
}

#[test]
fn unknown_fields_stay_and_damaged_bytes_are_refused_or_freed() {
    let whole = model(&fields());
    let unknown = written(&list([bytes(4321, "new"), integer(4322, 5)]));
    let freed = free(&whole).expect("freed");
    assert_eq!(free(&[whole.as_slice(), &unknown].concat()), Ok([freed, unknown].concat()));
    for (place, flip) in (0..whole.len()).flat_map(|place| [0, 1, 2, 8, 128, 255].map(|flip| (place, flip))) {
        let mut damaged = whole.clone();
        damaged[place] ^= flip;
        let _ = (free(&damaged), free(&damaged[..place]));
    }
    assert!(free(&vec![0x0b; 1 << 20]).is_err(), "groups in groups");
}

#[test]
fn a_constant_that_is_no_shape_is_not_copied_for_each_reshape() {
    let long = list([
        integer(onnx::TENSOR_DIMS, 10_000),
        integer(onnx::TENSOR_DATA_TYPE, 7),
        bytes(onnx::TENSOR_NAME, "t"),
        bytes(onnx::TENSOR_RAW_DATA, [1, 0, 0, 0, 0, 0, 0, 0].repeat(10_000)),
    ]);
    let mut fields = vec![message(onnx::GRAPH_INITIALIZER, &long), fixed(onnx::GRAPH_INPUT, "x", 1)];
    fields.extend((0..1000).map(|_| node("Reshape", &["x", "t"], "y", None)));
    let whole = model(&fields);
    assert!(free(&whole).expect("freed").len() < whole.len() + 100, "80 kB a Reshape would be 80 MB");
}
