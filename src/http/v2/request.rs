//! The body of an inference request: JSON, then the binary data of the inputs that have none in the JSON.

use std::time::Duration;

use axum::body::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::{blobs, elements};
use crate::{
    http::{params::did_you_mean, pictures::MOST, problem::Problem},
    pipeline::{ElementType, ServedModel, Tensor, TensorInputs},
};

/// A request that was read.
#[derive(Debug)]
pub(super) struct Request {
    /// The client's name for it, echoed.
    pub id: Option<String>,
    /// The variant asked for.
    pub variant: Option<String>,
    /// How long the answer may take.
    pub budget: Option<Duration>,
    /// What goes in.
    pub inputs: TensorInputs,
    /// What comes out, in this order.
    pub outputs: Vec<Wanted>,
}

/// An output that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Its place among the model's outputs.
    pub index: usize,
    /// As bytes behind the JSON.
    pub binary: bool,
    /// As the best so many classes, in words.
    pub classes: Option<usize>,
}

/// What the parser must know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Bytes of one picture.
    pub picture: usize,
}

#[derive(Deserialize)]
#[serde(expecting = "an object with `inputs`")]
struct Json<'a> {
    id: Option<String>,
    #[serde(default)]
    parameters: Map<String, Value>,
    #[serde(borrow)]
    inputs: Vec<Input<'a>>,
    #[serde(default)]
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Input<'a> {
    name: String,
    shape: Vec<i64>,
    datatype: String,
    #[serde(default)]
    parameters: Map<String, Value>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    #[serde(default)]
    parameters: Map<String, Value>,
}

/// Reads a body. `header_length` is the JSON's length where the client says one; 0 stands for no JSON at all.
pub(super) fn parse(
    model: &ServedModel,
    body: &Bytes,
    header_length: Option<usize>,
    limits: Limits,
) -> Result<Request, Problem> {
    let length = header_length.unwrap_or(body.len());
    if length > body.len() {
        let why = format!("says {length} bytes, but the body has {}", body.len());
        return Err(Problem::bad_parameter("Inference-Header-Content-Length", why));
    }
    if length == 0 && header_length.is_some() {
        return raw(model, body);
    }
    let (json, binary) = (body.slice(..length), body.slice(length..));
    let mut reader = serde_json::Deserializer::from_slice(&json);
    let json: Json<'_> = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| Problem::bad_body(format!("the JSON of the request cannot be read: {error}")))?;
    reader.end().map_err(|error| Problem::bad_body(format!("the JSON of the request does not end: {error}")))?;

    let variant = optional(&json.parameters, "variant", "a name", |value| value.as_str().map(ToOwned::to_owned))?;
    let default_binary = flag(&json.parameters, "binary_data_output")?.unwrap_or(false);
    Ok(Request {
        id: json.id,
        variant,
        budget: budget(&json.parameters)?,
        inputs: inputs(model, &json.inputs, binary, limits)?,
        outputs: outputs(model, &json.outputs, default_binary)?,
    })
}

/// The bytes of a model's only input, and nothing else. Its shape has at most one free dimension, which their number
/// decides.
fn raw(model: &ServedModel, body: &Bytes) -> Result<Request, Problem> {
    let cannot = |why: &str| Problem::bad_body(format!("{why}: send the JSON of the request before the data"));
    let [port] = model.inputs.as_slice() else { return Err(cannot("the model has several inputs")) };
    let fixed =
        port.shape.iter().flatten().try_fold(port.element.size_bytes(), |product, dim| product.checked_mul(*dim));
    let free = match fixed {
        Some(fixed) if fixed > 0 && body.len().is_multiple_of(fixed) => body.len() / fixed,
        _ => return Err(cannot(&format!("{} bytes are no whole number of {port}", body.len()))),
    };
    if port.shape.iter().filter(|dim| dim.is_none()).count() > 1 {
        return Err(cannot(&format!("{port} leaves more than one dimension free")));
    }
    let shape: Vec<usize> = port.shape.iter().map(|dim| dim.unwrap_or(free)).collect();
    let tensor =
        elements::from_bytes(port.element, &shape, body).map_err(|why| Problem::bad_parameter(&port.name, why))?;
    Ok(Request {
        id: None,
        variant: None,
        budget: None,
        inputs: TensorInputs::Tensors(vec![(port.name.clone(), tensor)]),
        outputs: outputs(model, &[], true)?,
    })
}

