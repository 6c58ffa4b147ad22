//! Tensors as plain data, so that picture work and the wire need not know the runtime that computes with them.

use std::fmt;

use half::f16;
use ndarray::{ArrayD, ArrayViewD, Axis};
use serde::{Serialize, Serializer};

/// One input or output of a graph, as the graph declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name in the graph.
    pub name: String,
    /// The type of its elements.
    pub element: ElementType,
    /// Its dimensions; `None` is free.
    pub shape: Vec<Option<usize>>,
}

impl fmt::Display for Port {
    /// `images f32[N, 3, 416, 416]`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}[", self.name, self.element.short_name())?;
        for (i, dim) in self.shape.iter().enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            match dim {
                Some(n) => write!(f, "{comma}{n}")?,
                None => write!(f, "{comma}?")?,
            }
        }
        f.write_str("]")
    }
}

/// Several ports in words, as messages show them.
#[must_use]
pub fn in_words(ports: &[Port]) -> String {
    ports.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

macro_rules! tensors {
    ($($variant:ident($element:ty) = $oip:literal, $short:literal;)*) => {
        /// The element types that a tensor may have, named as in Rust; on the wire they are the Open Inference
        /// Protocol's words.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ElementType {
            $(#[doc = concat!("`", $oip, "`")] $variant,)*
        }

        impl ElementType {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The Open Inference Protocol's word (`FP32`).
            #[must_use]
            pub fn oip_name(self) -> &'static str {
                match self { $(Self::$variant => $oip,)* }
            }

            /// The short word (`f32`).
            #[must_use]
            pub fn short_name(self) -> &'static str {
                match self { $(Self::$variant => $short,)* }
            }

            /// Bytes an element.
            #[must_use]
            pub fn size_bytes(self) -> usize {
                match self { $(Self::$variant => size_of::<$element>(),)* }
            }
        }

        /// A dense array of one of the element types.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Tensor {
            $(#[doc = concat!("Elements of `", $short, "`.")] $variant(ArrayD<$element>),)*
        }

        impl Tensor {
            /// The type of the elements.
            #[must_use]
            pub fn element(&self) -> ElementType {
                match self { $(Self::$variant(_) => ElementType::$variant,)* }
            }

            /// The dimensions.
            #[must_use]
            pub fn shape(&self) -> &[usize] {
                match self { $(Self::$variant(array) => array.shape(),)* }
            }

            /// The `row`-th entry along the first axis, which stays, with length 1.
            ///
            /// # Panics
            /// When the tensor has no such row.
            #[must_use]
            pub fn row(&self, row: usize) -> Self {
                match self {
                    $(Self::$variant(array) => Self::$variant(
                        array.index_axis(Axis(0), row).insert_axis(Axis(0)).to_owned()
                    ),)*
                }
            }

            /// Tensors one under the other along the first axis; `None` when types or other dimensions differ.
            #[must_use]
            pub fn stack(rows: &[&Self]) -> Option<Self> {
                match rows.first()? {
                    $(Self::$variant(_) => {
                        let views: Vec<ArrayViewD<'_, $element>> = rows
                            .iter()
                            .map(|row| match row { Self::$variant(array) => Some(array.view()), _ => None })
                            .collect::<Option<_>>()?;
                        ndarray::concatenate(Axis(0), &views).ok().map(Self::$variant)
                    })*
                }
            }
        }

        $(impl From<ArrayD<$element>> for Tensor {
            fn from(array: ArrayD<$element>) -> Self {
                Self::$variant(array)
            }
        })*
    };
}

tensors! {
    Bool(bool) = "BOOL", "bool";
    U8(u8) = "UINT8", "u8";
    U16(u16) = "UINT16", "u16";
    U32(u32) = "UINT32", "u32";
    U64(u64) = "UINT64", "u64";
    I8(i8) = "INT8", "i8";
    I16(i16) = "INT16", "i16";
    I32(i32) = "INT32", "i32";
    I64(i64) = "INT64", "i64";
    F16(f16) = "FP16", "f16";
    F32(f32) = "FP32", "f32";
    F64(f64) = "FP64", "f64";
}

impl Serialize for ElementType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.oip_name())
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn rows_that_are_stacked_come_back_apart() {
        let (a, b) = (Tensor::from(array![[1.0f32, 2.0]].into_dyn()), Tensor::from(array![[3.0f32, 4.0]].into_dyn()));
        let both = Tensor::stack(&[&a, &b]).expect("same shapes");
        assert_eq!(both.shape(), [2, 2]);
        assert_eq!((both.row(0), both.row(1)), (a, b));
    }

    #[test]
    fn unlike_tensors_do_not_stack() {
        let (a, b) = (Tensor::from(array![[1.0f32]].into_dyn()), Tensor::from(array![[1u8]].into_dyn()));
        assert_eq!(Tensor::stack(&[&a, &b]), None);
    }
}
