//! All keys that are known, found by their hashes.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::SystemTime,
};

use super::{Denied, Identity, KeyEntry, KeyHash, ShownBy};
use crate::cost::Tenants;

/// All keys that are known.
#[derive(Debug, Default)]
pub(super) struct KeyRing {
    by_id: HashMap<u64, KnownKey>,
    /// Tenants of keys that the server does not know.
    strangers: BTreeSet<String>,
}

#[derive(Debug)]
struct KnownKey {
    hash: KeyHash,
    expires: Option<SystemTime>,
    identity: Identity,
    name: Arc<str>,
}

impl KeyRing {
    /// A ring of the keys of a file. A tenant that the server does not know gets no account: its requests are the default tenant's.
    ///
    /// # Errors
    /// When a key stands in the file twice.
    pub(super) fn new(entries: Vec<KeyEntry>, tenants: &Tenants) -> Result<Self, String> {
        let (mut by_id, mut strangers) = (HashMap::with_capacity(entries.len()), BTreeSet::new());
        for KeyEntry { name, tenant, scopes, hash, expires } in entries {
            let known = tenants.named(&tenant);
            if known.is_none() {
                strangers.insert(tenant);
            }
            let name: Arc<str> = name.into();
            let identity = Identity { tenant: known.unwrap_or_default(), scopes, by: ShownBy::Key(Arc::clone(&name)) };
            let key = KnownKey { hash, expires, identity, name: Arc::clone(&name) };
            if let Some(other) = by_id.insert(hash.id(), key) {
                return Err(format!("`{}` and `{name}` are the same key", other.name));
            }
        }
        Ok(Self { by_id, strangers })
    }

    /// Whose key that is.
    pub(super) fn find(&self, key: &str, now: SystemTime) -> Result<&Identity, Denied> {
        let hash = KeyHash::of(key);
        let known = self.by_id.get(&hash.id()).filter(|known| known.hash == hash).ok_or(Denied::WrongKey)?;
        match known.expires {
            Some(at) if at <= now => Err(Denied::ExpiredKey { key_name: known.name.to_string(), at }),
            _ => Ok(&known.identity),
        }
    }

    /// Warns of tenants that have no account.
    pub(super) fn warn_of_strangers(&self) {
        if !self.strangers.is_empty() {
            let tenants: Vec<_> = self.strangers.iter().take(20).collect();
            tracing::warn!(
                ?tenants,
                number = self.strangers.len(),
                "these tenants of keys were in no setting and in no key when the server started: until it starts anew, their requests \
                 are on the account of `default`"
            );
        }
    }

    /// The number of keys.
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }
}
