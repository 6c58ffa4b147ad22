//! The elements of an input in the typed fields of gRPC's `InferTensorContents`, one field a kind of number.

use bytes::Bytes;

use super::{
    OipError,
    protobuf::{Fields, WireValue, wrong_type},
    tensor_codec::{self, Scalar},
};
use crate::vision::tensor::{ElementType, Tensor};

/// The fields by their numbers, from 1 on.
const FIELDS: [&str; 8] = [
    "bool_contents",
    "int_contents",
    "int64_contents",
    "uint_contents",
    "uint64_contents",
    "fp32_contents",
    "fp64_contents",
    "bytes_contents",
];

/// The number of the field for encoded images.
const BYTES: u32 = 8;

/// Reads a tensor. As elsewhere, a shape alone allocates nothing.
pub(super) fn tensor(element: ElementType, shape: &[usize], contents: &[u8]) -> Result<Tensor, String> {
    let integers = |number: u32, scalar: fn(u64) -> Scalar| {
        tensor_codec::from_scalars(element, shape, |push| {
            for value in values(contents, number, element.oip_name()) {
                for integer in value?.varints(name(number))? {
                    push(scalar(integer?))?;
                }
            }
            Ok(())
        })
    };
    match element {
        ElementType::Bool => integers(1, |n| Scalar::Bool(n != 0)),
        ElementType::I8 | ElementType::I16 | ElementType::I32 => integers(2, |n| Scalar::Signed((n as i32).into())),
        ElementType::I64 => integers(3, |n| Scalar::Signed(n as i64)),
        ElementType::U8 | ElementType::U16 | ElementType::U32 => integers(4, |n| Scalar::Unsigned((n as u32).into())),
        ElementType::U64 => integers(5, Scalar::Unsigned),
        ElementType::F16 => Err("FP16 has no typed contents; send it in `raw_input_contents`".to_owned()),
        ElementType::F32 => floats(element, shape, contents, 6),
        ElementType::F64 => floats(element, shape, contents, 7),
    }
}

/// Reads floats, which the wire has as their bytes.
fn floats(element: ElementType, shape: &[usize], contents: &[u8], number: u32) -> Result<Tensor, String> {
    let bytes = |value: &WireValue<'_>| match (value, number) {
        (WireValue::Delimited(pack), _) => Ok(pack.to_vec()),
        (WireValue::Fixed32(one), 6) => Ok(one.to_vec()),
        (WireValue::Fixed64(one), 7) => Ok(one.to_vec()),
        _ => Err(wrong_type(name(number))),
    };
    let all: Vec<_> = values(contents, number, element.oip_name()).collect::<Result<_, _>>()?;
    match all[..] {
        // Who sends many numbers sends them in one pack.
        [WireValue::Delimited(pack)] => tensor_codec::from_bytes(element, shape, pack),
        _ => {
            let bytes: Vec<_> = all.iter().map(bytes).collect::<Result<_, _>>()?;
            tensor_codec::from_bytes(element, shape, &bytes.concat())
        }
    }
}

/// Reads encoded images; `place` is where they stand in the request.
pub(super) fn images(place: &str, contents: &Bytes, count: usize, limit: usize) -> Result<Vec<Bytes>, OipError> {
    let wrong = |why: String| OipError::parameter(place, why);
    let mut images = Vec::with_capacity(count);
    let mut came = 0;
    for value in values(contents, BYTES, "BYTES") {
        let image = value.and_then(|value| value.bytes(name(BYTES))).map_err(wrong)?;
        if image.len() > limit {
            return Err(OipError::TooLarge { what: format!("`{place}[{came}]` has {} bytes", image.len()), limit });
        }
        came += 1;
        if came <= count {
            images.push(contents.slice_ref(image));
        }
    }
    if came == count { Ok(images) } else { Err(wrong(format!("{came} pictures came, but the shape has {count}"))) }
}

