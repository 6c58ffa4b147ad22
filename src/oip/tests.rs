//! Requests of every form, and the sentences of those that cannot be read.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::{inference::TensorInputs, vision::tensor::ElementType};

/// Reads a body as a request for a model with one input and two outputs.
fn read_body(body: &Bytes, header_length: Option<usize>) -> Result<InferRequest, OipError> {
    let port = |name: &str| Port { name: name.to_owned(), element: ElementType::F32, shape: vec![None, Some(2)] };
    let (inputs, outputs) = ([port("x")], [port("scores"), port("more")]);
    let signature = ModelSignature { inputs: &inputs, outputs: &outputs, image_input: 0, max_image_bytes: 100 };
    read_http_body(&signature, body, header_length)
}

/// Reads a body of JSON with `binary` behind it.
fn read(json: &str, binary: &[u8]) -> Result<InferRequest, OipError> {
    let body = [json.as_bytes(), binary].concat().into();
    read_body(&body, (!binary.is_empty()).then_some(json.len()))
}

fn refusal(json: &str, binary: &[u8]) -> String {
    let error = read(json, binary).expect_err("refused");
    assert!(!matches!(error, OipError::TooLarge { .. }), "{error:?}");
    error.to_string()
}

fn tensor(request: &InferRequest) -> Vec<f64> {
    match &request.inputs {
        TensorInputs::Tensors(tensors) => tensor_codec::to_f64(&tensors[0].1),
        TensorInputs::Images(_) => unreachable!("pictures"),
    }
}

const TWO: [u8; 8] = [0, 0, 128, 63, 0, 0, 0, 64];

#[test]
fn data_comes_in_json_or_behind_it_or_alone() {
    let request = read(
        r#"{"id":"7","parameters":{"timeout":1500,"variant":"int8","priority":1},
            "inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[[1,2]]}]}"#,
        b"",
    );
    let request = request.expect("read");
    assert_eq!((request.id.as_deref(), request.preference.variant.as_deref()), (Some("7"), Some("int8")));
    assert_eq!((request.time_budget, tensor(&request)), (Some(Duration::from_micros(1500)), vec![1.0, 2.0]));
    assert_eq!(request.outputs[1], RequestedOutput { index: 1, binary: false, classes: None });

    let sized = r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}],
        "parameters":{"binary_data_output":true},
        "outputs":[{"name":"more","parameters":{"binary_data":false}},{"name":"scores","parameters":{"classification":2}}]}"#;
    let request = read(sized, &TWO).expect("read");
    assert_eq!(tensor(&request), [1.0, 2.0]);
    let wanted = [
        RequestedOutput { index: 1, binary: false, classes: None },
        RequestedOutput { index: 0, binary: true, classes: Some(2) },
    ];
    assert_eq!(request.outputs, wanted);

    let alone = read_body(&[TWO, TWO].concat().into(), Some(0)).expect("raw");
    assert_eq!((tensor(&alone), alone.outputs[0].binary), (vec![1.0, 2.0, 1.0, 2.0], true));
}

#[test]
fn encoded_images_come_as_bytes() {
    let images = |request: InferRequest| match request.inputs {
        TensorInputs::Images(images) => images,
        TensorInputs::Tensors(_) => unreachable!("tensors"),
    };
    let unsized_input = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"BYTES"}]}"#;
    assert_eq!(images(read(unsized_input, b"\x03\0\0\0jpg").expect("read")), ["jpg"]);
    let json = r#"{"inputs":[{"name":"x","shape":[2,1],"datatype":"BYTES","data":[["YQ=="],[{"b64":"YmM="}]]}]}"#;
    assert_eq!(images(read(json, b"").expect("read")), ["a", "bc"]);
}

#[test]
fn lies_are_found_before_anything_is_allocated() {
    let body = Bytes::from_static(b"{}");
    let header = |length| read_body(&body, Some(length)).expect_err("refused");
    insta::assert_snapshot!(header(usize::MAX), @"`Inference-Header-Content-Length`: says 18446744073709551615 bytes, but the body has 2");
    insta::assert_snapshot!(header(0), @"2 bytes are no whole number of x f32[?, 2]: send the JSON of the request before the data");
    insta::assert_snapshot!(header(1), @"the JSON of the request cannot be read: EOF while parsing an object at line 1 column 1");

    let input = |rest: &str| format!(r#"{{"inputs":[{{"name":"x",{rest}}}]}}"#);
    let fp32 = |shape: &str, rest: &str| input(&format!(r#""datatype":"FP32","shape":{shape}{rest}"#));
    insta::assert_snapshot!(refusal(&fp32("[-1,2]", r#","data":[1,2]"#), b""), @"`inputs.x`: [-1, 2] is no shape of data");
    insta::assert_snapshot!(refusal(&fp32("[9223372036854775807,9]", r#","data":[1]"#), b""), @"`inputs.x`: [9223372036854775807, 9] has more elements than there can be");
    insta::assert_snapshot!(refusal(&fp32("[99999999999]", ""), &TWO), @"`inputs.x`: 8 bytes came, but FP32 [99999999999] has 399999999996");
    insta::assert_snapshot!(refusal(&fp32("[1,2]", r#","parameters":{"binary_data_size":9}"#), &TWO), @"`inputs.x`: binary_data_size is 9, but only 8 bytes are left");
    insta::assert_snapshot!(refusal(&fp32("[1,2]", r#","parameters":{"binary_data_size":-1}"#), &TWO), @"`inputs.x`: binary_data_size -1 is no number of bytes");
    insta::assert_snapshot!(refusal(&fp32("[1]", r#","parameters":{"binary_data_size":4}"#), &TWO), @"4 bytes are left behind the data of the last input");
    insta::assert_snapshot!(refusal(&fp32("[1,2]", ""), b""), @"`inputs.x`: has neither `data` nor a `binary_data_size`");
    insta::assert_snapshot!(refusal(&fp32("[1e3]", ""), b""), @"the JSON of the request cannot be read: inputs[0].shape[0]: invalid type: floating point `1000.0`, expected i64 at line 1 column 53");
    insta::assert_snapshot!(refusal(&input(r#""datatype":"BYTES","shape":[4294967296]"#), &TWO), @"`inputs.x`: [4294967296] is no shape of 1 to 64 pictures");
    insta::assert_snapshot!(refusal(&input(r#""datatype":"FP23","shape":[1]"#), &TWO), @"`inputs.x`: datatype `FP23` is none of BOOL, UINT8, UINT16, UINT32, UINT64, INT8, INT16, INT32, INT64, FP16, FP32, FP64, BYTES; did you mean `FP32`?");
}

#[test]
fn names_are_checked() {
    let good = r#""inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]"#;
    let with = |rest: &str| refusal(&format!("{{{good},{rest}}}"), b"");
    insta::assert_snapshot!(with(r#""outputs":[{"name":"score"}]"#), @"`outputs.score`: there is no such output; did you mean `scores`?; there are scores, more");
    insta::assert_snapshot!(with(r#""parameters":{"timeout":"soon"}"#), @"`timeout`: is not a whole number of microseconds up to 600000000");
    insta::assert_snapshot!(with(r#""parameters":{"variant":1}"#), @"`variant`: is not a name");
    insta::assert_snapshot!(refusal(r#"{"inputs":[{"shape":[1]}]}"#, b""), @"the JSON of the request cannot be read: inputs[0]: missing field `name` at line 1 column 24");
    insta::assert_snapshot!(refusal("[]", b""), @"the JSON of the request cannot be read: invalid length 0, expected an object with `inputs` at line 1 column 2");
}
