//! Why a call is not allowed. Each message is one sentence for the client.

use std::{net::IpAddr, time::SystemTime};

use super::{Scope, Scopes, TokenError};

/// Why a call is not allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The request shows no key.
    #[error("this call needs a key; send it as `Authorization: Bearer KEY` or `x-api-key: KEY`")]
    NoKey,
    /// The request shows neither a key nor a token.
    #[error("this call needs a key or a token of the identity provider; send it as `Authorization: Bearer …`")]
    NoKeyOrToken,
    /// The request shows two keys in one header's name, and nobody knows which is meant.
    #[error("the request has two headers with a key of the same name; send one")]
    TwoKeys,
    /// Nobody has given out that key, or it was taken back.
    #[error("the key is not known here; it is mistyped, was taken back, or belongs to another server")]
    WrongKey,
    /// The key's time is over.
    #[error("the key `{key_name}` expired at {}; ask for a new one", humantime::format_rfc3339_seconds(*.at))]
    ExpiredKey {
        /// Name of the key.
        key_name: String,
        /// When it expired.
        at: SystemTime,
    },
    /// The key does not open calls of this kind.
    #[error("this call needs the scope `{wanted}`, and the key `{key_name}` has {scopes}; use another key")]
    LackingScope {
        /// Name of the key.
        key_name: String,
        /// What the call needs.
        wanted: Scope,
        /// What the key has.
        scopes: Scopes,
    },
    /// The token opens nothing.
    #[error(transparent)]
    BadToken(#[from] TokenError),
    /// The keys of the identity provider have not come yet.
    #[error("the identity provider's keys, by which tokens are checked, have not come yet; the server's log says why")]
    NoTokenKeys,
    /// The token does not open calls of this kind.
    #[error("this call needs a token with the scope `{wanted}`, and this one opens {}; ask the identity provider for it", or_nothing(*.scopes))]
    TokenLacksScope {
        /// What the call needs, by its name in tokens.
        wanted: String,
        /// The scopes that the token has.
        scopes: Scopes,
    },
    /// Without keys only this machine may change something.
    #[error(
        "without keys, calls that change something are taken from this machine only, and this one comes from {}; call from there, or \
         let the server want keys with auth.mode = \"keys\"", .0.map_or_else(|| "an unknown address".to_owned(), |ip| ip.to_string())
    )]
    FromAfar(Option<IpAddr>),
    /// Without keys nobody knows for whom a proxy asks.
    #[error(
        "without keys, calls that change something are not taken through a proxy (header `{0}`); call the server itself, or let it \
         want keys with auth.mode = \"keys\""
    )]
    Proxied(&'static str),
    /// A web page in a browser on this machine asks.
    #[error(
        "without keys, calls that change something are not taken from a web page of another place ({0}); call from a program"
    )]
    ForeignPage(String),
    /// The request came here by a name that is none of this machine: a web page may have made it point here.
    #[error(
        "without keys, calls that change something are not taken under the name {0}; ask for localhost or for the server's IP address"
    )]
    ForeignHost(String),
}

fn or_nothing(scopes: Scopes) -> String {
    if scopes.is_empty() { "nothing".to_owned() } else { scopes.to_string() }
}

impl Denied {
    /// Whether keys of the identity provider that come later might change it.
    #[must_use]
    pub fn wants_token_keys(&self) -> bool {
        matches!(self, Self::NoTokenKeys | Self::BadToken(TokenError::UnknownKey))
    }
}
