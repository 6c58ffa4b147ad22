//! Tensors of any datatype to and from bytes (little endian) and JSON.
//!
//! What a client sends is never trusted: a shape alone allocates nothing, and a number that does not fit its type is refused. The
//! reason comes back as the end of a sentence, before which the caller sets the name of the input.

use half::f16;
use ndarray::{ArrayD, IxDyn};
use serde::{
    Serialize, Serializer,
    de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor},
};

use crate::vision::tensor::{ElementType, Tensor};

/// A number as JSON and Protocol Buffers have it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scalar {
    Bool(bool),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
}

/// What an element type is on the wire.
trait Element: Copy {
    const BYTES: usize;
    /// From exactly [`Self::BYTES`] bytes; `None` for bytes that no element has.
    fn from_le(bytes: &[u8]) -> Option<Self>;
    fn put_le(self, into: &mut Vec<u8>);
    /// `None` when the number does not fit.
    fn from_scalar(scalar: Scalar) -> Option<Self>;
    fn json(self) -> impl Serialize;
}

macro_rules! integers {
    ($($int:ty),*) => {$(
        impl Element for $int {
            const BYTES: usize = size_of::<Self>();
            fn from_le(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self::from_le_bytes)
            }
            fn put_le(self, into: &mut Vec<u8>) {
                into.extend_from_slice(&self.to_le_bytes());
            }
            fn from_scalar(scalar: Scalar) -> Option<Self> {
                match scalar {
                    Scalar::Signed(n) => n.try_into().ok(),
                    Scalar::Unsigned(n) => n.try_into().ok(),
                    // 3.0 is as good as 3; the cast back tells whether anything was lost.
                    Scalar::Float(x) => Some(x as Self).filter(|n| *n as f64 == x),
                    Scalar::Bool(_) => None,
                }
            }
            fn json(self) -> impl Serialize {
                self
            }
        }
    )*};
}

integers!(u8, u16, u32, u64, i8, i16, i32, i64);

macro_rules! floats {
    ($($float:ty: $from:expr, $json:expr;)*) => {$(
        impl Element for $float {
            const BYTES: usize = size_of::<Self>();
            fn from_le(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self::from_le_bytes)
            }
            fn put_le(self, into: &mut Vec<u8>) {
                into.extend_from_slice(&self.to_le_bytes());
            }
            fn from_scalar(scalar: Scalar) -> Option<Self> {
                match scalar {
                    Scalar::Signed(n) => Some($from(n as f64)),
                    Scalar::Unsigned(n) => Some($from(n as f64)),
                    Scalar::Float(x) => Some($from(x)),
                    Scalar::Bool(_) => None,
                }
            }
            fn json(self) -> impl Serialize {
                $json(self)
            }
        }
    )*};
}

floats! {
    f16: f16::from_f64, f16::to_f32;
    f32: |x: f64| x as f32, |x: f32| x;
    f64: |x: f64| x, |x: f64| x;
}

impl Element for bool {
    const BYTES: usize = 1;
    fn from_le(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }
    fn put_le(self, into: &mut Vec<u8>) {
        into.push(self.into());
    }
    fn from_scalar(scalar: Scalar) -> Option<Self> {
        match scalar {
            Scalar::Bool(value) => Some(value),
            Scalar::Signed(n @ (0 | 1)) => Some(n == 1),
            Scalar::Unsigned(n @ (0 | 1)) => Some(n == 1),
            Scalar::Signed(_) | Scalar::Unsigned(_) | Scalar::Float(_) => None,
        }
    }
    fn json(self) -> impl Serialize {
        self
    }
}

/// Runs `$body` with `$T` standing for the Rust type of an [`ElementType`].
macro_rules! with_type {
    ($element:expr, $T:ident => $body:expr) => {
        match $element {
            ElementType::Bool => {
                type $T = bool;
                $body
            }
            ElementType::U8 => {
                type $T = u8;
                $body
            }
            ElementType::U16 => {
                type $T = u16;
                $body
            }
            ElementType::U32 => {
                type $T = u32;
                $body
            }
            ElementType::U64 => {
                type $T = u64;
                $body
            }
            ElementType::I8 => {
                type $T = i8;
                $body
            }
            ElementType::I16 => {
                type $T = i16;
                $body
            }
            ElementType::I32 => {
                type $T = i32;
                $body
            }
            ElementType::I64 => {
                type $T = i64;
                $body
            }
            ElementType::F16 => {
                type $T = f16;
                $body
            }
            ElementType::F32 => {
                type $T = f32;
                $body
            }
            ElementType::F64 => {
                type $T = f64;
                $body
            }
        }
    };
}