/// The values of one field; those of another field are an error, since they would be passed over in silence.
fn values<'a>(
    contents: &'a [u8],
    number: u32,
    datatype: &'a str,
) -> impl Iterator<Item = Result<WireValue<'a>, String>> {
    Fields::of(contents).filter_map(move |field| match field {
        Ok((n, value)) if n == number => Some(Ok(value)),
        Ok((n, _)) if (1..=BYTES).contains(&n) => {
            Some(Err(format!("{datatype} comes in `{}`, but `{}` came", name(number), name(n))))
        }
        // What a later protocol adds.
        Ok(_) => None,
        Err(why) => Some(Err(why)),
    })
}

fn name(number: u32) -> &'static str {
    usize::try_from(number).ok().and_then(|n| FIELDS.get(n.wrapping_sub(1))).copied().unwrap_or("contents")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field of bytes, shorter than 128.
    fn pack(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).expect("short")], bytes].concat()
    }

    #[test]
    fn each_datatype_has_its_field() {
        let read = |element, contents: &[u8]| tensor_codec::to_f64(&tensor(element, &[2], contents).expect("two"));
        let floats: Vec<u8> = [1f32, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let doubles: Vec<u8> = [1f64, -2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
        let minus_two = b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        let integers = [&b"\x01"[..], minus_two].concat();
        assert_eq!(read(ElementType::F32, &pack(6, &floats)), [1.0, -2.0]);
        assert_eq!(read(ElementType::F64, &pack(7, &doubles)), [1.0, -2.0]);
        for (element, number) in [(ElementType::I8, 2), (ElementType::I32, 2), (ElementType::I64, 3)] {
            assert_eq!(read(element, &pack(number, &integers)), [1.0, -2.0]);
        }
        for (element, number) in [(ElementType::U8, 4), (ElementType::U64, 5), (ElementType::Bool, 1)] {
            assert_eq!(read(element, &pack(number, b"\x01\x00")), [1.0, 0.0]);
            // One by one, as proto2 has them.
            assert_eq!(read(element, &[number << 3, 1, number << 3, 0]), [1.0, 0.0]);
        }
        let one_by_one = [&[6 << 3 | 5][..], &floats[..4], &[6 << 3 | 5], &floats[4..]].concat();
        assert_eq!(read(ElementType::F32, &one_by_one), [1.0, -2.0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let refusal = |element, contents: &[u8]| tensor(element, &[2], contents).expect_err("refused");
        insta::assert_snapshot!(refusal(ElementType::U8, &pack(4, b"\x01\x80\x02")), @"Unsigned(256) is no UINT8");
        insta::assert_snapshot!(refusal(ElementType::U8, &pack(4, b"\x01")), @"1 elements came, but [2] has 2");
        insta::assert_snapshot!(refusal(ElementType::U8, &pack(4, b"\x01\x01\x01")), @"more elements came than the shape's 2");
        insta::assert_snapshot!(refusal(ElementType::F32, &pack(6, b"\0\0\0\0")), @"4 bytes came, but FP32 [2] has 8");
        insta::assert_snapshot!(refusal(ElementType::F32, &pack(4, b"\x01\x01")), @"FP32 comes in `fp32_contents`, but `uint_contents` came");
        insta::assert_snapshot!(refusal(ElementType::F32, b"\x31\0\0\0\0\0\0\0\0"), @"`fp32_contents` has another type on the wire than the protocol says");
        insta::assert_snapshot!(refusal(ElementType::F16, b""), @"FP16 has no typed contents; send it in `raw_input_contents`");
        insta::assert_snapshot!(tensor(ElementType::U8, &[1 << 40, 1 << 40], b"").expect_err("huge"), @"[1099511627776, 1099511627776] has more elements than there can be");
    }

    #[test]
    fn pictures_are_counted_and_measured() {
        let two: Bytes = [pack(8, b"jpg"), pack(8, b"png!")].concat().into();
        assert_eq!(images("inputs.x", &two, 2, 9).expect("two"), ["jpg", "png!"]);
        let refusal = |count, limit| images("inputs.x", &two, count, limit).expect_err("refused");
        insta::assert_snapshot!(refusal(1, 9), @"`inputs.x`: 2 pictures came, but the shape has 1");
        insta::assert_snapshot!(refusal(2, 3), @"`inputs.x[1]` has 4 bytes, more than the limit of 3; OUNCE_PICTURES__MAX_BYTES sets it");
    }
}
