//! The keys that sign tokens, as an identity provider publishes them: a JSON Web Key Set (RFC 7517).
//!
//! What cannot be used is left out: keys for encryption, shared secrets, curves and algorithms that are not taken here.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

/// The most keys that are kept. An identity provider has two to ten.
const MAX_KEYS: usize = 100;

/// The most keys that are tried on one token, so that a token without a key's name costs no more than a few checks.
const MAX_TRIES: usize = 4;

/// The smallest RSA key in bytes: 2048 bits.
const MIN_RSA_BYTES: usize = 256;

/// The algorithms of RSA keys that name none.
const OF_RSA: [Algorithm; 6] =
    [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

/// A key that signs tokens.
#[derive(Debug, Clone)]
pub(super) struct TokenKey {
    /// Its name in tokens.
    id: Option<String>,
    /// What it may sign by.
    algorithms: Vec<Algorithm>,
    /// The public key.
    pub key: DecodingKey,
}

/// All keys that sign tokens.
#[derive(Debug, Clone)]
pub(super) struct TokenKeys {
    keys: Vec<TokenKey>,
    /// How many keys were left out.
    pub unusable: usize,
}

/// A key set as it is published.
#[derive(Deserialize)]
struct PublishedKeys {
    keys: Vec<Value>,
}

impl TokenKeys {
    /// Reads a key set.
    ///
    /// # Errors
    /// It is none, or none of its keys can be used.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let set: PublishedKeys = serde_json::from_slice(json)
            .map_err(|_| "it is no JSON Web Key Set: {\"keys\": […]} is wanted".to_owned())?;
        let all = set.keys.len();
        let keys: Vec<_> = set.keys.into_iter().filter_map(TokenKey::of).take(MAX_KEYS).collect();
        if keys.is_empty() {
            return Err(format!(
                "none of its {all} keys can sign tokens: RSA of 2048 bits or more, P-256, P-384 or Ed25519 is wanted"
            ));
        }
        Ok(Self { unusable: all - keys.len(), keys })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys that may have signed a token that names this key, or none. A few at most.
    pub fn candidates(&self, id: Option<&str>, algorithm: Algorithm) -> impl Iterator<Item = &TokenKey> {
        // A key without a name may be the one that is named; a token without a name may be of any key.
        let named = self.keys.iter().any(|key| id.is_some() && key.id.as_deref() == id);
        let fits = move |key: &&TokenKey| match (id, key.id.as_deref()) {
            (Some(_), theirs) if named => theirs == id,
            (Some(_), theirs) => theirs.is_none(),
            (None, _) => true,
        };
        self.keys.iter().filter(fits).filter(move |key| key.algorithms.contains(&algorithm)).take(MAX_TRIES)
    }
}

impl TokenKey {
    /// The key, if it can be used.
    fn of(published: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(published).ok()?;
        let common = &jwk.common;
        let signs = common.public_key_use.as_ref().is_none_or(|usage| *usage == PublicKeyUse::Signature);
        let verifies = common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
        if !signs || !verifies {
            return None;
        }
        let possible: &[Algorithm] = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => &OF_RSA,
            AlgorithmParameters::EllipticCurve(key) => match key.curve {
                EllipticCurve::P256 if are_bytes(&key.x, 32) && are_bytes(&key.y, 32) => &[Algorithm::ES256],
                EllipticCurve::P384 if are_bytes(&key.x, 48) && are_bytes(&key.y, 48) => &[Algorithm::ES384],
                _ => &[],
            },
            AlgorithmParameters::OctetKeyPair(key) => match key.curve {
                EllipticCurve::Ed25519 if are_bytes(&key.x, 32) => &[Algorithm::EdDSA],
                _ => &[],
            },
            // A shared secret is no public key, whoever publishes it.
            _ => &[],
        };
        let algorithms: Vec<_> = match common.key_algorithm {
            Some(named) => {
                Algorithm::try_from(named).ok().filter(|named| possible.contains(named)).into_iter().collect()
            }
            None => possible.to_vec(),
        };
        let key = DecodingKey::from_jwk(&jwk).ok()?;
        let long_enough = match key.kind() {
            // Some identity providers write a zero in front.
            DecodingKeyKind::RsaModulusExponent { n, .. } => {
                n.iter().skip_while(|byte| **byte == 0).count() >= MIN_RSA_BYTES
            }
            DecodingKeyKind::SecretOrDer(_) => true,
        };
        let usable = long_enough && !algorithms.is_empty();
        let key = without_zeros(key);
        usable.then(|| Self { id: jwk.common.key_id, algorithms, key })
    }
}

/// The same key without zeros in front, which ring does not take.
fn without_zeros(key: DecodingKey) -> DecodingKey {
    let short = |bytes: &[u8]| bytes.iter().copied().skip_while(|byte| *byte == 0).collect::<Vec<_>>();
    match key.kind() {
        DecodingKeyKind::RsaModulusExponent { n, e } => DecodingKey::from_rsa_raw_components(&short(n), &short(e)),
        DecodingKeyKind::SecretOrDer(_) => key,
    }
}

/// Whether a text is so many bytes in base64url.
fn are_bytes(text: &str, count: usize) -> bool {
    URL_SAFE_NO_PAD.decode(text).is_ok_and(|bytes| bytes.len() == count)
}
