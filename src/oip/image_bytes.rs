//! Encoded images as elements of a tensor of datatype BYTES, the way OpenVINO Model Server takes them.

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

use super::{OipError, base64};

/// Reads the elements from bytes: each is a length (four bytes, little endian), then so many bytes.
pub(super) fn from_bytes(name: &str, bytes: &Bytes, count: usize, limit: usize) -> Result<Vec<Bytes>, OipError> {
    let wrong = |why: String| OipError::parameter(format!("inputs.{name}"), why);
    let mut rest = bytes.clone();
    let mut images = Vec::with_capacity(count);
    for i in 0..count {
        let Some(head) = rest.first_chunk::<4>() else {
            return Err(wrong(format!("element {i} has no length: {} bytes are left", rest.len())));
        };
        let length = usize::try_from(u32::from_le_bytes(*head)).unwrap_or(usize::MAX);
        if length > rest.len() - 4 {
            return Err(wrong(format!("element {i} says it has {length} bytes, but {} are left", rest.len() - 4)));
        }
        if length > limit {
            return Err(OipError::TooLarge { what: format!("`inputs.{name}[{i}]` has {length} bytes"), limit });
        }
        drop(rest.split_to(4));
        images.push(rest.split_to(length));
    }
    if rest.is_empty() {
        Ok(images)
    } else {
        Err(wrong(format!("{} bytes are left behind the last element", rest.len())))
    }
}

/// Reads the elements from the text of a JSON array, flat or nested: base64 strings, or `{"b64": "…"}`.
pub(super) fn from_json(name: &str, json: &str, count: usize, limit: usize) -> Result<Vec<Bytes>, OipError> {
    let wrong = |why: &dyn std::fmt::Display| OipError::parameter(format!("inputs.{name}"), why);
    let Texts(texts) = serde_json::from_str(json).map_err(|error| wrong(&error))?;
    if texts.len() != count {
        return Err(wrong(&format!("{} pictures came, but the shape has {count}", texts.len())));
    }
    texts
        .iter()
        .enumerate()
        .map(|(i, text)| base64::decode_image(&format!("inputs.{name}[{i}]"), text, limit))
        .collect()
}

/// Strings at any depth of nesting.
#[derive(Default)]
struct Texts(Vec<String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextsVisitor)
    }
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Texts;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("base64 strings, or {\"b64\": \"<base64>\"}")
    }

    fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
        Ok(Texts(vec![text.to_owned()]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Texts, A::Error> {
        let mut all = Texts::default();
        while let Some(Texts(mut more)) = seq.next_element()? {
            all.0.append(&mut more);
        }
        Ok(all)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
        match map.next_entry::<String, String>()? {
            Some((key, text)) if key == "b64" && map.next_key::<String>()?.is_none() => Ok(Texts(vec![text])),
            _ => Err(serde::de::Error::custom("an object has `b64` and nothing else")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_framed_by_their_lengths() {
        let body = Bytes::from_static(b"\x01\0\0\0a\x02\0\0\0bc");
        assert_eq!(from_bytes("images", &body, 2, 9).expect("two"), ["a", "bc"]);
        let refusal = |body: &Bytes, count, limit| from_bytes("images", body, count, limit).expect_err("refused");
        insta::assert_snapshot!(refusal(&body, 1, 9), @"`inputs.images`: 6 bytes are left behind the last element");
        insta::assert_snapshot!(refusal(&body, 3, 9), @"`inputs.images`: element 2 has no length: 0 bytes are left");
        insta::assert_snapshot!(refusal(&body, 2, 1), @"`inputs.images[1]` has 2 bytes, more than the limit of 1; OUNCE_PICTURES__MAX_BYTES sets it");
        insta::assert_snapshot!(refusal(&Bytes::from_static(b"\xff\xff\xff\xffa"), 1, 9), @"`inputs.images`: element 0 says it has 4294967295 bytes, but 1 are left");
    }

    #[test]
    fn json_has_base64_in_two_ways() {
        for json in [r#"["YQ==",{"b64":"YmM="}]"#, r#"[["YQ=="],["YmM="]]"#] {
            assert_eq!(from_json("images", json, 2, 9).expect("two"), ["a", "bc"]);
        }
        for json in [r#"["YQ=="]"#, "[1,2]", r#"[{"b64":"YQ==","x":"y"},"YQ=="]"#, r#"["?","YQ=="]"#] {
            assert!(!matches!(from_json("images", json, 2, 9), Ok(_) | Err(OipError::TooLarge { .. })), "{json}");
        }
    }
}
