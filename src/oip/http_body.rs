//! The body of a request over HTTP: JSON, then the binary data of the inputs that have none in the JSON.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Value, value::RawValue};

use super::{
    InferRequest, ModelSignature, OipError, RawInferRequest, RawInput, RawOutput, RawTensor,
    parameters::{MAX_PARAMETERS_BYTES, Parameters},
    request::refuse_shared_memory,
};

/// The header that says how long the JSON is, as refusals call it.
pub const HEADER_LENGTH: &str = "Inference-Header-Content-Length";

#[derive(Deserialize)]
#[serde(expecting = "an object with `inputs`")]
struct RequestJson<'a> {
    id: Option<String>,
    #[serde(default, deserialize_with = "bounded_map")]
    parameters: Parameters,
    #[serde(borrow)]
    inputs: Vec<InputJson<'a>>,
    #[serde(default)]
    outputs: Vec<WantedOutputJson>,
}

#[derive(Deserialize)]
struct InputJson<'a> {
    name: String,
    shape: Vec<i64>,
    datatype: String,
    #[serde(default, deserialize_with = "bounded_map")]
    parameters: Parameters,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WantedOutputJson {
    name: String,
    #[serde(default, deserialize_with = "bounded_map")]
    parameters: Parameters,
}

/// Reads parameters, which are a few words and numbers, up to a limit of bytes.
fn bounded_map<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?.get();
    if raw.len() > MAX_PARAMETERS_BYTES {
        let why = format!("parameters have {} bytes; at most {MAX_PARAMETERS_BYTES} are read", raw.len());
        return Err(D::Error::custom(why));
    }
    serde_json::from_str(raw).map_err(D::Error::custom)
}

/// Reads the body of a request. `header_length` is the JSON's length where the client says one; 0 stands for no JSON at all.
///
/// # Errors
/// When the body is not what the protocol says, or does not fit the model.
pub fn read_http_body(
    signature: &ModelSignature<'_>,
    body: &Bytes,
    header_length: Option<usize>,
) -> Result<InferRequest, OipError> {
    let length = header_length.unwrap_or(body.len());
    if length > body.len() {
        let why = format!("says {length} bytes, but the body has {}", body.len());
        return Err(OipError::parameter(HEADER_LENGTH, why));
    }
    if length == 0 && header_length.is_some() {
        return InferRequest::from_tensor_bytes(signature, body);
    }
    let (json, binary) = (body.slice(..length), body.slice(length..));
    let mut reader = serde_json::Deserializer::from_slice(&json);
    let json: RequestJson<'_> = serde_path_to_error::deserialize(&mut reader)
        .map_err(|error| OipError::BadBody(format!("the JSON of the request cannot be read: {error}")))?;
    reader.end().map_err(|error| OipError::BadBody(format!("the JSON of the request does not end: {error}")))?;
    InferRequest::from_raw(signature, json.with_tail(binary)?)
}

impl<'a> RequestJson<'a> {
    /// Gives each input without `data` its bytes from the tail behind the JSON.
    fn with_tail(self, mut tail: Bytes) -> Result<RawInferRequest<'a>, OipError> {
        let only = self.inputs.len() == 1;
        let inputs: Vec<RawInput<'a>> =
            self.inputs.into_iter().map(|input| input.with_data(only, &mut tail)).collect::<Result<_, _>>()?;
        if !tail.is_empty() {
            let why = format!("{} bytes are left behind the data of the last input", tail.len());
            return Err(OipError::BadBody(why));
        }
        let output = |WantedOutputJson { name, parameters }| RawOutput { name, parameters };
        let outputs = self.outputs.into_iter().map(output).collect();
        Ok(RawInferRequest { id: self.id, parameters: self.parameters, inputs, outputs })
    }
}

impl<'a> InputJson<'a> {
    fn with_data(self, only: bool, tail: &mut Bytes) -> Result<RawInput<'a>, OipError> {
        let Self { name, shape, datatype, parameters, data } = self;
        let place = format!("inputs.{name}");
        refuse_shared_memory(&place, &parameters, "send the data")?;
        let data = match data {
            Some(json) => RawTensor::Json(json.get()),
            None => RawTensor::Bytes(
                take_bytes(&parameters, only, tail).map_err(|why| OipError::parameter(place.as_str(), why))?,
            ),
        };
        Ok(RawInput { name, shape, datatype, parameters, data })
    }
}

/// Takes an input's bytes from the front of what is left. The only input may leave out how many there are.
fn take_bytes(parameters: &Parameters, only: bool, tail: &mut Bytes) -> Result<Bytes, String> {
    let size = match parameters.get("binary_data_size") {
        Some(size) => match size.as_u64().and_then(|size| usize::try_from(size).ok()) {
            Some(size) => size,
            None => return Err(format!("binary_data_size {size} is no number of bytes")),
        },
        None if only && !tail.is_empty() => tail.len(),
        None => return Err("has neither `data` nor a `binary_data_size`".to_owned()),
    };
    if size > tail.len() {
        return Err(format!("binary_data_size is {size}, but only {} bytes are left", tail.len()));
    }
    Ok(tail.split_to(size))
}
