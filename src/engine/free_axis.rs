//! Frees the batch axis of a model: many public ONNX files take one image at a time only because they were
//! exported so, and their graphs work on any number of images once no shape in them says 1 any more.
//!
//! Three kinds of shapes are changed. In the declared shapes of inputs and outputs, the first dimension gets a name. The
//! shapes of values in between are dropped, and ONNX Runtime infers them again. In the constant targets of Reshape nodes,
//! such as `[1, 85, -1]`, the dimension that grows with the batch becomes 0 (copied) or -1 (computed). Which dimension
//! grows is a guess (`batched_target`). So the freed model has to prove that it answers several images as the original
//! answers each of them, before it is used.
//!
//! A model is a tree of protobuf messages, whose fields are numbered in `onnx.proto`. A message is read only where
//! something has to change, and as a plain list of unknown fields. So all other fields are written back as they were.

use std::collections::{HashMap, HashSet};

use buffa::{UnknownField as Field, UnknownFieldData as Data, UnknownFields as Message, encoding::decode_varint};

/// Name of the free first dimension of inputs and outputs.
const BATCH: &str = "batch";

/// More dimensions than any tensor has. A constant that is longer is no shape: each Reshape that takes it would get a copy of its own,
/// and a small file would become gigabytes.
const MAX_DIMS: usize = 64;

/// Numbers of the fields of `onnx.proto` that are read here.
mod onnx {
    pub const MODEL_GRAPH: u32 = 7;
    pub const GRAPH_NODE: u32 = 1;
    pub const GRAPH_INITIALIZER: u32 = 5;
    pub const GRAPH_INPUT: u32 = 11;
    pub const GRAPH_OUTPUT: u32 = 12;
    pub const GRAPH_VALUE_INFO: u32 = 13;
    pub const NODE_INPUT: u32 = 1;
    pub const NODE_OUTPUT: u32 = 2;
    pub const NODE_NAME: u32 = 3;
    pub const NODE_OP_TYPE: u32 = 4;
    pub const NODE_ATTRIBUTE: u32 = 5;
    pub const ATTRIBUTE_NAME: u32 = 1;
    pub const ATTRIBUTE_INT: u32 = 3;
    pub const ATTRIBUTE_TENSOR: u32 = 5;
    pub const ATTRIBUTE_INTS: u32 = 8;
    pub const ATTRIBUTE_TYPE: u32 = 20;
    pub const ATTRIBUTE_TYPE_IS_TENSOR: u64 = 4;
    pub const TENSOR_DIMS: u32 = 1;
    pub const TENSOR_DATA_TYPE: u32 = 2;
    pub const TENSOR_DATA_TYPE_IS_INT64: u64 = 7;
    pub const TENSOR_INT64_DATA: u32 = 7;
    pub const TENSOR_NAME: u32 = 8;
    pub const TENSOR_RAW_DATA: u32 = 9;
    pub const TENSOR_EXTERNAL_DATA: u32 = 13;
    pub const VALUE_NAME: u32 = 1;
    /// Path from an input or output to its first dimension: `type`, `tensor_type`, `shape`, `dim`.
    pub const VALUE_FIRST_DIM: [u32; 4] = [2, 1, 2, 1];
    pub const DIM_VALUE: u32 = 1;
    pub const DIM_PARAM: u32 = 2;
}

/// Returns the model with its batch axis freed.
///
/// # Errors
/// The batch axis is free already, or cannot be freed. The message says why.
pub fn free(model: &[u8]) -> Result<Vec<u8>, String> {
    let mut freed = Message::new();
    let mut has_graph = false;
    for mut field in read(model)? {
        if field.number == onnx::MODEL_GRAPH {
            has_graph = true;
            field = message(field.number, &free_graph(read(payload(&field))?)?);
        }
        freed.push(field);
    }
    if has_graph { Ok(written(&freed)) } else { Err("it is not an ONNX model: it has no graph".into()) }
}

fn free_graph(graph: Message) -> Result<Message, String> {
    let mut reshapes = Reshapes::default();
    let mut weights = HashSet::new();
    for tensor in payloads(&graph, onnx::GRAPH_INITIALIZER) {
        let tensor = read(tensor)?;
        let name = text(&tensor, onnx::TENSOR_NAME);
        reshapes.shapes.extend(constant_shape(&tensor)?.map(|shape| (name.clone(), shape)));
        weights.insert(name);
    }
    for input in payloads(&graph, onnx::GRAPH_INPUT) {
        reshapes.computed.insert(text(&read(input)?, onnx::VALUE_NAME));
    }
    // Models of old IR versions list their weights as inputs too.
    reshapes.computed.retain(|name| !weights.contains(name));

    let mut freed = Message::new();
    let mut was_fixed = false;
    for mut field in graph {
        match field.number {
            onnx::GRAPH_VALUE_INFO => continue,
            onnx::GRAPH_INPUT | onnx::GRAPH_OUTPUT => {
                if let Some(value) = free_value(payload(&field), &weights)? {
                    was_fixed |= field.number == onnx::GRAPH_INPUT;
                    field.data = Data::LengthDelimited(value);
                }
            }
            onnx::GRAPH_NODE => {
                if let Some((target, node)) = reshapes.free_target(read(payload(&field))?)? {
                    freed.push(message(onnx::GRAPH_NODE, &target));
                    field = message(onnx::GRAPH_NODE, &node);
                }
            }
            _ => {}
        }
        freed.push(field);
    }
    let changed = was_fixed || reshapes.changed > 0;
    if changed { Ok(freed) } else { Err("none of its inputs is fixed at one picture".into()) }
}

