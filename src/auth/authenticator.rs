//! Says who asks, by the keys that a request shows.
//!
//! With `auth.mode = "keys"` a key of `auth.keys_file`, or a client's certificate, opens what its scopes name, and without one
//! nothing is opened. With `"open"` everybody may do everything (what changes something: from this machine only, see
//! [`CallSource`](super::CallSource)), and the keys of `[tenants]` only say who pays.

use std::time::SystemTime;

use anyhow::bail;

use super::{Denied, Identity, Scope, Scopes, key_file, key_store::KeyStore};
use crate::{
    config::{AuthMode, Config},
    cost::{Tenant, Tenants},
};

/// Says who asks.
#[derive(Debug)]
pub struct Authenticator {
    tenants: Tenants,
    /// The keys that open something; none where everything is open.
    keys: Option<KeyStore>,
}

/// What a request shows of who sent it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Credentials<'a> {
    /// The keys in its headers, the one of `Authorization` first.
    pub keys: [Option<&'a str>; 2],
    /// Whether one of these headers is there twice.
    pub twice: bool,
    /// The value of the header that names a tenant.
    pub tenant_header: Option<&'a str>,
    /// The tenant that the connection's certificate stands for.
    pub certificate_tenant: Option<&'a str>,
}

/// What a client's certificate opens.
const OF_CERTIFICATES: [Scope; 2] = [Scope::Infer, Scope::Feedback];

impl Authenticator {
    /// Reads the keys, where the settings want some. The tenants of the keys are added to the settings, so that each has an account.
    ///
    /// # Errors
    /// When the file of keys cannot be used.
    pub fn new(config: &mut Config) -> anyhow::Result<Self> {
        let path = match (config.auth.mode, &config.auth.keys_file) {
            (AuthMode::Keys, Some(path)) => path.clone(),
            (AuthMode::Open, _) => return Ok(Self::open(config)),
            // Settings that were read exclude that; those of an embedding program may have been put together otherwise.
            (AuthMode::Keys, None) => bail!("auth.mode = \"keys\" wants a file of keys (auth.keys_file)"),
        };
        let wrong =
            |why: String| anyhow::anyhow!("the file of keys {} (auth.keys_file) cannot be used: {why}", path.display());
        let entries = key_file::read(&path).map_err(wrong)?;
        for entry in &entries {
            config.tenants.entry(entry.tenant.clone()).or_default();
        }
        let store = KeyStore::new(path.clone(), entries, Tenants::new(config)).map_err(wrong)?;
        Ok(Self { tenants: Tenants::new(config), keys: Some(store) })
    }

    /// Everything is open to everybody.
    #[must_use]
    pub fn open(config: &Config) -> Self {
        Self { tenants: Tenants::new(config), keys: None }
    }

    /// Whether only keys open something.
    #[must_use]
    pub fn wants_keys(&self) -> bool {
        self.keys.is_some()
    }

    /// The header whose value names a tenant, in lower case, where the settings have one.
    #[must_use]
    pub fn tenant_header(&self) -> Option<&str> {
        self.tenants.header.as_deref()
    }

    /// Finds out who asks, by what the request shows.
    ///
    /// # Errors
    /// Where keys are wanted and none of those shown opens anything.
    pub fn identify(&self, shown: &Credentials<'_>, now: SystemTime) -> Result<Identity, Denied> {
        let of_certificate = shown.certificate_tenant.map(|name| self.tenants.named(name).unwrap_or_default());
        match &self.keys {
            None => Ok(Identity { tenant: self.payer(shown, of_certificate), scopes: Scopes::ALL, key_name: None }),
            Some(store) => Self::by_key(store, shown, of_certificate, now),
        }
    }

    /// Takes the keys of the file, if it has changed. To be called again and again. Blocks.
    pub fn reload(&self) {
        if let Some(store) = &self.keys {
            store.reload();
        }
    }

    /// Who pays, where everything is open: the tenant of a key, else the one that the certificate names, else the one that the header
    /// names. Whoever has shown a certificate cannot say by a header that it is somebody else.
    fn payer(&self, shown: &Credentials<'_>, of_certificate: Option<Tenant>) -> Tenant {
        let tenant = self.tenants.find(shown.keys, None);
        if tenant != Tenant::default() {
            return tenant;
        }
        of_certificate.unwrap_or_else(|| self.tenants.find([None; 2], shown.tenant_header))
    }

