//! A request over gRPC: the message `ModelInferRequest`, with raw or typed contents. Field numbers are those of
//! `proto/open_inference.proto`.

use bytes::Bytes;
use serde_json::{Map, Number, Value};

use super::{
    InferRequest, ModelSignature, OipError, RawInferRequest, RawInput, RawOutput, RawTensor,
    parameters::{MAX_PARAMETERS_BYTES, Parameters},
    protobuf::{Fields, WireValue, wrong_type},
    request::{refuse_shared_memory, refuse_too_many},
};

/// The most dimensions that are kept of a shape; no model has so many.
const MAX_DIMENSIONS: usize = 64;

/// What a request is for, which is known before it is held against a model.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct GrpcTarget {
    /// The model's name.
    pub model: String,
    /// The version that is wanted; empty for the one that is served.
    pub version: String,
    /// The client's name for the request; empty when it has none.
    pub id: String,
}

impl GrpcTarget {
    /// Reads what a message is for.
    ///
    /// # Errors
    /// When the message is no `ModelInferRequest`.
    pub fn of(message: &[u8]) -> Result<Self, OipError> {
        let mut target = Self::default();
        for field in Fields::of(message) {
            let (number, value) = field.map_err(OipError::BadBody)?;
            let into = match number {
                1 => (&mut target.model, "model_name"),
                2 => (&mut target.version, "model_version"),
                3 => (&mut target.id, "id"),
                _ => continue,
            };
            *into.0 = value.text(into.1).map_err(OipError::BadBody)?.to_owned();
        }
        Ok(target)
    }
}

/// Reads a message, and holds it against the model that it is for.
///
/// # Errors
/// When the message is not what the protocol says, or does not fit the model.
pub fn read_grpc_message(signature: &ModelSignature<'_>, message: &Bytes) -> Result<InferRequest, OipError> {
    let mut read = Message::default();
    for field in Fields::of(message) {
        field.and_then(|(number, value)| read.take(signature, number, value)).map_err(OipError::BadBody)?;
    }
    refuse_too_many("inputs", read.inputs_came, signature.inputs.len())?;
    refuse_too_many("outputs", read.outputs_came, signature.outputs.len())?;
    let outputs = read.outputs.iter().map(|bytes| output(bytes)).collect::<Result<_, _>>();
    let raw = RawInferRequest {
        id: read.id.filter(|id| !id.is_empty()).map(ToOwned::to_owned),
        parameters: read.parameters.read().map_err(OipError::BadBody)?,
        outputs: outputs.map_err(OipError::BadBody)?,
        inputs: inputs(message, &read.inputs, &read.raw, read.raw_came)?,
    };
    InferRequest::from_raw(signature, raw)
}

/// The parts of a message. Of what comes too often, only the number is kept.
#[derive(Default)]
struct Message<'a> {
    id: Option<&'a str>,
    parameters: Entries<'a>,
    inputs: Vec<&'a [u8]>,
    inputs_came: usize,
    outputs: Vec<&'a [u8]>,
    outputs_came: usize,
    raw: Vec<&'a [u8]>,
    raw_came: usize,
}

impl<'a> Message<'a> {
    fn take(&mut self, signature: &ModelSignature<'_>, number: u32, value: WireValue<'a>) -> Result<(), String> {
        match number {
            3 => self.id = Some(value.text("id")?),
            4 => self.parameters.take(value.bytes("parameters")?)?,
            5 => keep(&mut self.inputs, &mut self.inputs_came, signature.inputs.len(), value.bytes("inputs")?),
            6 => keep(&mut self.outputs, &mut self.outputs_came, signature.outputs.len(), value.bytes("outputs")?),
            7 => keep(&mut self.raw, &mut self.raw_came, signature.inputs.len(), value.bytes("raw_input_contents")?),
            _ => {}
        }
        Ok(())
    }
}

fn keep<'a>(kept: &mut Vec<&'a [u8]>, came: &mut usize, most: usize, bytes: &'a [u8]) {
    *came += 1;
    if *came <= most {
        kept.push(bytes);
    }
}

