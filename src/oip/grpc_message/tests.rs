//! Requests in raw and typed contents, and the sentences of those that cannot be read.

use std::time::Duration;

use super::*;
use crate::{
    inference::TensorInputs,
    oip::tensor_codec,
    vision::tensor::{ElementType, Port},
};

const TWO: [u8; 8] = [0, 0, 128, 63, 0, 0, 0, 64];

/// A field of bytes.
fn field(number: u8, bytes: impl AsRef<[u8]>) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    prost::encoding::encode_varint(bytes.as_ref().len() as u64, &mut field);
    field.extend_from_slice(bytes.as_ref());
    field
}

/// The shape as a pack.
fn shape(dims: &[i64]) -> Vec<u8> {
    let mut pack = Vec::new();
    dims.iter().for_each(|dim| prost::encoding::encode_varint(*dim as u64, &mut pack));
    field(3, pack)
}

fn input(datatype: &str, dims: &[i64], rest: &[u8]) -> Vec<u8> {
    field(5, [field(1, "x"), field(2, datatype), shape(dims), rest.to_vec()].concat())
}

/// Reads a message as a request for a model with one input and two outputs.
fn read(fields: &[Vec<u8>]) -> Result<InferRequest, OipError> {
    let port = |name: &str| Port { name: name.to_owned(), element: ElementType::F32, shape: vec![None, Some(2)] };
    let (inputs, outputs) = ([port("x")], [port("scores"), port("more")]);
    let signature = ModelSignature { inputs: &inputs, outputs: &outputs, image_input: 0, max_image_bytes: 100 };
    read_grpc_message(&signature, &fields.concat().into())
}

fn refusal(fields: &[Vec<u8>]) -> String {
    read(fields).expect_err("refused").to_string()
}

fn tensor(request: &InferRequest) -> Vec<f64> {
    match &request.inputs {
        TensorInputs::Tensors(tensors) => tensor_codec::to_f64(&tensors[0].1),
        TensorInputs::Images(_) => unreachable!("pictures"),
    }
}

#[test]
fn data_comes_raw_or_typed() {
    let parameter = |name: &str, value: &[u8]| field(4, [field(1, name), field(2, value)].concat());
    let raw = read(&[
        field(1, "m"),
        field(3, "7"),
        parameter("timeout", b"\x10\xdc\x0b"),
        parameter("priority", b"\x28\x01"),
        parameter("variant", &field(3, "int8")),
        parameter("min_accuracy", b"\x21\0\0\0\0\0\0\xe0\x3f"),
        input("FP32", &[1, 2], b""),
        field(6, [field(1, "more"), field(2, [field(1, "classification"), field(2, b"\x10\x02")].concat())].concat()),
        field(7, TWO),
    ]);
    let raw = raw.expect("read");
    assert_eq!((raw.id.as_deref(), raw.preference.variant.as_deref()), (Some("7"), Some("int8")));
    assert_eq!((raw.time_budget, raw.preference.min_accuracy), (Some(Duration::from_micros(1500)), Some(0.5)));
    assert_eq!((raw.outputs[0].index, raw.outputs[0].classes, tensor(&raw)), (1, Some(2), vec![1.0, 2.0]));
    assert!(raw.priority > crate::scheduler::job::Priority::default());

    let typed = read(&[input("FP32", &[1, 2], &field(5, field(6, TWO)))]).expect("read");
    assert_eq!((typed.id.as_deref(), typed.outputs.len(), tensor(&typed)), (None, 2, vec![1.0, 2.0]));
}

#[test]
fn encoded_images_come_raw_or_typed() {
    let images = |request: InferRequest| match request.inputs {
        TensorInputs::Images(images) => images,
        TensorInputs::Tensors(_) => unreachable!("tensors"),
    };
    let raw = [input("BYTES", &[2], b""), field(7, b"\x03\0\0\0jpg\x01\0\0\0x")];
    assert_eq!(images(read(&raw).expect("read")), ["jpg", "x"]);
    let typed = [input("BYTES", &[1], &field(5, field(8, "jpg")))];
    assert_eq!(images(read(&typed).expect("read")), ["jpg"]);
}