    fn by_key(
        store: &KeyStore,
        shown: &Credentials<'_>,
        of_certificate: Option<Tenant>,
        now: SystemTime,
    ) -> Result<Identity, Denied> {
        if shown.twice {
            return Err(Denied::TwoKeys);
        }
        let ring = store.ring();
        let mut denied = None;
        // A gateway may have put a token of its own into `Authorization`; then the key is in the other header.
        for key in shown.keys.into_iter().flatten().filter(|key| !key.is_empty()) {
            match ring.find(key, now) {
                Ok(identity) => return Ok(identity.clone()),
                // That a key has expired says more than that another is not known.
                Err(why @ Denied::ExpiredKey { .. }) => denied = Some(why),
                Err(why) => denied = denied.or(Some(why)),
            }
        }
        match (denied, of_certificate) {
            (Some(denied), _) => Err(denied),
            (None, Some(tenant)) => {
                Ok(Identity { tenant, scopes: OF_CERTIFICATES.into_iter().collect(), key_name: None })
            }
            (None, None) => Err(Denied::NoKey),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, time::Duration};

    use super::{
        super::{KeyEntry, KeyHash},
        *,
    };
    use crate::config::Layers;

    fn authenticator(variables: &[(&str, &str)]) -> (Authenticator, Config) {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let config = Layers::defaults().and_then(|layers| layers.env(variables)).and_then(|layers| layers.build());
        let mut config = config.expect("valid");
        (Authenticator::new(&mut config).expect("usable"), config)
    }

    fn write(path: &Path, keys: &[(&str, &str, &str, Option<SystemTime>)]) {
        let lines = keys.iter().map(|(key, tenant, scopes, expires)| {
            let scopes = scopes.split(',').map(|scope| scope.parse::<Scope>().expect("a scope")).collect();
            let (name, hash) = (format!("name-of-{key}"), KeyHash::of(key));
            KeyEntry { name, tenant: (*tenant).to_owned(), scopes, hash, expires: *expires }.to_line() + "\n"
        });
        std::fs::write(path, lines.collect::<String>()).expect("write");
    }

    fn shown<'a>(bearer: Option<&'a str>, other: Option<&'a str>) -> Credentials<'a> {
        Credentials { keys: [bearer, other], ..Credentials::default() }
    }

    #[test]
    fn without_keys_everybody_may_and_a_key_says_who_pays() {
        let (auth, _) = authenticator(&[("OUNCE_TENANTS__ACME__API_KEYS", "k-1")]);
        let who = |shown: &Credentials<'_>| {
            let identity = auth.identify(shown, SystemTime::now()).expect("open");
            assert_eq!(identity.scopes, Scopes::ALL);
            auth.tenants.name(identity.tenant).to_owned()
        };
        assert_eq!(who(&shown(Some("k-1"), None)), "acme");
        assert_eq!(who(&shown(Some("wrong"), None)), "default");
        assert_eq!(who(&Credentials { twice: true, ..shown(None, Some("k-1")) }), "acme");
        assert_eq!(who(&Credentials { certificate_tenant: Some("acme"), ..Credentials::default() }), "acme");
    }

    #[test]
    fn with_keys_only_a_key_or_a_certificate_opens_something() {
        let folder = tempfile::tempdir().expect("tempdir");
        let path = folder.path().join("keys.jsonl");
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let second = Duration::from_secs(1);
        write(
            &path,
            &[
                ("a", "acme", "infer", None),
                ("b", "bob", "infer,admin", Some(now + second)),
                ("old", "bob", "infer", Some(now)),
            ],
        );
        let (auth, config) =
            authenticator(&[("OUNCE_AUTH__MODE", "keys"), ("OUNCE_AUTH__KEYS_FILE", &path.display().to_string())]);
        assert!(
            config.tenants.contains_key("acme") && config.tenants.contains_key("bob"),
            "each tenant has an account"
        );
        let who = |shown: &Credentials<'_>| {
            let identity = auth.identify(shown, now)?;
            Ok((auth.tenants.name(identity.tenant).to_owned(), identity.scopes.to_string()))
        };
        let of = |tenant: &str, scopes: &str| Ok((tenant.to_owned(), scopes.to_owned()));
        assert_eq!(who(&shown(Some("a"), None)), of("acme", "infer"));
        assert_eq!(who(&shown(None, Some("b"))), of("bob", "infer, admin"));
        assert_eq!(who(&shown(Some("a gateway's own"), Some("b"))), of("bob", "infer, admin"));
        assert_eq!(who(&shown(None, None)), Err(Denied::NoKey));
        assert_eq!(who(&shown(Some(""), None)), Err(Denied::NoKey));
        assert_eq!(who(&shown(Some("wrong"), None)), Err(Denied::WrongKey));
        assert_eq!(who(&Credentials { twice: true, ..shown(Some("a"), None) }), Err(Denied::TwoKeys));
        let expired = Denied::ExpiredKey { key_name: "name-of-old".to_owned(), at: now };
        assert_eq!(who(&shown(Some("old"), Some("wrong"))), Err(expired));
        let certificate = Credentials { certificate_tenant: Some("acme"), ..Credentials::default() };
        assert_eq!(who(&certificate), of("acme", "infer, feedback"));
        let both = Credentials { certificate_tenant: Some("acme"), ..shown(Some("wrong"), None) };
        assert_eq!(who(&both), Err(Denied::WrongKey), "a wrong key is wrong, whoever shows it");
        assert!(auth.identify(&shown(Some("b"), None), now + second).is_err(), "its time is over");

        let acme = auth.identify(&shown(Some("a"), None), now).expect("known");
        assert_eq!(acme.allow(Scope::Infer), Ok(()));
        let sentence = acme.allow(Scope::Admin).expect_err("not his").to_string();
        assert_eq!(sentence, "this call needs the scope `admin`, and the key `name-of-a` has infer; use another key");
    }

    #[test]
    fn a_file_that_cannot_be_used_ends_the_start() {
        let mut without = Config::defaults().expect("valid");
        without.auth.mode = AuthMode::Keys;
        assert!(Authenticator::new(&mut without).is_err(), "nothing is open by mistake");
        let variables = [("OUNCE_AUTH__MODE", "keys"), ("OUNCE_AUTH__KEYS_FILE", "/nowhere/keys.jsonl")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = Layers::defaults().and_then(|layers| layers.env(variables)).and_then(|layers| layers.build());
        let error = Authenticator::new(&mut config.expect("valid")).expect_err("refused").to_string();
        assert_eq!(
            error,
            "the file of keys /nowhere/keys.jsonl (auth.keys_file) cannot be used: No such file or directory (os error 2)"
        );
    }
}