/// Frees the first dimension of an input or output; none where it is a weight or nothing changes.
fn free_value(value: &[u8], weights: &HashSet<String>) -> Result<Option<Vec<u8>>, String> {
    let name = text(&read(value)?, onnx::VALUE_NAME);
    if weights.contains(&name) {
        return Ok(None);
    }
    free_first(value, &onnx::VALUE_FIRST_DIM).map_err(|reason| format!("its input or output `{name}` {reason}"))
}

/// Frees the dimension at the end of a path where it is 1. Returns the changed message, or none where no dimension is
/// declared or it is free already.
fn free_first(value: &[u8], path: &[u32]) -> Result<Option<Vec<u8>>, String> {
    let mut value = read(value)?;
    let Some((&step, path)) = path.split_first() else {
        return match integers(&value, onnx::DIM_VALUE).first() {
            None => Ok(None),
            Some(1) => {
                value.retain(|field| field.number != onnx::DIM_VALUE);
                value.push(bytes(onnx::DIM_PARAM, BATCH));
                Ok(Some(written(&value)))
            }
            Some(size) => Err(format!("has {size} as its first dimension, not 1")),
        };
    };
    let Some(inner) = payloads(&value, step).next() else { return Ok(None) };
    let Some(inner) = free_first(inner, path)? else { return Ok(None) };
    let mut inner = Some(bytes(step, inner));
    let freed = value.into_iter().map(|old| if old.number == step { inner.take().unwrap_or(old) } else { old });
    Ok(Some(written(&list(freed))))
}

/// What is known of the graph while its nodes are visited. Each node comes after those whose outputs it takes.
#[derive(Default)]
struct Reshapes {
    /// Constants that can be shapes, by name.
    shapes: HashMap<String, Vec<i64>>,
    /// Names of the values that are computed from the inputs. (A Reshape of weights is right for any batch.)
    computed: HashSet<String>,
    changed: usize,
}

impl Reshapes {
    /// Changes a Reshape node whose target is fixed to one image. Returns a Constant with the new target and the node that
    /// takes it, or none where the node stays. The old target stays for other nodes that use it.
    fn free_target(&mut self, mut node: Message) -> Result<Option<(Message, Message)>, String> {
        let op_type = text(&node, onnx::NODE_OP_TYPE);
        if op_type == "NonMaxSuppression" {
            return Err("it picks its boxes itself (NonMaxSuppression)".into());
        }
        let mut allows_zero = false;
        for attribute in payloads(&node, onnx::NODE_ATTRIBUTE) {
            let attribute = read(attribute)?;
            let name = text(&attribute, onnx::ATTRIBUTE_NAME);
            allows_zero |= name == "allowzero" && integers(&attribute, onnx::ATTRIBUTE_INT) != [0];
            let mut shape = (name == "value_ints").then(|| integers(&attribute, onnx::ATTRIBUTE_INTS));
            for tensor in payloads(&attribute, onnx::ATTRIBUTE_TENSOR) {
                shape = constant_shape(&read(tensor)?)?;
            }
            if let (Some(shape), "Constant") = (shape, op_type.as_str()) {
                self.shapes.insert(text(&node, onnx::NODE_OUTPUT), shape);
            }
        }
        let inputs: Vec<String> = payloads(&node, onnx::NODE_INPUT).map(lossy).collect();
        // The output of a Shape node does not grow with the batch.
        if op_type == "Shape" || !inputs.iter().any(|name| self.computed.contains(name)) {
            return Ok(None);
        }
        self.computed.extend(payloads(&node, onnx::NODE_OUTPUT).map(lossy).filter(|name| !name.is_empty()));
        let ("Reshape", [data, target]) = (op_type.as_str(), inputs.as_slice()) else { return Ok(None) };
        let Some(shape) = self.shapes.get(target).and_then(|shape| batched_target(shape)) else { return Ok(None) };
        if allows_zero {
            return Err(format!("its Reshape `{}` takes a 0 as a size (allowzero)", text(&node, onnx::NODE_NAME)));
        }
        let name = format!("{BATCH}/{}/{target}", self.changed);
        self.changed += 1;
        node.retain(|field| field.number != onnx::NODE_INPUT);
        node.push(bytes(onnx::NODE_INPUT, data.as_str()));
        node.push(bytes(onnx::NODE_INPUT, name.as_str()));
        Ok(Some((constant(&name, &shape), node)))
    }
}