/// Gives each input its elements: all from typed contents, or all from `raw_input_contents`.
fn inputs<'a>(
    message: &Bytes,
    inputs: &[&'a [u8]],
    raw: &[&'a [u8]],
    raw_came: usize,
) -> Result<Vec<RawInput<'static>>, OipError> {
    let read = inputs.iter().map(|bytes| Input::of(bytes)).collect::<Result<Vec<_>, _>>().map_err(OipError::BadBody)?;
    let refuse = |why: String| Err(OipError::BadBody(why));
    for input in &read {
        refuse_shared_memory(&format!("inputs.{}", input.name), &input.parameters, "send the data")?;
    }
    if raw_came > 0 && read.iter().any(|input| input.contents.is_some()) {
        return refuse(
            "the data comes in `raw_input_contents` and in typed `contents`; send it in one of them".to_owned(),
        );
    }
    if raw_came > 0 && raw_came != read.len() {
        return refuse(format!("{raw_came} `raw_input_contents` came for {} inputs; send one for each", read.len()));
    }
    let with_data = |(i, input): (usize, Input<'a>)| {
        let Input { name, datatype, shape, parameters, contents } = input;
        let data = match (contents, raw.get(i)) {
            (Some(contents), _) => RawTensor::Contents(message.slice_ref(contents)),
            (None, Some(raw)) => RawTensor::Bytes(message.slice_ref(raw)),
            (None, None) => {
                let why = "has neither typed `contents` nor `raw_input_contents`";
                return Err(OipError::parameter(format!("inputs.{name}"), why));
            }
        };
        Ok(RawInput { name: name.to_owned(), shape, datatype: datatype.to_owned(), parameters, data })
    };
    read.into_iter().enumerate().map(with_data).collect()
}

/// The message `InferInputTensor`.
struct Input<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: Vec<i64>,
    parameters: Parameters,
    contents: Option<&'a [u8]>,
}

impl<'a> Input<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, String> {
        let (mut name, mut datatype, mut shape, mut contents) = ("", "", Vec::new(), None);
        let mut entries = Entries::default();
        for field in Fields::of(bytes) {
            match field? {
                (1, value) => name = value.text("name")?,
                (2, value) => datatype = value.text("datatype")?,
                (3, value) => {
                    for dim in value.varints("shape")? {
                        // On the wire, a negative number is its two's complement.
                        shape.push(dim? as i64);
                        if shape.len() > MAX_DIMENSIONS {
                            return Err(format!("a shape has more than {MAX_DIMENSIONS} dimensions"));
                        }
                    }
                }
                (4, value) => entries.take(value.bytes("parameters")?)?,
                (5, value) if contents.is_none() => contents = Some(value.bytes("contents")?),
                (5, _) => return Err("an input has `contents` twice; send them once".to_owned()),
                _ => {}
            }
        }
        Ok(Self { name, datatype, shape, parameters: entries.read()?, contents })
    }
}

/// The message `InferRequestedOutputTensor`.
fn output(bytes: &[u8]) -> Result<RawOutput, String> {
    let (mut name, mut entries) = ("", Entries::default());
    for field in Fields::of(bytes) {
        match field? {
            (1, value) => name = value.text("name")?,
            (2, value) => entries.take(value.bytes("parameters")?)?,
            _ => {}
        }
    }
    Ok(RawOutput { name: name.to_owned(), parameters: entries.read()? })
}

/// The entries of a map of parameters, which are a few words and numbers, up to a limit of bytes.
#[derive(Default)]
struct Entries<'a> {
    bytes: usize,
    entries: Vec<&'a [u8]>,
}

impl<'a> Entries<'a> {
    fn take(&mut self, entry: &'a [u8]) -> Result<(), String> {
        // An entry has two bytes at least, those of its own key and length.
        self.bytes += entry.len() + 2;
        if self.bytes > MAX_PARAMETERS_BYTES {
            return Err(format!("parameters have more than the {MAX_PARAMETERS_BYTES} bytes that are read"));
        }
        self.entries.push(entry);
        Ok(())
    }

    fn read(&self) -> Result<Parameters, String> {
        let mut parameters = Map::new();
        for entry in &self.entries {
            let (mut key, mut value) = ("", Value::Null);
            for field in Fields::of(entry) {
                match field? {
                    (1, name) => key = name.text("parameters")?,
                    (2, parameter) => value = parameter_value(parameter.bytes("parameters")?)?,
                    _ => {}
                }
            }
            parameters.insert(key.to_owned(), value);
        }
        Ok(parameters)
    }
}

/// The message `InferParameter`.
fn parameter_value(bytes: &[u8]) -> Result<Value, String> {
    let mut parameter = Value::Null;
    for field in Fields::of(bytes) {
        parameter = match field? {
            (1, WireValue::Varint(flag)) => Value::Bool(flag != 0),
            (2, WireValue::Varint(number)) => Value::from(number as i64),
            (3, value) => Value::from(value.text("string_param")?),
            (4, WireValue::Fixed64(bytes)) => {
                let number = Number::from_f64(f64::from_le_bytes(bytes));
                number.map(Value::Number).ok_or("a parameter is no finite number")?
            }
            (5, WireValue::Varint(number)) => Value::from(number),
            (1..=5, _) => return Err(wrong_type("parameters")),
            _ => continue,
        };
    }
    Ok(parameter)
}

#[cfg(test)]
mod tests;