fn inputs(
    model: &ServedModel,
    inputs: &[Input<'_>],
    mut binary: Bytes,
    limits: Limits,
) -> Result<TensorInputs, Problem> {
    let mut tensors: Vec<(String, Tensor)> = Vec::with_capacity(inputs.len());
    let mut pictures = None;
    for input in inputs {
        let refuse = |why: String| Problem::bad_parameter(&format!("inputs.{}", input.name), why);
        if input.parameters.contains_key("shared_memory_region") {
            return Err(refuse("shared memory is not offered; send the data".to_owned()));
        }
        if tensors.iter().any(|(name, _)| *name == input.name) {
            return Err(refuse("is given twice; give it once".to_owned()));
        }
        let shape: Vec<usize> = input
            .shape
            .iter()
            .map(|dim| usize::try_from(*dim).map_err(|_| refuse(format!("{:?} is no shape of data", input.shape))))
            .collect::<Result<_, _>>()?;
        let data = match input.data {
            Some(json) => Data::Json(json.get()),
            None => Data::Binary(take(input, inputs.len() == 1, &mut binary).map_err(refuse)?),
        };
        if input.datatype == "BYTES" {
            let name = model.inputs.get(model.picture_input).map_or("", |port| port.name.as_str());
            if input.name != name || inputs.len() != 1 {
                return Err(refuse(format!(
                    "only `{name}` takes encoded pictures (BYTES), and then it is the only input"
                )));
            }
            let count = elements::count(&shape).filter(|count| (1..=MOST).contains(count));
            let count = count.ok_or_else(|| refuse(format!("{shape:?} is no shape of 1 to {MOST} pictures")))?;
            pictures = Some(match data {
                Data::Json(json) => blobs::from_json(&input.name, json, count, limits.picture)?,
                Data::Binary(bytes) => blobs::from_bytes(&input.name, &bytes, count, limits.picture)?,
            });
            continue;
        }
        let element = ElementType::ALL.iter().find(|element| element.oip_name() == input.datatype);
        let element = *element.ok_or_else(|| {
            let known: Vec<_> = ElementType::ALL.iter().map(|element| element.oip_name()).chain(["BYTES"]).collect();
            let hint = did_you_mean(&input.datatype, &known);
            refuse(format!("datatype `{}` is none of {}{hint}", input.datatype, known.join(", ")))
        })?;
        let tensor = match data {
            Data::Json(json) => elements::from_json(element, &shape, json),
            Data::Binary(bytes) => elements::from_bytes(element, &shape, &bytes),
        };
        tensors.push((input.name.clone(), tensor.map_err(refuse)?));
    }
    if !binary.is_empty() {
        return Err(Problem::bad_body(format!("{} bytes are left behind the data of the last input", binary.len())));
    }
    Ok(pictures.map_or(TensorInputs::Tensors(tensors), TensorInputs::Pictures))
}

enum Data<'a> {
    Json(&'a str),
    Binary(Bytes),
}

/// Takes an input's bytes from the front of what is left.
fn take(input: &Input<'_>, only: bool, binary: &mut Bytes) -> Result<Bytes, String> {
    let size = match input.parameters.get("binary_data_size") {
        Some(size) => match size.as_u64().and_then(|size| usize::try_from(size).ok()) {
            Some(size) => size,
            None => return Err(format!("binary_data_size {size} is no number of bytes")),
        },
        None if only && !binary.is_empty() => binary.len(),
        None => return Err("has neither `data` nor a `binary_data_size`".to_owned()),
    };
    if size > binary.len() {
        return Err(format!("binary_data_size is {size}, but only {} bytes are left", binary.len()));
    }
    Ok(binary.split_to(size))
}

fn outputs(model: &ServedModel, wanted: &[Output], default_binary: bool) -> Result<Vec<Wanted>, Problem> {
    if wanted.is_empty() {
        let all = 0..model.outputs.len();
        return Ok(all.map(|index| Wanted { index, binary: default_binary, classes: None }).collect());
    }
    let one = |output: &Output| {
        let name = format!("outputs.{}", output.name);
        let index = model.outputs.iter().position(|port| port.name == output.name).ok_or_else(|| {
            let known: Vec<_> = model.outputs.iter().map(|port| port.name.as_str()).collect();
            let hint = did_you_mean(&output.name, &known);
            Problem::bad_parameter(&name, format!("there is no such output{hint}; there are {}", known.join(", ")))
        })?;
        if output.parameters.contains_key("shared_memory_region") {
            return Err(Problem::bad_parameter(&name, "shared memory is not offered; leave it out"));
        }
        let classes = optional(&output.parameters, "classification", "a whole number from 0 up", |value| {
            value.as_u64().and_then(|n| usize::try_from(n).ok())
        })?;
        let binary = flag(&output.parameters, "binary_data")?.unwrap_or(default_binary);
        Ok(Wanted { index, binary, classes: classes.filter(|n| *n > 0) })
    };
    wanted.iter().map(one).collect()
}

/// `timeout`, in microseconds; 0 is none.
fn budget(parameters: &Map<String, Value>) -> Result<Option<Duration>, Problem> {
    const MOST: u64 = 600_000_000;
    let what = "a whole number of microseconds up to 600000000";
    let timeout = optional(parameters, "timeout", what, |value| value.as_u64().filter(|n| *n <= MOST))?;
    Ok(timeout.filter(|n| *n > 0).map(Duration::from_micros))
}

fn flag(parameters: &Map<String, Value>, name: &str) -> Result<Option<bool>, Problem> {
    optional(parameters, name, "true or false", Value::as_bool)
}

fn optional<T>(
    parameters: &Map<String, Value>,
    name: &str,
    what: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Option<T>, Problem> {
    match parameters.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match read(value) {
            Some(value) => Ok(Some(value)),
            None => Err(Problem::bad_parameter(name, format!("is not {what}"))),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        pipeline::{BatchAxis, Port, ReadDefaults},
        registry::manifest::{Decoding, Task},
    };

    fn model() -> ServedModel {
        let port = |name: &str, shape: &[Option<usize>]| Port {
            name: name.to_owned(),
            element: ElementType::F32,
            shape: shape.to_vec(),
        };
        ServedModel {
            name: "m".to_owned(),
            version: "1".to_owned(),
            task: Task::Classify,
            labels: vec![],
            decoding: Decoding::Softmax,
            defaults: ReadDefaults { min_score: 0.3, iou: 0.5, max_detections: 300, top_k: 5 },
            input_size: (2, 1),
            inputs: vec![port("x", &[None, Some(2)])],
            outputs: vec![port("scores", &[None, Some(2)]), port("more", &[None, Some(2)])],
            picture_input: 0,
            max_batch: 1,
            max_queue: 1,
            batch_axis: BatchAxis::Free,
            variants: vec![],
        }
    }

    /// Reads a body of JSON with `binary` behind it.
    fn read(json: &str, binary: &[u8]) -> Result<Request, Problem> {
        let body = [json.as_bytes(), binary].concat().into();
        parse(&model(), &body, (!binary.is_empty()).then_some(json.len()), Limits { picture: 100 })
    }

    fn refusal(json: &str, binary: &[u8]) -> String {
        let problem = read(json, binary).expect_err("refused");
        assert_eq!(problem.status().as_u16(), 400);
        problem.detail
    }

    fn tensor(request: &Request) -> Vec<f64> {
        match &request.inputs {
            TensorInputs::Tensors(tensors) => elements::to_f64(&tensors[0].1),
            TensorInputs::Pictures(_) => unreachable!("pictures"),
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
        assert_eq!((request.id.as_deref(), request.variant.as_deref()), (Some("7"), Some("int8")));
        assert_eq!((request.budget, tensor(&request)), (Some(Duration::from_micros(1500)), vec![1.0, 2.0]));
        assert_eq!(request.outputs[1], Wanted { index: 1, binary: false, classes: None });

        let sized = r#"{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","parameters":{"binary_data_size":8}}],
            "parameters":{"binary_data_output":true},
            "outputs":[{"name":"more","parameters":{"binary_data":false}},{"name":"scores","parameters":{"classification":2}}]}"#;
        let request = read(sized, &TWO).expect("read");
        assert_eq!(tensor(&request), [1.0, 2.0]);
        let wanted =
            [Wanted { index: 1, binary: false, classes: None }, Wanted { index: 0, binary: true, classes: Some(2) }];
        assert_eq!(request.outputs, wanted);

        let alone = parse(&model(), &[TWO, TWO].concat().into(), Some(0), Limits { picture: 100 }).expect("raw");
        assert_eq!((tensor(&alone), alone.outputs[0].binary), (vec![1.0, 2.0, 1.0, 2.0], true));
    }

    #[test]
    fn pictures_come_as_bytes() {
        let pictures = |request: Request| match request.inputs {
            TensorInputs::Pictures(pictures) => pictures,
            TensorInputs::Tensors(_) => unreachable!("tensors"),
        };
        let unsized_input = r#"{"inputs":[{"name":"x","shape":[1],"datatype":"BYTES"}]}"#;
        assert_eq!(pictures(read(unsized_input, b"\x03\0\0\0jpg").expect("read")), ["jpg"]);
        let json = r#"{"inputs":[{"name":"x","shape":[2,1],"datatype":"BYTES","data":[["YQ=="],[{"b64":"YmM="}]]}]}"#;
        assert_eq!(pictures(read(json, b"").expect("read")), ["a", "bc"]);
    }

    #[test]
    fn lies_are_found_before_anything_is_allocated() {
        let body = Bytes::from_static(b"{}");
        let header = |length| parse(&model(), &body, Some(length), Limits { picture: 9 }).expect_err("refused").detail;
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
}
