//! A request for inference: what the wire says, checked against the model.

use std::time::Duration;

use bytes::Bytes;

use super::{
    MAX_IMAGES, ModelSignature, OipError, image_bytes,
    parameters::{self, Parameters, flag, optional},
    tensor_codec, typed_contents,
};
use crate::{
    error::did_you_mean,
    inference::TensorInputs,
    routing::policy::VariantPreference,
    scheduler::job::Priority,
    vision::tensor::{ElementType, Tensor},
};

/// The parameter of an input or output that is to be found in shared memory.
const SHARED_MEMORY: &str = "shared_memory_region";

/// A request as a transport received it, of which nothing but the form has been checked.
#[derive(Debug)]
pub struct RawInferRequest<'a> {
    /// The client's name for it.
    pub id: Option<String>,
    /// The parameters of the whole request.
    pub parameters: Parameters,
    /// The inputs.
    pub inputs: Vec<RawInput<'a>>,
    /// The outputs that are wanted; none stands for all of them.
    pub outputs: Vec<RawOutput>,
}

/// An input as a transport received it.
#[derive(Debug)]
pub struct RawInput<'a> {
    /// Its name.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<i64>,
    /// The protocol's name of the type of its elements.
    pub datatype: String,
    /// Its parameters.
    pub parameters: Parameters,
    /// Its elements.
    pub data: RawTensor<'a>,
}

/// The elements of an input.
#[derive(Debug)]
pub enum RawTensor<'a> {
    /// The text of a JSON array, flat or nested.
    Json(&'a str),
    /// Bytes, little endian.
    Bytes(Bytes),
    /// The typed fields of gRPC's message `InferTensorContents`.
    Contents(Bytes),
}

/// An output as a transport was asked for it.
#[derive(Debug)]
pub struct RawOutput {
    /// Its name.
    pub name: String,
    /// Its parameters.
    pub parameters: Parameters,
}

/// A request that fits its model.
#[derive(Debug)]
pub struct InferRequest {
    /// The client's name for it, which the response repeats.
    pub id: Option<String>,
    /// What is wanted of the variant that answers.
    pub preference: VariantPreference,
    /// How long the answer may take.
    pub time_budget: Option<Duration>,
    /// Who goes first when requests wait.
    pub priority: Priority,
    /// What goes in.
    pub inputs: TensorInputs,
    /// What comes out, in this order.
    pub outputs: Vec<RequestedOutput>,
}

/// An output that was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct RequestedOutput {
    /// Its place among the model's outputs.
    pub index: usize,
    /// Whether it is to be sent as bytes behind the JSON.
    pub binary: bool,
    /// How many of the best classes are to be sent, in words, instead of the tensor.
    pub classes: Option<usize>,
}

impl InferRequest {
    /// Checks a request against its model, and decodes its tensors.
    ///
    /// # Errors
    /// [`OipError`] names the parameter, input or output that does not fit.
    pub fn from_raw(signature: &ModelSignature<'_>, raw: RawInferRequest<'_>) -> Result<Self, OipError> {
        let default_binary = flag(&raw.parameters, "binary_data_output")?.unwrap_or(false);
        Ok(Self {
            preference: parameters::preference(&raw.parameters)?,
            time_budget: parameters::time_budget(&raw.parameters)?,
            priority: parameters::priority(&raw.parameters)?,
            inputs: inputs(signature, &raw.inputs)?,
            outputs: outputs(signature, &raw.outputs, default_binary)?,
            id: raw.id,
        })
    }

    /// A request that is nothing but the bytes of a model's only input. Its shape has at most one free dimension, which their number
    /// decides.
    pub(super) fn from_tensor_bytes(signature: &ModelSignature<'_>, body: &Bytes) -> Result<Self, OipError> {
        let cannot = |why: &str| OipError::BadBody(format!("{why}: send the JSON of the request before the data"));
        let [port] = signature.inputs else { return Err(cannot("the model has several inputs")) };
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
        let tensor = tensor_codec::from_bytes(port.element, &shape, body)
            .map_err(|why| OipError::parameter(port.name.as_str(), why))?;
        Ok(Self {
            id: None,
            preference: VariantPreference::default(),
            time_budget: None,
            priority: Priority::default(),
            inputs: TensorInputs::Tensors(vec![(port.name.clone(), tensor)]),
            outputs: outputs(signature, &[], true)?,
        })
    }
}

/// Refuses more inputs or outputs than the model has.
pub(super) fn refuse_too_many(what: &str, came: usize, most: usize) -> Result<(), OipError> {
    if came > most {
        return Err(OipError::parameter(what, format!("are {came}, but the model has {most}")));
    }
    Ok(())
}

/// Refuses an input or output that is to be found in shared memory; `instead` says what would be right.
pub(super) fn refuse_shared_memory(place: &str, parameters: &Parameters, instead: &str) -> Result<(), OipError> {
    if parameters.contains_key(SHARED_MEMORY) {
        return Err(OipError::parameter(place, format!("shared memory is not offered; {instead}")));
    }
    Ok(())
}