/// Runs `$body` with `$array` standing for the array in a [`Tensor`].
macro_rules! with_array {
    ($tensor:expr, $array:ident => $body:expr) => {
        match $tensor {
            Tensor::Bool($array) => $body,
            Tensor::U8($array) => $body,
            Tensor::U16($array) => $body,
            Tensor::U32($array) => $body,
            Tensor::U64($array) => $body,
            Tensor::I8($array) => $body,
            Tensor::I16($array) => $body,
            Tensor::I32($array) => $body,
            Tensor::I64($array) => $body,
            Tensor::F16($array) => $body,
            Tensor::F32($array) => $body,
            Tensor::F64($array) => $body,
        }
    };
}

/// The number of elements of a shape; `None` when nothing can have so many.
pub(super) fn count(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |product, dim| product.checked_mul(*dim))
}

/// Reads a tensor from its bytes.
pub(super) fn from_bytes(element: ElementType, shape: &[usize], bytes: &[u8]) -> Result<Tensor, String> {
    let wanted = count(shape).and_then(|count| count.checked_mul(element.size_bytes()));
    if wanted != Some(bytes.len()) {
        let wanted = wanted.map_or("more than there can be".to_owned(), |n| n.to_string());
        return Err(format!("{} bytes came, but {} {shape:?} has {wanted}", bytes.len(), element.oip_name()));
    }
    with_type!(element, T => {
        let values: Option<Vec<T>> = bytes.chunks_exact(<T as Element>::BYTES).map(<T as Element>::from_le).collect();
        array(shape, values.ok_or("a BOOL is neither 0 nor 1")?).map(Tensor::from)
    })
}

/// Reads a tensor from the text of a JSON array, flat or nested.
pub(super) fn from_json(element: ElementType, shape: &[usize], json: &str) -> Result<Tensor, String> {
    let count = count(shape).ok_or_else(|| format!("{shape:?} has more elements than there can be"))?;
    with_type!(element, T => {
        // Each element takes two characters at least: a shape alone cannot make anybody allocate.
        let mut values: Vec<T> = Vec::with_capacity(count.min(json.len() / 2 + 1));
        let mut json = serde_json::Deserializer::from_str(json);
        let flat = Flat { into: &mut values, most: count, element };
        flat.deserialize(&mut json).map_err(|error| error.to_string())?;
        if values.len() != count {
            return Err(format!("{} elements came, but {shape:?} has {count}", values.len()));
        }
        array(shape, values).map(Tensor::from)
    })
}

/// Reads a tensor from numbers, which `feed` hands over one by one.
pub(super) fn from_scalars(
    element: ElementType,
    shape: &[usize],
    feed: impl FnOnce(&mut dyn FnMut(Scalar) -> Result<(), String>) -> Result<(), String>,
) -> Result<Tensor, String> {
    let count = count(shape).ok_or_else(|| format!("{shape:?} has more elements than there can be"))?;
    with_type!(element, T => {
        let mut values: Vec<T> = Vec::new();
        feed(&mut |scalar| {
            if values.len() == count {
                return Err(format!("more elements came than the shape's {count}"));
            }
            let value = T::from_scalar(scalar).ok_or_else(|| format!("{scalar:?} is no {}", element.oip_name()))?;
            values.push(value);
            Ok(())
        })?;
        if values.len() != count {
            return Err(format!("{} elements came, but {shape:?} has {count}", values.len()));
        }
        array(shape, values).map(Tensor::from)
    })
}

fn array<T>(shape: &[usize], values: Vec<T>) -> Result<ArrayD<T>, String> {
    ArrayD::from_shape_vec(IxDyn(shape), values).map_err(|error| format!("{shape:?}: {error}"))
}

/// Appends a tensor's bytes, and says how many these are.
pub(super) fn put_bytes(tensor: &Tensor, into: &mut Vec<u8>) -> usize {
    let before = into.len();
    into.reserve(tensor.shape().iter().product::<usize>().saturating_mul(tensor.element().size_bytes()));
    with_array!(tensor, array => array.iter().for_each(|value| value.put_le(into)));
    into.len() - before
}

