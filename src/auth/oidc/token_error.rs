//! Why a token opens nothing. Each message is one sentence for the client, and repeats nothing of the token.

use jsonwebtoken::errors::{Error, ErrorKind};

/// Why a token opens nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is longer than any token is.
    #[error("the token has {0} bytes, and one of at most {max} is read", max = super::verifier::MAX_BYTES)]
    TooLong(usize),
    /// It is no token, or an encrypted one.
    #[error(
        "the token is no signed JWT: three parts in base64url with points between them, two of them JSON (RFC 7519)"
    )]
    Malformed,
    /// It is signed by an algorithm that anybody could sign by, or by none.
    #[error(
        "the token is signed by an algorithm that is not taken; RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 and EdDSA are"
    )]
    Algorithm,
    /// Its header says that it is not to be read by whoever does not know something that is not known here.
    #[error("the token's header says (`crit`) that a server must know what this one does not")]
    Critical,
    /// The identity provider has no such key.
    #[error("the token is signed by a key (`kid`) that the identity provider does not have; ask it for a new token")]
    UnknownKey,
    /// It was changed, or somebody else has signed it.
    #[error("the token's signature does not hold; it was changed, or is signed by another than the identity provider")]
    Signature,
    /// Its time is over.
    #[error("the token has expired (`exp`); ask the identity provider for a new one")]
    Expired,
    /// Its time has not come.
    #[error("the token does not hold yet (`nbf`); come later, or compare the clocks")]
    NotYet,
    /// Somebody else has issued it.
    #[error("the token is of another issuer (`iss`) than the one that this server believes (auth.oidc.issuer)")]
    Issuer,
    /// It is for another service.
    #[error("the token is for another audience (`aud`) than this server (auth.oidc.audience)")]
    Audience,
    /// It lacks a claim, or the claim is none of its kind.
    #[error("the token has no claim `{0}` of the kind that is wanted")]
    Claim(String),
}

impl From<Error> for TokenError {
    fn from(error: Error) -> Self {
        match error.into_kind() {
            ErrorKind::ExpiredSignature => Self::Expired,
            ErrorKind::ImmatureSignature => Self::NotYet,
            ErrorKind::InvalidIssuer => Self::Issuer,
            ErrorKind::InvalidAudience => Self::Audience,
            ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => Self::Claim(claim),
            ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => Self::Algorithm,
            ErrorKind::Json(_) | ErrorKind::Base64(_) | ErrorKind::Utf8(_) | ErrorKind::InvalidToken => Self::Malformed,
            // Whatever else is wrong: it does not hold.
            _ => Self::Signature,
        }
    }
}
