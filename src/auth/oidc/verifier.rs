//! What has to hold of a token: its length, form, algorithm and key, then its signature, and only then what is in it: issuer, audience
//! and times. What its header says of where a key might be (`jku`, `x5u`, `jwk`) is not looked at.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, Validation, decode};
use serde::Deserialize;
use serde_json::Value;

use super::{
    TokenError,
    claims::{ClaimNames, Claims},
    keys::KeptKeys,
    signature,
};
use crate::{
    auth::{Denied, Scopes},
    config::TokenIssuer,
};

/// The longest token that is read. Those with the groups of a person in them have some thousands of bytes.
pub(super) const MAX_BYTES: usize = 16_384;

/// How far clocks may be apart, in seconds.
const LEEWAY_S: u64 = 60;

/// The algorithms that are taken: those by which nobody can sign who has the public key alone.
const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// Says what tokens open.
#[derive(Debug)]
pub(in crate::auth) struct TokenVerifier {
    /// What has to hold of a token that names this algorithm.
    validations: Vec<(&'static str, Algorithm, Validation)>,
    names: ClaimNames,
    /// The keys of the identity provider.
    pub keys: KeptKeys,
}

/// What a token says that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::auth) struct VerifiedToken {
    /// The name of the tenant, if it has one.
    pub tenant: Option<String>,
    /// What it opens.
    pub scopes: Scopes,
}

/// The part of a token's header that counts.
#[derive(Deserialize)]
struct TokenHeader {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// Whether a text has the form of a token: three parts, or the five of an encrypted one. Keys of `ounce key new` have no points.
pub(in crate::auth) fn looks_like_token(text: &str) -> bool {
    matches!(text.bytes().filter(|byte| *byte == b'.').count(), 2 | 4)
}

impl TokenVerifier {
    /// Begins without keys, but for those of a file.
    ///
    /// # Errors
    /// With a sentence: a file cannot be used.
    pub fn new(issuer: &TokenIssuer) -> Result<Self, String> {
        signature::install();
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[issuer.issuer.as_str()]);
        validation.set_audience(&issuer.audiences);
        validation.validate_nbf = true;
        validation.leeway = LEEWAY_S;
        let of =
            |(name, algorithm)| (name, algorithm, Validation { algorithms: vec![algorithm], ..validation.clone() });
        let validations = ALGORITHMS.into_iter().map(of).collect();
        Ok(Self { validations, names: ClaimNames::new(issuer), keys: KeptKeys::new(issuer)? })
    }

    /// What a token says, if it holds.
    ///
    /// # Errors
    /// It does not hold, or there are no keys yet.
    pub fn verify(&self, token: &str) -> Result<VerifiedToken, Denied> {
        let header = header(token)?;
        let known = self.validations.iter().find(|(name, ..)| *name == header.alg);
        let (_, algorithm, validation) = known.ok_or(TokenError::Algorithm)?;
        let keys = self.keys.current().ok_or(Denied::NoTokenKeys)?;
        let mut found = Err(TokenError::UnknownKey);
        for key in keys.candidates(header.kid.as_deref(), *algorithm) {
            found = decode::<Claims>(token, &key.key, validation).map_err(TokenError::from);
            // Another key may fit where this one does not.
            if found.as_ref().err() != Some(&TokenError::Signature) {
                break;
            }
        }
        let claims = found?.claims;
        Ok(VerifiedToken {
            tenant: self.names.tenant(&claims)?.map(ToOwned::to_owned),
            scopes: self.names.scopes(&claims),
        })
    }

    /// What scopes begin with in tokens.
    pub fn scope_prefix(&self) -> Arc<str> {
        Arc::clone(&self.names.prefix)
    }
}

/// The header of a token, if it can be one.
fn header(token: &str) -> Result<TokenHeader, TokenError> {
    if token.len() > MAX_BYTES {
        return Err(TokenError::TooLong(token.len()));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(_), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(TokenError::Malformed);
    };
    let header = URL_SAFE_NO_PAD.decode(header).map_err(|_| TokenError::Malformed)?;
    let header: TokenHeader = serde_json::from_slice(&header).map_err(|_| TokenError::Malformed)?;
    match header.crit {
        Some(_) => Err(TokenError::Critical),
        None => Ok(header),
    }
}
