//! Tokens of an identity provider (JWT, OpenID Connect). In: a token. Out: whose it is and what it opens, or a [`TokenError`] with a
//! sentence for the client. Nothing of a token is ever logged.
//!
//! - `verifier`: the one way in; what has to hold of a token, in order.
//! - `jwks`: the keys that sign tokens, as the identity provider publishes them. `signature` checks a signature with ring.
//! - `claims`: what the claims of a token that holds say of its tenant and scopes.
//! - `keys`: keeps the keys: fetches them in the background, and when a token names a key that is not there. `fetch` gets them.

mod claims;
mod fetch;
mod jwks;
mod keys;
mod signature;
#[cfg(test)]
mod tests;
mod token_error;
mod verifier;

pub use self::token_error::TokenError;
pub(super) use self::verifier::{TokenVerifier, looks_like_token};
