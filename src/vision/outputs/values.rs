//! Tensors of any element type, read as `f32`.

use std::borrow::Cow;

use super::ports::fits;
use crate::vision::tensor::Tensor;

/// What integer outputs mean: `value = (stored − zero_point) · scale`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quantisation {
    pub(super) scale: f32,
    pub(super) zero_point: f32,
}

impl Quantisation {
    /// Integers that mean themselves: class numbers, counts.
    pub(super) const NONE: Self = Self { scale: 1.0, zero_point: 0.0 };
}

/// All values of the `index`-th output, in row-major order, after its shape has been checked (a leading batch axis of
/// 1 is allowed). `f32` outputs are borrowed.
pub(super) fn floats<'a>(
    outputs: &'a [Tensor],
    index: usize,
    wanted: &[Option<usize>],
    quantisation: Quantisation,
) -> Result<Cow<'a, [f32]>, String> {
    let tensor = output(outputs, index)?;
    let shape: Vec<Option<usize>> = tensor.shape().iter().copied().map(Some).collect();
    if !fits(&shape, wanted) {
        let shape = tensor.shape();
        return Err(format!("output {index} came back as {shape:?}, which does not fit the model's decoding"));
    }
    Ok(widened(tensor, quantisation))
}

pub(super) fn output(outputs: &[Tensor], index: usize) -> Result<&Tensor, String> {
    outputs.get(index).ok_or_else(|| format!("output {index} is missing: {} came back", outputs.len()))
}

pub(super) fn widened(tensor: &Tensor, quantisation: Quantisation) -> Cow<'_, [f32]> {
    let Quantisation { scale, zero_point } = quantisation;
    macro_rules! integers {
        ($array:expr) => {
            Cow::Owned($array.iter().map(|&stored| (stored as f32 - zero_point) * scale).collect())
        };
    }
    match tensor {
        Tensor::F32(array) => match array.as_slice() {
            Some(values) => Cow::Borrowed(values),
            None => Cow::Owned(array.iter().copied().collect()),
        },
        Tensor::F16(array) => Cow::Owned(array.iter().map(|value| value.to_f32()).collect()),
        Tensor::F64(array) => Cow::Owned(array.iter().map(|&value| value as f32).collect()),
        Tensor::Bool(array) => Cow::Owned(array.iter().map(|&value| f32::from(u8::from(value))).collect()),
        Tensor::U8(array) => integers!(array),
        Tensor::U16(array) => integers!(array),
        Tensor::U32(array) => integers!(array),
        Tensor::U64(array) => integers!(array),
        Tensor::I8(array) => integers!(array),
        Tensor::I16(array) => integers!(array),
        Tensor::I32(array) => integers!(array),
        Tensor::I64(array) => integers!(array),
    }
}