#[test]
fn the_model_is_known_before_the_rest() {
    let target = GrpcTarget::of(&[field(7, TWO), field(1, "m"), field(2, "3"), field(3, "id")].concat()).expect("read");
    assert_eq!(target, GrpcTarget { model: "m".into(), version: "3".into(), id: "id".into() });
    assert_eq!(GrpcTarget::of(b"").expect("read"), GrpcTarget::default());
    insta::assert_snapshot!(GrpcTarget::of(&field(1, b"\xff")).expect_err("refused"), @"`model_name` is no UTF-8");
    insta::assert_snapshot!(GrpcTarget::of(b"\x0a\x09m").expect_err("refused"), @"the message cannot be read as Protocol Buffers 3 bytes before its end");
}

#[test]
fn lies_are_found_before_anything_is_allocated() {
    let fp32 = |dims: &[i64]| input("FP32", dims, b"");
    let raw = || field(7, TWO);
    insta::assert_snapshot!(refusal(&[fp32(&[1 << 31]), raw()]), @"`inputs.x`: 8 bytes came, but FP32 [2147483648] has 8589934592");
    insta::assert_snapshot!(refusal(&[fp32(&[i64::MAX, 9]), raw()]), @"`inputs.x`: 8 bytes came, but FP32 [9223372036854775807, 9] has more than there can be");
    insta::assert_snapshot!(refusal(&[fp32(&[-1, 2]), raw()]), @"`inputs.x`: [-1, 2] is no shape of data");
    insta::assert_snapshot!(refusal(&[fp32(&[1; 65]), raw()]), @"a shape has more than 64 dimensions");
    insta::assert_snapshot!(refusal(&[input("BYTES", &[1 << 32], b""), raw()]), @"`inputs.x`: [4294967296] is no shape of 1 to 64 pictures");
    insta::assert_snapshot!(refusal(&[[5 << 3 | 2, 0].repeat(65_536)]), @"`inputs`: are 65536, but the model has 1");
    insta::assert_snapshot!(refusal(&[fp32(&[1, 2]), raw().repeat(65_536)]), @"65536 `raw_input_contents` came for 1 inputs; send one for each");
    insta::assert_snapshot!(refusal(&[[6 << 3 | 2, 0].repeat(65_536)]), @"`outputs`: are 65536, but the model has 2");
    insta::assert_snapshot!(refusal(&[[4 << 3 | 2, 0].repeat(65_536)]), @"parameters have more than the 65536 bytes that are read");
    insta::assert_snapshot!(refusal(&[fp32(&[1, 2])]), @"`inputs.x`: has neither typed `contents` nor `raw_input_contents`");
    let typed = || field(5, field(6, TWO));
    insta::assert_snapshot!(refusal(&[input("FP32", &[1, 2], &typed()), raw()]), @"the data comes in `raw_input_contents` and in typed `contents`; send it in one of them");
    insta::assert_snapshot!(refusal(&[input("FP32", &[1, 2], &typed().repeat(2))]), @"an input has `contents` twice; send them once");
    let shared = field(4, [field(1, "shared_memory_region"), field(2, field(3, "../etc"))].concat());
    insta::assert_snapshot!(refusal(&[input("FP32", &[1, 2], &shared)]), @"`inputs.x`: shared memory is not offered; send the data");
    insta::assert_snapshot!(refusal(&[input("FP23", &[1, 2], b""), raw()]), @"`inputs.x`: datatype `FP23` is none of BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, FP32, FP64, BYTES; did you mean `FP32`?");
    insta::assert_snapshot!(refusal(&[b"\x28\x01".to_vec()]), @"`inputs` has another type on the wire than the protocol says");
    insta::assert_snapshot!(refusal(&[b"\xff".to_vec()]), @"the message cannot be read as Protocol Buffers 1 bytes before its end");
}

#[test]
fn no_bytes_make_it_panic() {
    use proptest::prelude::*;
    let good = [input("FP32", &[1, 2], &field(5, field(6, TWO))), field(3, "id"), field(7, TWO)].concat();
    proptest!(|(cut in 0..good.len(), at in 0..good.len(), byte: u8, noise: Vec<u8>)| {
        let mut torn = good.clone();
        torn[at] = byte;
        torn.truncate(cut);
        drop(read(&[torn]));
        drop(read(&[noise]));
    });
}
