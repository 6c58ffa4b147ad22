//! Tokens of an identity provider: who issues them, for whom, and what their claims mean.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use serde::Deserialize;

use super::unless_empty;

/// The settings `[auth.oidc]`.
#[derive(Debug, Clone, Deserialize)]
pub struct OidcConfig {
    /// Who issues the tokens, as they name him in `iss`.
    #[serde(deserialize_with = "unless_empty")]
    issuer: Option<WebAddress>,
    /// The names of this server in `aud`.
    audience: Vec<String>,
    /// Where the keys are that sign the tokens.
    #[serde(deserialize_with = "unless_empty")]
    jwks_url: Option<WebAddress>,
    /// The file of these keys.
    #[serde(deserialize_with = "unless_empty")]
    jwks_file: Option<PathBuf>,
    /// The authorities that sign the identity provider's certificate.
    #[serde(deserialize_with = "unless_empty")]
    ca_file: Option<PathBuf>,
    /// Time from one fetch of the keys to the next.
    refresh_s: u64,
    /// The claim that names the tenant.
    tenant_claim: String,
    /// The claims that name the scopes.
    scope_claims: Vec<String>,
    /// What the names of scopes begin with.
    scope_prefix: String,
}

/// An identity provider, and what its tokens say.
#[derive(Debug, Clone)]
pub struct TokenIssuer {
    /// The issuer, as tokens name him.
    pub issuer: WebAddress,
    /// The names of this server in tokens; one at least.
    pub audiences: Vec<String>,
    /// Where the keys come from.
    pub keys: TokenKeySource,
    /// The authorities that sign the identity provider's certificate; those of the system where there are none.
    pub ca_file: Option<PathBuf>,
    /// Time from one fetch of the keys to the next.
    pub refresh: Duration,
    /// The claim that names the tenant, if one does.
    pub tenant_claim: Option<String>,
    /// The claims that name the scopes.
    pub scope_claims: Vec<String>,
    /// What the names of scopes begin with.
    pub scope_prefix: String,
}

/// Where the keys come from that sign tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenKeySource {
    /// From where the issuer says that they are (OpenID Connect Discovery).
    Discovery,
    /// From this URL.
    Url(WebAddress),
    /// From this file.
    File(PathBuf),
}

impl OidcConfig {
    /// The identity provider; none where its tokens open nothing.
    #[must_use]
    pub fn issuer(&self) -> Option<TokenIssuer> {
        let keys = match (&self.jwks_url, &self.jwks_file) {
            (None, None) => TokenKeySource::Discovery,
            (Some(url), _) => TokenKeySource::Url(url.clone()),
            (None, Some(path)) => TokenKeySource::File(path.clone()),
        };
        Some(TokenIssuer {
            issuer: self.issuer.clone()?,
            audiences: filled(&self.audience),
            keys,
            ca_file: self.ca_file.clone(),
            refresh: Duration::from_secs(self.refresh_s),
            tenant_claim: Some(self.tenant_claim.clone()).filter(|claim| !claim.is_empty()),
            scope_claims: filled(&self.scope_claims),
            scope_prefix: self.scope_prefix.clone(),
        })
    }

    /// Refuses settings that do not go together, with the key that is wrong and the reason.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, reason: &str| Err((format!("auth.oidc.{key}"), reason.to_owned()));
        let audiences = filled(&self.audience);
        if self.issuer.is_none() {
            let set = [
                ("audience", !audiences.is_empty()),
                ("jwks_url", self.jwks_url.is_some()),
                ("jwks_file", self.jwks_file.is_some()),
                ("ca_file", self.ca_file.is_some()),
            ];
            let alone = set.into_iter().find(|(_, set)| *set);
            let reason = "it does nothing without auth.oidc.issuer, the URL that tokens name in `iss`";
            return alone.map_or(Ok(()), |(key, _)| wrong(key, reason));
        }
        if audiences.is_empty() {
            let reason = "with auth.oidc.issuer it names this server as tokens do in `aud`; else a token for any other service would open this one";
            return wrong("audience", reason);
        }
        if self.jwks_url.is_some() && self.jwks_file.is_some() {
            return wrong("jwks_file", "auth.oidc.jwks_url is set, too; the keys come from one of them");
        }
        if self.jwks_file.is_some() && self.ca_file.is_some() {
            return wrong(
                "ca_file",
                "nothing is asked for over the network, since auth.oidc.jwks_file is set; leave it out",
            );
        }
        if filled(&self.scope_claims).is_empty() {
            return wrong("scope_claims", "without a claim that names scopes no token opens anything");
        }
        if !(10..=86_400).contains(&self.refresh_s) {
            return wrong("refresh_s", "it is from 10 to 86400");
        }
        Ok(())
    }
}

/// The texts that are not empty: a variable that is empty is a list with an empty text.
fn filled(texts: &[String]) -> Vec<String> {
    texts.iter().filter(|text| !text.is_empty()).cloned().collect()
}

/// An address of the web, as in `https://id.example.com/realms/acme`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebAddress(String);

