//! Which variant of a model answers a request, and why. Pure: names in, an index out.

use std::fmt;

/// A variant, with the reason for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Its place among the model's variants.
    pub variant: usize,
    /// Why this one.
    pub reason: Reason,
}

/// Why a variant was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The request named it.
    Requested,
    /// The request named none, and this is the model's default.
    Default,
}

/// The request named a variant that there is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownVariant(String);

impl fmt::Display for UnknownVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Chooses among `variants`, whose first is the default.
///
/// # Errors
/// When the request names a variant that is not among them; the message names those that are.
pub fn choose<'a>(
    mut variants: impl Iterator<Item = &'a str> + Clone,
    requested: Option<&str>,
) -> Result<Choice, UnknownVariant> {
    let Some(name) = requested else { return Ok(Choice { variant: 0, reason: Reason::Default }) };
    let known = variants.clone();
    let found = variants.position(|variant| variant == name);
    found.map(|variant| Choice { variant, reason: Reason::Requested }).ok_or_else(|| {
        UnknownVariant(format!("there is no variant \"{name}\"; there are {}", known.collect::<Vec<_>>().join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_variant_is_taken_and_none_is_the_first() {
        let variants = ["int8", "fp32"];
        let chosen = |requested| choose(variants.iter().copied(), requested).map(|choice| choice.variant);
        assert_eq!(chosen(None), Ok(0));
        assert_eq!(chosen(Some("fp32")), Ok(1));
        let refused = chosen(Some("fp8")).expect_err("unknown").to_string();
        assert_eq!(refused, "there is no variant \"fp8\"; there are int8, fp32");
    }
}