/// A tensor's values as `f64`s, for those who compare them.
pub(super) fn to_f64(tensor: &Tensor) -> Vec<f64> {
    fn number(value: &impl Element) -> f64 {
        // Through JSON's numbers; `null` is what JSON makes of NaN.
        serde_json::to_value(value.json())
            .ok()
            .and_then(|v| v.as_f64().or(v.as_bool().map(f64::from)))
            .unwrap_or(f64::NAN)
    }
    with_array!(tensor, array => array.iter().map(number).collect())
}

/// A tensor as a flat JSON array.
#[derive(Debug)]
pub(super) struct AsJson<'a>(pub &'a Tensor);

impl Serialize for AsJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        with_array!(self.0, array => serializer.collect_seq(array.iter().map(|value| value.json())))
    }
}

/// Collects numbers at any depth of nesting, at most so many.
struct Flat<'a, T> {
    into: &'a mut Vec<T>,
    most: usize,
    element: ElementType,
}

impl<T: Element> Flat<'_, T> {
    fn push<E: serde::de::Error>(self, scalar: Scalar) -> Result<(), E> {
        if self.into.len() == self.most {
            return Err(E::custom(format!("more elements came than the shape's {}", self.most)));
        }
        let wrong = || E::custom(format!("{scalar:?} is no {}", self.element.oip_name()));
        self.into.push(T::from_scalar(scalar).ok_or_else(wrong)?);
        Ok(())
    }
}

impl<'de, T: Element> DeserializeSeed<'de> for Flat<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T: Element> Visitor<'de> for Flat<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} numbers, flat or nested", self.element.oip_name())
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.push(Scalar::Bool(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.push(Scalar::Signed(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.push(Scalar::Unsigned(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.push(Scalar::Float(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { into, most, element } = self;
        while seq.next_element_seed(Flat { into: &mut *into, most, element })?.is_some() {}
        if into.len() > most { Err(A::Error::custom("too many elements")) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_survives_bytes_and_json() {
        for &element in ElementType::ALL {
            let tensor = from_json(element, &[2, 2], "[[0, 1], [1, 1]]").expect("json");
            let mut bytes = Vec::new();
            assert_eq!(put_bytes(&tensor, &mut bytes), 4 * element.size_bytes());
            assert_eq!(from_bytes(element, &[2, 2], &bytes).expect("bytes"), tensor);
            let json = serde_json::to_string(&AsJson(&tensor)).expect("json");
            assert_eq!(from_json(element, &[2, 2], &json).expect("json"), tensor, "{json}");
            assert_eq!(to_f64(&tensor), [0.0, 1.0, 1.0, 1.0]);
        }
    }

    #[test]
    fn shapes_that_lie_cost_nothing() {
        let huge = [usize::MAX, 2];
        insta::assert_snapshot!(from_bytes(ElementType::F32, &huge, b"1234").expect_err("huge"), @"4 bytes came, but FP32 [18446744073709551615, 2] has more than there can be");
        insta::assert_snapshot!(from_json(ElementType::F32, &huge, "[1]").expect_err("huge"), @"[18446744073709551615, 2] has more elements than there can be");
        insta::assert_snapshot!(from_json(ElementType::F32, &[1 << 40], "[1]").expect_err("large"), @"1 elements came, but [1099511627776] has 1099511627776");
        insta::assert_snapshot!(from_json(ElementType::U8, &[2], "[1, [2, 3]]").expect_err("more"), @"more elements came than the shape's 2 at line 1 column 9");
        insta::assert_snapshot!(from_bytes(ElementType::F32, &[1], b"12345").expect_err("more"), @"5 bytes came, but FP32 [1] has 4");
        assert!(from_bytes(ElementType::U8, &[0, usize::MAX, usize::MAX], b"").is_err());
    }

    #[test]
    fn numbers_must_fit_their_type() {
        for (element, text) in [
            (ElementType::U8, "[256]"),
            (ElementType::I8, "[-129]"),
            (ElementType::I32, "[1.5]"),
            (ElementType::U64, "[-1]"),
            (ElementType::Bool, "[2]"),
            (ElementType::F32, "[true]"),
            (ElementType::F32, "[null]"),
            (ElementType::F32, "[\"1\"]"),
            (ElementType::F32, "[NaN]"),
        ] {
            assert!(from_json(element, &[1], text).is_err(), "{text}");
        }
        assert_eq!(from_json(ElementType::U8, &[1], "[3.0]"), from_json(ElementType::U8, &[1], "3"));
        assert!(from_bytes(ElementType::Bool, &[1], &[2]).is_err());
        let deep = "[".repeat(100_000);
        assert!(from_json(ElementType::U8, &[1], &deep).is_err());
    }
}