/// The tensors of all inputs, or the encoded images of the only one.
fn inputs(signature: &ModelSignature<'_>, inputs: &[RawInput<'_>]) -> Result<TensorInputs, OipError> {
    refuse_too_many("inputs", inputs.len(), signature.inputs.len())?;
    let mut tensors: Vec<(String, Tensor)> = Vec::with_capacity(inputs.len());
    let mut images = None;
    for input in inputs {
        let place = format!("inputs.{}", input.name);
        refuse_shared_memory(&place, &input.parameters, "send the data")?;
        if tensors.iter().any(|(name, _)| *name == input.name) {
            return Err(OipError::parameter(place, "is given twice; give it once"));
        }
        let no_shape = || OipError::parameter(place.as_str(), format!("{:?} is no shape of data", input.shape));
        let shape = input.shape.iter().map(|dim| usize::try_from(*dim).map_err(|_| no_shape()));
        let shape: Vec<usize> = shape.collect::<Result<_, _>>()?;
        if input.datatype == "BYTES" {
            images = Some(encoded_images(signature, input, &shape, inputs.len() == 1)?);
        } else {
            let tensor = tensor(input, &shape).map_err(|why| OipError::parameter(place.as_str(), why))?;
            tensors.push((input.name.clone(), tensor));
        }
    }
    Ok(images.map_or(TensorInputs::Tensors(tensors), TensorInputs::Images))
}

/// The images of an input of datatype BYTES, which only the image input may have.
fn encoded_images(
    signature: &ModelSignature<'_>,
    input: &RawInput<'_>,
    shape: &[usize],
    only: bool,
) -> Result<Vec<Bytes>, OipError> {
    let refuse = |why: String| OipError::parameter(format!("inputs.{}", input.name), why);
    let name = signature.inputs.get(signature.image_input).map_or("", |port| port.name.as_str());
    if input.name != name || !only {
        return Err(refuse(format!("only `{name}` takes encoded pictures (BYTES), and then it is the only input")));
    }
    let count = tensor_codec::count(shape).filter(|count| (1..=MAX_IMAGES).contains(count));
    let count = count.ok_or_else(|| refuse(format!("{shape:?} is no shape of 1 to {MAX_IMAGES} pictures")))?;
    match &input.data {
        RawTensor::Json(json) => image_bytes::from_json(&input.name, json, count, signature.max_image_bytes),
        RawTensor::Bytes(bytes) => image_bytes::from_bytes(&input.name, bytes, count, signature.max_image_bytes),
        RawTensor::Contents(contents) => {
            typed_contents::images(&format!("inputs.{}", input.name), contents, count, signature.max_image_bytes)
        }
    }
}

fn tensor(input: &RawInput<'_>, shape: &[usize]) -> Result<Tensor, String> {
    let element = ElementType::ALL.iter().find(|element| element.oip_name() == input.datatype);
    let element = *element.ok_or_else(|| {
        let known: Vec<_> = ElementType::ALL.iter().map(|element| element.oip_name()).chain(["BYTES"]).collect();
        let hint = did_you_mean(&input.datatype, &known);
        format!("datatype `{}` is none of {}{hint}", input.datatype, known.join(", "))
    })?;
    match &input.data {
        RawTensor::Json(json) => tensor_codec::from_json(element, shape, json),
        RawTensor::Bytes(bytes) => tensor_codec::from_bytes(element, shape, bytes),
        RawTensor::Contents(contents) => typed_contents::tensor(element, shape, contents),
    }
}

fn outputs(
    signature: &ModelSignature<'_>,
    wanted: &[RawOutput],
    default_binary: bool,
) -> Result<Vec<RequestedOutput>, OipError> {
    if wanted.is_empty() {
        let all = 0..signature.outputs.len();
        return Ok(all.map(|index| RequestedOutput { index, binary: default_binary, classes: None }).collect());
    }
    refuse_too_many("outputs", wanted.len(), signature.outputs.len())?;
    let one = |output: &RawOutput| {
        let place = format!("outputs.{}", output.name);
        let index = signature.outputs.iter().position(|port| port.name == output.name).ok_or_else(|| {
            let known: Vec<_> = signature.outputs.iter().map(|port| port.name.as_str()).collect();
            let hint = did_you_mean(&output.name, &known);
            let why = format!("there is no such output{hint}; there are {}", known.join(", "));
            OipError::parameter(place.as_str(), why)
        })?;
        refuse_shared_memory(&place, &output.parameters, "leave it out")?;
        let classes = optional(&output.parameters, "classification", "a whole number from 0 up", |value| {
            value.as_u64().and_then(|n| usize::try_from(n).ok())
        })?;
        let binary = flag(&output.parameters, "binary_data")?.unwrap_or(default_binary);
        Ok(RequestedOutput { index, binary, classes: classes.filter(|n| *n > 0) })
    };
    wanted.iter().map(one).collect()
}
