//! Tensors as plain data: image work and the wire need not know the runtime that computes with them.

use std::fmt;

use half::f16;
use ndarray::{ArrayD, Axis, Slice};
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

impl Port {
    /// Whether its elements are wide whole numbers, as class numbers and counts are.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        matches!(self.element, ElementType::I64 | ElementType::I32 | ElementType::U64 | ElementType::U32)
    }

    /// Whether it may hold a single number for an image: all its dimensions are 1 or free.
    #[must_use]
    pub fn is_one(&self) -> bool {
        self.shape.len() <= 2 && self.shape.iter().all(|dim| dim.is_none_or(|n| n == 1))
    }
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

/// Several ports in one line, as messages show them.
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

            /// How many bytes an element takes.
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

            /// `rows` entries along the first axis, from `from` on.
            ///
            /// # Panics
            /// When the tensor has fewer.
            #[must_use]
            pub fn rows(&self, from: usize, rows: usize) -> Self {
                match self {
                    $(Self::$variant(array) => Self::$variant(
                        array.slice_axis(Axis(0), Slice::from(from..from + rows)).to_owned()
                    ),)*
                }
            }

            /// The largest difference between elements at the same place, relative to `max(1, |element|)`; infinite when
            /// types or shapes differ, and where one is no number.
            #[must_use]
            pub fn distance(&self, other: &Self) -> f64 {
                match (self, other) {
                    $((Self::$variant(a), Self::$variant(b)) if a.shape() == b.shape() => a
                        .iter()
                        .zip(b)
                        .map(|(a, b)| (a.number(), b.number()))
                        .map(|(a, b)| if a == b { 0.0 } else { (a - b).abs() / b.abs().max(1.0) })
                        .fold(0.0, |most, d| if d.is_nan() { f64::INFINITY } else { most.max(d) }),)*
                    _ => f64::INFINITY,
                }
            }

            /// Puts tensors one under the other along the first axis, and repeats the last row until there are `padded`
            /// rows; `None` when types or other dimensions differ. The memory of `old` is used again, if it is large
            /// enough: new memory for every batch would cost page faults.
            #[must_use]
            pub fn stack(parts: &[&Self], padded: usize, old: Option<Self>) -> Option<Self> {
                match parts.first()? {
                    $(Self::$variant(first) => {
                        let mut elements = match old {
                            Some(Self::$variant(array)) => array.into_raw_vec_and_offset().0,
                            _ => Vec::new(),
                        };
                        elements.clear();
                        let (shape, mut rows) = (first.shape(), 0);
                        for part in parts {
                            let Self::$variant(array) = part else { return None };
                            if array.shape().get(1..)? != shape.get(1..)? {
                                return None;
                            }
                            rows += array.shape().first()?;
                            match array.as_slice() {
                                Some(slice) => elements.extend_from_slice(slice),
                                None => elements.extend(array.iter().copied()),
                            }
                        }
                        let row = elements.len().checked_div(rows)?;
                        for _ in rows..padded {
                            elements.extend_from_within(elements.len().checked_sub(row)?..);
                        }
                        let mut shape = shape.to_vec();
                        *shape.first_mut()? = rows.max(padded);
                        ArrayD::from_shape_vec(shape, elements).ok().map(Self::$variant)
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

/// An element as a number that others can be compared with.
trait Number: Copy {
    fn number(self) -> f64;
}

macro_rules! numbers {
    ($($element:ty: $convert:expr;)*) => {
        $(impl Number for $element {
            fn number(self) -> f64 {
                $convert(self)
            }
        })*
    };
}

numbers! {
    bool: |x| f64::from(u8::from(x));
    u8: f64::from;
    u16: f64::from;
    u32: f64::from;
    u64: |x| x as f64;
    i8: f64::from;
    i16: f64::from;
    i32: f64::from;
    i64: |x| x as f64;
    f16: f64::from;
    f32: f64::from;
    f64: |x| x;
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
        let both = Tensor::stack(&[&a, &b], 2, None).expect("same shapes");
        assert_eq!(both.shape(), [2, 2]);
        assert_eq!((both.rows(0, 1), both.rows(1, 1)), (a.clone(), b.clone()));
        let padded = Tensor::stack(&[&both, &a], 5, Some(both.clone())).expect("same shapes");
        let row = |row| padded.rows(row, 1);
        assert_eq!([row(0), row(1), row(2), row(3), row(4)], [a.clone(), b, a.clone(), a.clone(), a]);
    }

    #[test]
    fn unlike_tensors_do_not_stack() {
        let (a, b) = (Tensor::from(array![[1.0f32]].into_dyn()), Tensor::from(array![[1u8]].into_dyn()));
        assert_eq!(Tensor::stack(&[&a, &b], 2, None), None);
        let wide = Tensor::from(array![[1.0f32, 2.0]].into_dyn());
        assert_eq!(Tensor::stack(&[&a, &wide], 2, None), None);
    }
}
