//! An ONNX Runtime session as an [`Engine`]: a model file goes in, and an engine with its inputs and outputs comes out.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use ort::{
    session::{
        Session,
        builder::{GraphOptimizationLevel, PrepackedWeights},
    },
    value::{DynValue, Outlet, Tensor as OrtTensor, TensorElementType, TensorRef, ValueType},
};

use super::{Engine, library::Library, provider};
use crate::{
    config::{Fallback, Provider},
    vision::tensor::{ElementType, Port, Tensor},
};

/// A graph ready to be opened.
#[derive(Debug)]
pub enum GraphSource {
    /// A plain file, which may have weights in files beside it.
    Path(PathBuf),
    /// The bytes of an unpacked one.
    Bytes(Vec<u8>),
}

/// Options that a session is opened with.
#[derive(Debug)]
pub struct Opening<'a> {
    /// The loaded runtime.
    pub library: &'a Library,
    /// Execution providers in order of preference.
    pub providers: &'a [Provider],
    /// What happens when an execution provider is missing.
    pub fallback: Fallback,
    /// Folder where TensorRT caches its engines.
    pub engine_cache: &'a Path,
    /// Number of intra-op threads.
    pub threads: usize,
}

/// A session, with the names, types and shapes of its graph's inputs and outputs.
#[derive(Debug)]
pub struct OrtEngine {
    session: Session,
    /// The graph's inputs, in its order.
    pub inputs: Vec<Port>,
    /// The graph's outputs, in its order.
    pub outputs: Vec<Port>,
    /// The execution providers in use, in order.
    pub providers: Vec<Provider>,
}

/// Weights in the layout that the kernels need, which the sessions of one variant share.
pub struct SharedWeights(PrepackedWeights);

impl SharedWeights {
    /// Makes an empty container, which the first session fills.
    #[must_use]
    pub fn new() -> Self {
        Self(PrepackedWeights::new())
    }
}

impl Default for SharedWeights {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for SharedWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedWeights")
    }
}

impl OrtEngine {
    /// Opens a session of a model file.
    ///
    /// # Errors
    /// ONNX Runtime cannot open the file, a provider is missing, or an input or output is not a tensor of a type that is
    /// served.
    pub fn open(source: &GraphSource, opening: &Opening<'_>, weights: &SharedWeights) -> Result<Self, String> {
        let settings = || -> ort::Result<_> {
            Ok(Session::builder(&opening.library.environment)?
                .with_optimization_level(GraphOptimizationLevel::All)?
                .with_intra_threads(opening.threads)?
                .with_inter_threads(1)?
                .with_intra_op_spinning(false)?
                .with_prepacked_weights(&weights.0)?)
        };
        let builder = settings().map_err(|error| format!("ONNX Runtime refused the session's settings: {error}"))?;
        let (mut builder, providers) = provider::register(builder, opening)?;
        let session = match source {
            GraphSource::Path(path) => builder.commit_from_file(path),
            GraphSource::Bytes(bytes) => builder.commit_from_memory(bytes),
        }
        .map_err(|error| format!("ONNX Runtime cannot open it: {}", one_line(error.message())))?;
        let inputs = session.inputs().iter().map(port).collect::<Result<_, _>>()?;
        let outputs = session.outputs().iter().map(port).collect::<Result<_, _>>()?;
        Ok(Self { session, inputs, outputs, providers })
    }

    /// What the file says of itself (`metadata_props` of `onnx.proto`), by key; empty where that cannot be read.
    #[must_use]
    pub fn metadata(&self) -> BTreeMap<String, String> {
        let read = || -> ort::Result<BTreeMap<String, String>> {
            let metadata = self.session.metadata()?;
            let keys = metadata.custom_keys()?.into_iter();
            Ok(keys.filter_map(|key| metadata.custom(&key).map(|value| (key, value))).collect())
        };
        read().unwrap_or_else(|error| {
            tracing::debug!("the file's metadata cannot be read and is ignored: {}", one_line(error.message()));
            BTreeMap::new()
        })
    }
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn port(outlet: &Outlet) -> Result<Port, String> {
    let name = outlet.name().to_owned();
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
        return Err(format!("`{name}` is a {}, but only tensors are served", outlet.dtype()));
    };
    let element = element(*ty).ok_or_else(|| format!("`{name}` holds elements of type {ty}, which are not served"))?;
    let shape = shape.iter().map(|&dim| usize::try_from(dim).ok()).collect();
    Ok(Port { name, element, shape })
}

macro_rules! element_types {
    ($($ort:ident => $ours:ident($rust:ty),)*) => {
        fn element(ty: TensorElementType) -> Option<ElementType> {
            match ty {
                $(TensorElementType::$ort => Some(ElementType::$ours),)*
                _ => None,
            }
        }

        /// Passes a tensor to ONNX Runtime, without a copy where it is contiguous.
        fn lend(tensor: &Tensor) -> ort::Result<ort::session::SessionInputValue<'_>> {
            Ok(match tensor {
                $(Tensor::$ours(array) if array.is_standard_layout() => {
                    TensorRef::from_array_view(array.view())?.into()
                })*
                $(Tensor::$ours(array) => OrtTensor::from_array(array.as_standard_layout().into_owned())?.into(),)*
            })
        }

        fn take(value: &DynValue) -> ort::Result<Tensor> {
            match value.dtype().tensor_type() {
                $(Some(TensorElementType::$ort) => Ok(value.try_extract_array::<$rust>()?.to_owned().into()),)*
                _ => Err(ort::Error::new(format!("an output is a {}", value.dtype()))),
            }
        }
    };
}

element_types! {
    Bool => Bool(bool),
    Uint8 => U8(u8),
    Uint16 => U16(u16),
    Uint32 => U32(u32),
    Uint64 => U64(u64),
    Int8 => I8(i8),
    Int16 => I16(i16),
    Int32 => I32(i32),
    Int64 => I64(i64),
    Float16 => F16(half::f16),
    Float32 => F32(f32),
    Float64 => F64(f64),
}

impl Engine for OrtEngine {
    fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, String> {
        let mut run = || -> ort::Result<Vec<Tensor>> {
            let values = inputs.iter().map(lend).collect::<ort::Result<Vec<_>>>()?;
            let outputs = self.session.run(values.as_slice())?;
            outputs.values().map(|value| take(&value)).collect()
        };
        run().map_err(|error| one_line(error.message()))
    }
}
