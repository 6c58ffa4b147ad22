//! Says who asks, by the keys and tokens that a request shows.
//!
//! With `auth.mode = "keys"` a key of `auth.keys_file`, a token of `auth.oidc`, or a client's certificate, opens what its scopes name, and
//! without one nothing is opened. With `"open"` everybody may do everything (what changes something: from this machine only, see
//! [`CallSource`](super::CallSource)), and the keys of `[tenants]` only say who pays.

use std::time::SystemTime;

use anyhow::{Context, bail};

use super::{
    Denied, Identity, Scope, Scopes, ShownBy, key_file,
    key_store::KeyStore,
    oidc::{TokenVerifier, looks_like_token},
};
use crate::{
    config::{AuthMode, Config},
    cost::{Tenant, Tenants},
    files,
};

/// Says who asks.
#[derive(Debug)]
pub struct Authenticator {
    tenants: Tenants,
    /// The ways to show who asks; none where everything is open.
    doors: Option<Doors>,
}

/// The ways to show who asks: keys, and tokens of an identity provider.
#[derive(Debug)]
struct Doors {
    keys: Option<KeyStore>,
    tokens: Option<TokenVerifier>,
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
    /// When the file of keys, or a file of `auth.oidc`, cannot be used.
    pub fn new(config: &mut Config) -> anyhow::Result<Self> {
        if config.auth.mode == AuthMode::Open {
            return Ok(Self::open(config));
        }
        let tokens = config.auth.oidc.issuer().map(|issuer| TokenVerifier::new(&issuer)).transpose();
        let tokens = tokens.map_err(anyhow::Error::msg)?;
        let keys = config.auth.keys_file.clone().map(|path| {
            let wrong = || format!("the file of keys {} (auth.keys_file) cannot be used", path.display());
            let reading = path.clone();
            let entries = files::soon(move || key_file::read(&reading)).map_err(|error| error.to_string()).flatten();
            let entries = entries.map_err(anyhow::Error::msg).with_context(wrong)?;
            for entry in &entries {
                config.tenants.entry(entry.tenant.clone()).or_default();
            }
            KeyStore::new(path.clone(), entries, Tenants::new(config)).map_err(anyhow::Error::msg).with_context(wrong)
        });
        let keys = keys.transpose()?;
        if keys.is_none() && tokens.is_none() {
            // Settings that were read exclude that; those of an embedding program may have been put together otherwise.
            bail!(
                "auth.mode = \"keys\" wants a file of keys (auth.keys_file), or an identity provider (auth.oidc.issuer)"
            );
        }
        Ok(Self { tenants: Tenants::new(config), doors: Some(Doors { keys, tokens }) })
    }

    /// Everything is open to everybody.
    #[must_use]
    pub fn open(config: &Config) -> Self {
        Self { tenants: Tenants::new(config), doors: None }
    }

    /// Whether only keys, tokens and certificates open something.
    #[must_use]
    pub fn wants_keys(&self) -> bool {
        self.doors.is_some()
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
        match &self.doors {
            None => {
                Ok(Identity { tenant: self.payer(shown, of_certificate), scopes: Scopes::ALL, by: ShownBy::Nothing })
            }
            Some(doors) => self.through(doors, shown, of_certificate, now),
        }
    }

    /// Takes the keys of the files, if they have changed. To be called again and again. Blocks.
    pub fn reload(&self) {
        let Some(doors) = &self.doors else { return };
        if let Some(keys) = &doors.keys {
            keys.reload();
        }
        if let Some(tokens) = &doors.tokens {
            tokens.keys.reload();
        }
    }

    /// Fetches the keys of the identity provider, again and again. It returns at once where none are fetched, and else never.
    pub async fn keep_token_keys_fresh(&self) {
        if let Some(tokens) = self.doors.as_ref().and_then(|doors| doors.tokens.as_ref()) {
            tokens.keys.keep_fresh().await;
        }
    }

    /// Waits for keys of the identity provider that were asked for just now, unless they were asked for a moment ago. For a request that is
    /// denied and [`Denied::wants_token_keys`]; then it is to be asked once more who sends it.
    pub async fn fetch_token_keys_soon(&self) {
        if let Some(tokens) = self.doors.as_ref().and_then(|doors| doors.tokens.as_ref()) {
            tokens.keys.fetch_soon().await;
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

    fn through(
        &self,
        doors: &Doors,
        shown: &Credentials<'_>,
        of_certificate: Option<Tenant>,
        now: SystemTime,
    ) -> Result<Identity, Denied> {
        if shown.twice {
            return Err(Denied::TwoKeys);
        }
        let ring = doors.keys.as_ref().map(KeyStore::ring);
        let mut denied = None;
        // A gateway may have put a token of its own into `Authorization`; then the key is in the other header.
        for (place, key) in shown.keys.into_iter().enumerate() {
            let Some(key) = key.filter(|key| !key.is_empty()) else { continue };
            let found = match (&doors.tokens, &ring) {
                (Some(tokens), _) if place == 0 && looks_like_token(key) => self.by_token(tokens, key),
                (_, Some(ring)) => ring.find(key, now).cloned(),
                (_, None) => Err(Denied::WrongKey),
            };
            match found {
                Ok(identity) => return Ok(identity),
                // That a key has expired says more than that another is not known.
                Err(why @ Denied::ExpiredKey { .. }) => denied = Some(why),
                Err(why) => denied = denied.or(Some(why)),
            }
        }
        match (denied, of_certificate) {
            (Some(denied), _) => Err(denied),
            (None, Some(tenant)) => {
                Ok(Identity { tenant, scopes: OF_CERTIFICATES.into_iter().collect(), by: ShownBy::Certificate })
            }
            (None, None) if doors.tokens.is_some() => Err(Denied::NoKeyOrToken),
            (None, None) => Err(Denied::NoKey),
        }
    }

    /// Whose token that is. A tenant that the server does not know has no account: his requests are the default tenant's.
    fn by_token(&self, tokens: &TokenVerifier, token: &str) -> Result<Identity, Denied> {
        let verified = tokens.verify(token)?;
        let tenant = verified.tenant.and_then(|name| self.tenants.named(&name)).unwrap_or_default();
        Ok(Identity { tenant, scopes: verified.scopes, by: ShownBy::Token(tokens.scope_prefix()) })
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
        let error = format!("{:#}", Authenticator::new(&mut config.expect("valid")).expect_err("refused"));
        assert_eq!(
            error,
            "the file of keys /nowhere/keys.jsonl (auth.keys_file) cannot be used: No such file or directory (os error 2)"
        );
    }
}
