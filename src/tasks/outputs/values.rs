//! One image's outputs, read as `f32` whatever the type of their elements.

use std::borrow::Cow;

use super::ports::fits;
use crate::vision::tensor::Tensor;

/// What integer outputs mean: `value = (stored − zero_point) · scale`.
#[derive(Debug, Clone, Copy)]
pub(in crate::tasks) struct Quantisation {
    pub(in crate::tasks) scale: f32,
    pub(in crate::tasks) zero_point: f32,
}

impl Quantisation {
    /// For integers that mean themselves: class numbers, counts.
    const NONE: Self = Self { scale: 1.0, zero_point: 0.0 };
}

/// A graph's outputs for one image, in the graph's order.
#[derive(Debug, Clone, Copy)]
pub(in crate::tasks) struct OutputValues<'a> {
    pub(in crate::tasks) tensors: &'a [Tensor],
    pub(in crate::tasks) quantisation: Quantisation,
}

impl<'a> OutputValues<'a> {
    /// All values of the output at `index`, in row-major order, after its shape has been checked (a leading batch axis
    /// of 1 is allowed). `f32` outputs are borrowed.
    pub(in crate::tasks) fn floats(&self, index: usize, wanted: &[Option<usize>]) -> Result<Cow<'a, [f32]>, String> {
        self.checked(index, wanted).map(|tensor| widened(tensor, self.quantisation))
    }

    /// The same for class numbers and counts, which are never quantised.
    pub(in crate::tasks) fn numbers(&self, index: usize, wanted: &[Option<usize>]) -> Result<Cow<'a, [f32]>, String> {
        self.checked(index, wanted).map(|tensor| widened(tensor, Quantisation::NONE))
    }

    /// The only number of the output at `index`, with as many axes as it likes: how many rows count.
    pub(in crate::tasks) fn count(&self, index: usize) -> Result<usize, String> {
        let tensor = self.tensor(index)?;
        match *widened(tensor, Quantisation::NONE) {
            // A cast saturates, and makes NaN 0.
            [count] => Ok(count as usize),
            _ => Err(format!("output {index} came back as {:?}; wanted: one number, the count", tensor.shape())),
        }
    }

    /// All values of the output at `index`, whatever its shape.
    pub(in crate::tasks) fn all(&self, index: usize) -> Result<Cow<'a, [f32]>, String> {
        self.tensor(index).map(|tensor| widened(tensor, self.quantisation))
    }

    /// The output at `index`.
    pub(in crate::tasks) fn tensor(&self, index: usize) -> Result<&'a Tensor, String> {
        self.tensors.get(index).ok_or_else(|| format!("output {index} is missing: {} came back", self.tensors.len()))
    }

    fn checked(&self, index: usize, wanted: &[Option<usize>]) -> Result<&'a Tensor, String> {
        let tensor = self.tensor(index)?;
        let shape: Vec<Option<usize>> = tensor.shape().iter().copied().map(Some).collect();
        if !fits(&shape, wanted) {
            let shape = tensor.shape();
            return Err(format!("output {index} came back as {shape:?}, which does not fit the model's decoding"));
        }
        Ok(tensor)
    }
}

fn widened(tensor: &Tensor, quantisation: Quantisation) -> Cow<'_, [f32]> {
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
