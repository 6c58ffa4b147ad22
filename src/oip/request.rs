//! The body of an inference request: JSON, then the binary data of the inputs that have none in the JSON.

use std::time::Duration;

use axum::body::Bytes;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Value, value::RawValue};

use super::{blobs, elements};
use crate::{
    api::{
        params::{did_you_mean, objective},
        pictures::MOST,
        problem::Problem,
    },
    inference::{ElementType, Priority, ServedModel, Tensor, TensorInputs, VariantPreference},
};

/// A request that was read.
#[derive(Debug)]
pub(super) struct Request {
    /// The client's name for it, echoed.
    pub id: Option<String>,
    /// What is wanted of the variant that answers.
    pub preference: VariantPreference,
    /// How long the answer may take.
    pub budget: Option<Duration>,
    /// Who goes first when requests wait.
    pub priority: Priority,
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
    #[serde(default, deserialize_with = "few")]
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
    #[serde(default, deserialize_with = "few")]
    parameters: Map<String, Value>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    #[serde(default, deserialize_with = "few")]
    parameters: Map<String, Value>,
}

/// Parameters are a few words and numbers. As JSON values they would take many times the bytes that they were sent in.
fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    const MOST_BYTES: usize = 64 << 10;
    let raw = <&RawValue>::deserialize(deserializer)?.get();
    if raw.len() > MOST_BYTES {
        return Err(D::Error::custom(format!("parameters have {} bytes; at most {MOST_BYTES} are read", raw.len())));
    }
    serde_json::from_str(raw).map_err(D::Error::custom)
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

    let default_binary = flag(&json.parameters, "binary_data_output")?.unwrap_or(false);
    Ok(Request {
        id: json.id,
        preference: preference(&json.parameters)?,
        budget: budget(&json.parameters)?,
        priority: priority(&json.parameters)?,
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
        preference: VariantPreference::default(),
        budget: None,
        priority: Priority::default(),
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
    if inputs.len() > model.inputs.len() {
        let why = format!("are {}, but the model has {}", inputs.len(), model.inputs.len());
        return Err(Problem::bad_parameter("inputs", why));
    }
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
    if wanted.len() > model.outputs.len() {
        let why = format!("are {}, but the model has {}", wanted.len(), model.outputs.len());
        return Err(Problem::bad_parameter("outputs", why));
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

fn preference(parameters: &Map<String, Value>) -> Result<VariantPreference, Problem> {
    let number = |name, what, most: f64| {
        optional(parameters, name, what, |value| value.as_f64().filter(|number| (0.0..=most).contains(number)))
    };
    Ok(VariantPreference {
        variant: optional(parameters, "variant", "a name", |value| value.as_str().map(ToOwned::to_owned))?,
        objective: optional(parameters, "objective", "cost, latency or accuracy", |value| objective(value.as_str()?))?,
        min_accuracy: number("min_accuracy", "a number from 0 to 1", 1.0)?,
        max_cost_usd: number("max_cost_usd", "a number of dollars from 0 up", f64::MAX)?,
    })
}

/// `timeout`, in microseconds; 0 is none.
fn budget(parameters: &Map<String, Value>) -> Result<Option<Duration>, Problem> {
    const MOST: u64 = 600_000_000;
    let what = "a whole number of microseconds up to 600000000";
    let timeout = optional(parameters, "timeout", what, |value| value.as_u64().filter(|n| *n <= MOST))?;
    Ok(timeout.filter(|n| *n > 0).map(Duration::from_micros))
}

/// As Triton counts: 1 is the highest; 0, and what is no level here (over 10), is the default.
fn priority(parameters: &Map<String, Value>) -> Result<Priority, Problem> {
    let triton = optional(parameters, "priority", "a whole number", Value::as_u64)?;
    let ours = triton.filter(|n| *n > 0).and_then(|n| 10u8.checked_sub(u8::try_from(n).ok()?));
    Ok(ours.and_then(Priority::new).unwrap_or_default())
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
mod tests;
