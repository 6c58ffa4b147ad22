//! The wire format of Protocol Buffers, field by field. Nothing is allocated here: a message of a few bytes must not become one of
//! many, which a decoder that builds all of it at once cannot promise (an empty input takes two bytes on the wire and hundreds in
//! memory).

/// The fields of a message, in the order in which they came.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

/// A field's number and its value.
pub(super) type Field<'a> = (u32, WireValue<'a>);

/// A value as the wire has it. What it stands for is known to who knows the field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WireValue<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Fixed32([u8; 4]),
    /// Text, bytes, a message, or packed numbers.
    Delimited(&'a [u8]),
}

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn field(&mut self) -> Option<Field<'a>> {
        let key = varint(&mut self.rest)?;
        let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0)?;
        let value = match key & 7 {
            0 => WireValue::Varint(varint(&mut self.rest)?),
            1 => WireValue::Fixed64(self.array()?),
            2 => {
                let length = usize::try_from(varint(&mut self.rest)?).ok()?;
                let (bytes, rest) = self.rest.split_at_checked(length)?;
                self.rest = rest;
                WireValue::Delimited(bytes)
            }
            5 => WireValue::Fixed32(self.array()?),
            // Groups, which nobody sends any more.
            _ => return None,
        };
        Some((number, value))
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    /// An error ends the message.
    type Item = Result<Field<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let left = self.rest.len();
        let field = self.field();
        if field.is_none() {
            self.rest = &[];
        }
        Some(field.ok_or_else(|| format!("the message cannot be read as Protocol Buffers {left} bytes before its end")))
    }
}

impl<'a> WireValue<'a> {
    /// Bytes, of a field that has these.
    pub(super) fn bytes(self, field: &str) -> Result<&'a [u8], String> {
        match self {
            Self::Delimited(bytes) => Ok(bytes),
            Self::Varint(_) | Self::Fixed64(_) | Self::Fixed32(_) => Err(wrong_type(field)),
        }
    }

    /// Text, of a field that has this.
    pub(super) fn text(self, field: &str) -> Result<&'a str, String> {
        std::str::from_utf8(self.bytes(field)?).map_err(|_| format!("`{field}` is no UTF-8"))
    }

    /// The numbers of a repeated field: one, or several in a pack.
    pub(super) fn varints(self, field: &str) -> Result<Varints<'a>, String> {
        match self {
            Self::Varint(number) => Ok(Varints { first: Some(number), rest: &[] }),
            Self::Delimited(rest) => Ok(Varints { first: None, rest }),
            Self::Fixed64(_) | Self::Fixed32(_) => Err(wrong_type(field)),
        }
    }
}

/// The refusal of a field that came with a type that it does not have.
pub(super) fn wrong_type(field: &str) -> String {
    format!("`{field}` has another type on the wire than the protocol says")
}

/// Numbers one after the other.
#[derive(Debug, Clone)]
pub(super) struct Varints<'a> {
    first: Option<u64>,
    rest: &'a [u8],
}

impl Iterator for Varints<'_> {
    type Item = Result<u64, String>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        if self.rest.is_empty() {
            return None;
        }
        let number = varint(&mut self.rest);
        if number.is_none() {
            self.rest = &[];
        }
        Some(number.ok_or_else(|| "the last number of a pack is not whole".to_owned()))
    }
}

/// Takes a number of one to ten bytes off the front, seven bits in each.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for (i, byte) in bytes.iter().take(10).enumerate() {
        let bits = u64::from(byte & 0x7f);
        // Of the tenth byte, one bit is left.
        if i == 9 && bits > 1 {
            return None;
        }
        number |= bits << (7 * i);
        if byte & 0x80 == 0 {
            *bytes = &bytes[i + 1..];
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_as_they_were_sent() {
        let message = b"\x08\x96\x01\x12\x02hi\x1d\0\0\x80\x3f\x21\0\0\0\0\0\0\xf0\x3f";
        let fields: Vec<_> = Fields::of(message).collect::<Result<_, _>>().expect("whole");
        let wanted = [
            (1, WireValue::Varint(150)),
            (2, WireValue::Delimited(b"hi")),
            (3, WireValue::Fixed32(1f32.to_le_bytes())),
            (4, WireValue::Fixed64(1f64.to_le_bytes())),
        ];
        assert_eq!(fields, wanted);
        let packed: Result<Vec<_>, _> =
            WireValue::Delimited(b"\x01\x96\x01").varints("shape").expect("a pack").collect();
        assert_eq!(packed.expect("whole"), [1, 150]);
    }

    #[test]
    fn what_is_torn_ends_with_an_error() {
        for message in [
            &b"\x0a\x05hi"[..],                               // fewer bytes than it says
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01x", // 2^64 - 1 bytes
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f",  // more than 64 bits
            b"\x08\x80",                                      // a number without an end
            b"\x0b\x0c",                                      // a group
            b"\x00\x00",                                      // field 0
            b"\x0d\0\0",                                      // half of four bytes
        ] {
            let fields: Vec<_> = Fields::of(message).collect();
            assert!(matches!(fields[..], [Err(_)]), "{message:?}: {fields:?}");
        }
        let torn: Vec<_> = WireValue::Delimited(b"\x01\x80").varints("shape").expect("a pack").collect();
        assert!(matches!(torn[..], [Ok(1), Err(_)]));
    }
}