impl WebAddress {
    /// The address as it was written: issuers are compared letter by letter.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is asked over TLS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.starts_with("https://")
    }

    /// The address of something below this one.
    #[must_use]
    pub fn below(&self, path: &str) -> Self {
        Self(format!("{}/{path}", self.0.trim_end_matches('/')))
    }
}

impl FromStr for WebAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let host = rest.and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let sane = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"#\"\\<>".contains(&byte));
        match !host.is_empty() && !host.contains(['@', '?']) && sane {
            true => Ok(Self(text.to_owned())),
            false => Err("it is an address as in \"https://id.example.com/realms/acme\"".to_owned()),
        }
    }
}

impl fmt::Display for WebAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, ConfigError, Layers};

    fn build(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let variables = variables.iter().map(|(name, value)| (format!("OUNCE_AUTH__{name}"), (*value).to_owned()));
        Layers::defaults()?.env(variables)?.build()
    }

    const KEYS: (&str, &str) = ("MODE", "keys");
    const ISSUER: (&str, &str) = ("OIDC__ISSUER", "https://id.example.com/");
    const AUDIENCE: (&str, &str) = ("OIDC__AUDIENCE", "ounce");

    #[test]
    fn an_issuer_and_an_audience_are_enough() {
        assert!(Config::defaults().expect("valid").auth.oidc.issuer().is_none());
        let issuer = build(&[KEYS, ISSUER, ("OIDC__AUDIENCE", "ounce, other")]).expect("valid").auth.oidc.issuer();
        let issuer = issuer.expect("an issuer");
        assert_eq!(issuer.audiences, ["ounce", "other"]);
        assert_eq!(issuer.keys, TokenKeySource::Discovery);
        let discovery = issuer.issuer.below(".well-known/openid-configuration");
        assert_eq!(discovery.as_str(), "https://id.example.com/.well-known/openid-configuration");
        assert_eq!((issuer.tenant_claim.as_deref(), issuer.scope_prefix.as_str()), (Some("tenant"), "ounce:"));
        let file = build(&[KEYS, ISSUER, AUDIENCE, ("OIDC__JWKS_FILE", "/k"), ("OIDC__TENANT_CLAIM", "")]);
        let file = file.expect("valid").auth.oidc.issuer().expect("an issuer");
        assert_eq!((file.keys, file.tenant_claim), (TokenKeySource::File("/k".into()), None));
    }

    #[test]
    fn settings_that_do_not_go_together_are_refused() {
        let sentence = |variables: &[(&str, &str)]| build(variables).expect_err("refused").to_string();
        insta::assert_snapshot!(sentence(&[KEYS, ISSUER]), @"default sets `auth.oidc.audience` to []: with auth.oidc.issuer it names this server as tokens do in `aud`; else a token for any other service would open this one");
        insta::assert_snapshot!(sentence(&[ISSUER, AUDIENCE]), @r#"OUNCE_AUTH__OIDC__ISSUER sets `auth.oidc.issuer` to "https://id.example.com/": it opens nothing while auth.mode is "open"; set auth.mode = "keys", too"#);
        insta::assert_snapshot!(sentence(&[AUDIENCE]), @r#"OUNCE_AUTH__OIDC__AUDIENCE sets `auth.oidc.audience` to ["ounce"]: it does nothing without auth.oidc.issuer, the URL that tokens name in `iss`"#);
        insta::assert_snapshot!(sentence(&[KEYS, ("OIDC__ISSUER", "id.example.com"), AUDIENCE]), @r#"OUNCE_AUTH__OIDC__ISSUER sets `auth.oidc.issuer` to "id.example.com": it is an address as in "https://id.example.com/realms/acme""#);
        insta::assert_snapshot!(sentence(&[KEYS, ISSUER, AUDIENCE, ("OIDC__JWKS_URL", "https://a"), ("OIDC__JWKS_FILE", "b")]), @r#"OUNCE_AUTH__OIDC__JWKS_FILE sets `auth.oidc.jwks_file` to "b": auth.oidc.jwks_url is set, too; the keys come from one of them"#);
        insta::assert_snapshot!(sentence(&[KEYS, ISSUER, AUDIENCE, ("OIDC__CA_FILE", "a"), ("OIDC__JWKS_FILE", "b")]), @r#"OUNCE_AUTH__OIDC__CA_FILE sets `auth.oidc.ca_file` to "a": nothing is asked for over the network, since auth.oidc.jwks_file is set; leave it out"#);
        insta::assert_snapshot!(sentence(&[KEYS, ISSUER, AUDIENCE, ("OIDC__SCOPE_CLAIMS", "")]), @r#"OUNCE_AUTH__OIDC__SCOPE_CLAIMS sets `auth.oidc.scope_claims` to [""]: without a claim that names scopes no token opens anything"#);
        insta::assert_snapshot!(sentence(&[KEYS, ISSUER, AUDIENCE, ("OIDC__REFRESH_S", "1")]), @"OUNCE_AUTH__OIDC__REFRESH_S sets `auth.oidc.refresh_s` to 1: it is from 10 to 86400");
        for wrong in ["https://", "ftp://a", "https://user@host", "https://a b", "https://a/#b", "//a", "https://?a"] {
            assert!(wrong.parse::<WebAddress>().is_err(), "{wrong}");
        }
    }
}
