//! Who may do what. In: the keys that a request shows, and where it comes from. Out: an [`Identity`] (the tenant who pays, and what may
//! be asked for), or [`Denied`] with a sentence for the client. This room knows no protocol.
//!
//! - [`authenticator`]: the one way in; it knows both modes of `auth.mode`.
//! - [`scope`]: what a key may allow.
//! - [`key`]: keys and their hashes. `key_file` reads and writes the lines of `auth.keys_file`, `key_ring` finds a key by its hash, and
//!   `key_store` keeps the ring as the file says, also when that changes.
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
pub mod scope;

use std::sync::Arc;

pub use self::{
    authenticator::{Authenticator, Credentials},
    call_source::CallSource,
    denied::Denied,
    key::{ApiKey, KeyHash},
    key_file::KeyEntry,
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
    /// The name of the key that said so; none where keys open nothing, or a certificate said it.
    pub key_name: Option<Arc<str>>,
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
        let key_name = self.key_name.as_deref().unwrap_or("of the certificate").to_owned();
        Err(Denied::LackingScope { key_name, wanted: scope, scopes: self.scopes })
    }
}
