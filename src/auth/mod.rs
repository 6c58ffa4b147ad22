//! Who may do what. In: the keys and tokens that a request shows, and where it comes from. Out: an [`Identity`] (the tenant who pays, and what may
//! be asked for), or [`Denied`] with a sentence for the client. This room knows no protocol.
//!
//! - [`authenticator`]: the one way in; it knows both modes of `auth.mode`.
//! - [`scope`]: what a key may allow.
//! - [`key`]: keys and their hashes. `key_file` reads and writes the lines of `auth.keys_file`, `key_ring` finds a key by its hash, and
//!   `key_store` keeps the ring as the file says, also when that changes.
//! - [`oidc`]: tokens of an identity provider.
//! - `watched_file`: a file that is read again when it has changed.
//! - [`call_source`]: which calls come from this machine and its own programs, where no key says who may change something.

pub mod authenticator;
pub mod call_source;
mod denied;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod key;
pub mod key_file;
mod key_ring;
mod key_store;
pub mod oidc;
pub mod scope;
mod watched_file;

use std::sync::Arc;

pub use self::{
    authenticator::{Authenticator, Credentials},
    call_source::CallSource,
    denied::Denied,
    key::{ApiKey, KeyHash},
    key_file::KeyEntry,
    oidc::TokenError,
    scope::{Scope, Scopes},
};
use crate::cost::Tenant;

/// Who asks, and what he may ask for.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The tenant who pays.
    pub tenant: Tenant,
    /// What may be asked for.
    pub scopes: Scopes,
    /// The credential that says so: a key, a token, a certificate, or none.
    pub by: ShownBy,
}

/// The kind of credential that a request showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShownBy {
    /// Nothing that counts, since everything is open.
    Nothing,
    /// The key of this name.
    Key(Arc<str>),
    /// A certificate.
    Certificate,
    /// A token of the identity provider. The text is what scopes begin with in tokens.
    Token(Arc<str>),
}

impl Identity {
    /// Whether he may ask for something of this scope.
    ///
    /// # Errors
    /// [`Denied::LackingScope`], which names what he may ask for.
    pub fn allow(&self, scope: Scope) -> Result<(), Denied> {
        if self.scopes.contains(scope) {
            return Ok(());
        }
        let (wanted, scopes) = (scope, self.scopes);
        Err(match &self.by {
            ShownBy::Key(name) => Denied::LackingScope { key_name: name.to_string(), wanted, scopes },
            ShownBy::Nothing | ShownBy::Certificate => {
                Denied::LackingScope { key_name: "of the certificate".to_owned(), wanted, scopes }
            }
            ShownBy::Token(prefix) => Denied::TokenLacksScope { wanted: format!("{prefix}{wanted}"), scopes },
        })
    }
}

impl ShownBy {
    /// What it is called in the log. Nothing of a token is in there.
    #[must_use]
    pub fn log_name(&self) -> Option<&str> {
        match self {
            Self::Nothing => None,
            Self::Key(name) => Some(name),
            Self::Certificate => Some("(a certificate)"),
            Self::Token(_) => Some("(a token)"),
        }
    }
}