/// The target of a Reshape for any batch size; none where the target for one image is right already.
///
/// A dimension that is computed (-1) follows the batch, unless the first one says 1: then that is the batch. Where
/// none is computed, the batch is in the first dimension of size 1, or else multiplied into the very first (channel
/// shuffles reshape to `[channels / 2, 2, pixels]`).
fn batched_target(target: &[i64]) -> Option<Vec<i64>> {
    let mut shape = target.to_vec();
    match (target.first()?, target.contains(&-1)) {
        (1, true) => *shape.first_mut()? = 0,
        (0, _) | (_, true) => return None,
        (_, false) => *shape.get_mut(target.iter().position(|&size| size == 1).unwrap_or(0))? = -1,
    }
    Some(shape)
}

/// The numbers of a tensor that can be a shape, which is a list of 64-bit integers; none for other tensors.
fn constant_shape(tensor: &Message) -> Result<Option<Vec<i64>>, String> {
    if payloads(tensor, onnx::TENSOR_EXTERNAL_DATA).next().is_some() {
        return Err("its weights are in a file beside it".into());
    }
    let is_int64 = integers(tensor, onnx::TENSOR_DATA_TYPE) == [onnx::TENSOR_DATA_TYPE_IS_INT64.cast_signed()];
    if !is_int64 || integers(tensor, onnx::TENSOR_DIMS).len() != 1 {
        return Ok(None);
    }
    let mut shape = integers(tensor, onnx::TENSOR_INT64_DATA);
    for raw in payloads(tensor, onnx::TENSOR_RAW_DATA) {
        shape.extend(raw.as_chunks().0.iter().map(|number| i64::from_le_bytes(*number)));
    }
    Ok(Some(shape).filter(|shape| shape.len() <= MAX_DIMS))
}

/// Makes a Constant node with a shape. (An initializer would have to be listed among the inputs in old IR versions.)
fn constant(name: &str, shape: &[i64]) -> Message {
    let numbers: Vec<u8> = shape.iter().flat_map(|size| size.to_le_bytes()).collect();
    let tensor = list([
        integer(onnx::TENSOR_DIMS, shape.len() as u64),
        integer(onnx::TENSOR_DATA_TYPE, onnx::TENSOR_DATA_TYPE_IS_INT64),
        bytes(onnx::TENSOR_RAW_DATA, numbers),
    ]);
    let value = list([
        bytes(onnx::ATTRIBUTE_NAME, "value"),
        message(onnx::ATTRIBUTE_TENSOR, &tensor),
        integer(onnx::ATTRIBUTE_TYPE, onnx::ATTRIBUTE_TYPE_IS_TENSOR),
    ]);
    list([bytes(onnx::NODE_OUTPUT, name), bytes(onnx::NODE_OP_TYPE, "Constant"), message(onnx::NODE_ATTRIBUTE, &value)])
}

fn read(bytes: &[u8]) -> Result<Message, String> {
    Message::decode_from_slice(bytes).map_err(|error| format!("it is not an ONNX model: {error}"))
}

fn written(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(message.encoded_len());
    message.write_to(&mut bytes);
    bytes
}

fn list(fields: impl IntoIterator<Item = Field>) -> Message {
    let mut message = Message::new();
    fields.into_iter().for_each(|field| message.push(field));
    message
}

fn integer(number: u32, value: u64) -> Field {
    Field { number, data: Data::Varint(value) }
}

fn bytes(number: u32, value: impl Into<Vec<u8>>) -> Field {
    Field { number, data: Data::LengthDelimited(value.into()) }
}

fn message(number: u32, value: &Message) -> Field {
    bytes(number, written(value))
}

/// The bytes of a text or of a message; empty for a number.
fn payload(field: &Field) -> &[u8] {
    if let Data::LengthDelimited(bytes) = &field.data { bytes } else { &[] }
}

fn payloads(message: &Message, number: u32) -> impl Iterator<Item = &[u8]> {
    message.iter().filter(move |field| field.number == number).map(payload)
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn text(message: &Message, number: u32) -> String {
    payloads(message, number).next().map(lossy).unwrap_or_default()
}

/// The integers of a field, whether they are stored one by one or packed.
fn integers(message: &Message, number: u32) -> Vec<i64> {
    let mut integers = Vec::new();
    for field in message.iter().filter(|field| field.number == number) {
        if let Data::Varint(value) = field.data {
            integers.push(value.cast_signed());
        }
        let mut packed = payload(field);
        while let Ok(value) = decode_varint(&mut packed) {
            integers.push(value.cast_signed());
        }
    }
    integers
}

#[cfg(test)]
mod tests;
