//! Encoded images as base64 text, as JSON carries them in both protocols.

use base64::{
    Engine, alphabet::STANDARD, engine::DecodePaddingMode, engine::GeneralPurpose, engine::GeneralPurposeConfig,
};
use bytes::Bytes;

use super::OipError;

/// Base64 with or without its trailing `=`.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bytes of an image in base64, with or without a `data:` prefix, line breaks or padding. `name` is where the text stands in the
/// request, for the sentence of a refusal.
///
/// # Errors
/// When it is not base64, is empty, or has more than `limit` bytes.
pub fn decode_image(name: &str, text: &str, limit: usize) -> Result<Bytes, OipError> {
    let bad = |why: String| OipError::BadBody(format!("`{name}`: {why}"));
    let text = match text.strip_prefix("data:") {
        None => text,
        Some(url) => match url.split_once(";base64,") {
            Some((_, data)) => data,
            None => return Err(bad("the data: URL is not base64".to_owned())),
        },
    };
    let decoded = if text.bytes().any(|b| b.is_ascii_whitespace()) {
        BASE64.decode(text.split_ascii_whitespace().collect::<String>())
    } else {
        BASE64.decode(text)
    };
    let bytes = decoded.map_err(|error| bad(format!("not base64: {error}")))?;
    match bytes.len() {
        0 => Err(bad("is empty; send the bytes of a picture".to_owned())),
        n if n > limit => Err(OipError::TooLarge { what: format!("`{name}` has {n} bytes"), limit }),
        _ => Ok(bytes.into()),
    }
}
