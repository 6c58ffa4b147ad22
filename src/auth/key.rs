//! Keys, and the hashes that stand for them in files and in memory.
//!
//! A key that [`ApiKey::generate`] makes has 256 random bits. Nobody can try so many, so a plain SHA-256 keeps it as well as a slow hash
//! of passwords would, and costs a request less than a microsecond.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What every key begins with, so that people and scanners of repositories know one when they see it.
pub(super) const PREFIX: &str = "ounce_";

/// A key as its owner has it. It is shown once, when it is made, and kept nowhere.
pub struct ApiKey(String);

impl ApiKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// When the system gives no random numbers.
    pub fn generate() -> Result<Self, String> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).map_err(|error| format!("the system gives no random numbers: {error}"))?;
        Ok(Self(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(random))))
    }

    /// The key itself, for its owner.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// What is kept of it.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.0)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// The SHA-256 of a key. Two are compared in constant time.
#[derive(Debug, Clone, Copy)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of a key.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// A part of the hash by which it is found among others. How long that takes tells at most this part, and who knows it cannot make a
    /// key of it.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.0.iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte))
    }
}

impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for KeyHash {}

impl fmt::Display for KeyHash {
    /// As `sha256sum` writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for KeyHash {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 32];
        let sane = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !sane {
            return Err("it has 64 hexadecimal digits, as `sha256sum` writes them".to_owned());
        }
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).map_err(|error| error.to_string())?;
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_written_and_read_as_sha256sum_does() {
        let hash = KeyHash::of("abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.to_string(), text);
        assert_eq!(text.parse(), Ok(hash));
        assert_eq!(text.to_uppercase().parse(), Ok(hash));
        assert_eq!(hash.id(), 0xba78_16bf_8f01_cfea);
        for wrong in ["", "ba78", &text.replace('b', "g"), &format!("{text}0"), &"é".repeat(32)] {
            assert!(wrong.parse::<KeyHash>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_new_key_has_256_random_bits_and_is_not_shown_by_chance() {
        let (one, other) = (ApiKey::generate().expect("random"), ApiKey::generate().expect("random"));
        assert_eq!(one.reveal().len(), PREFIX.len() + 43);
        assert_ne!(one.reveal(), other.reveal());
        assert_eq!(format!("{one:?}"), "…");
        assert_eq!(one.hash(), KeyHash::of(one.reveal()));
    }
}
