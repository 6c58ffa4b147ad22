//! Who may do what, and where calls that change something are taken.

use std::{net::SocketAddr, path::PathBuf, str::FromStr};

use serde::Deserialize;

use super::{Config, OidcConfig, unless_empty};

/// The address of the admin listener where the settings say `auto`: that of TorchServe's management API.
const AUTO: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 8081);

/// Who may do what.
#[derive(Debug, Clone, Deserialize)]
pub struct AuthConfig {
    /// Whether keys open calls.
    pub mode: AuthMode,
    /// The file of keys.
    #[serde(deserialize_with = "unless_empty")]
    pub keys_file: Option<PathBuf>,
    /// The identity provider whose tokens open calls, too.
    pub oidc: OidcConfig,
}

impl AuthConfig {
    /// Checks that the settings do not contradict each other: the key that is wrong, and why.
    pub(super) fn check(&self, config: &Config) -> Result<(), (String, String)> {
        let wrong = |key: &str, reason: &str| Err((key.to_owned(), reason.to_owned()));
        self.oidc.check()?;
        let issuer = self.oidc.issuer();
        if self.mode == AuthMode::Open {
            let reason = "it opens nothing while auth.mode is \"open\"; set auth.mode = \"keys\", too";
            let set = [("auth.keys_file", self.keys_file.is_some()), ("auth.oidc.issuer", issuer.is_some())];
            return set.into_iter().find(|(_, set)| *set).map_or(Ok(()), |(key, _)| wrong(key, reason));
        }
        if self.keys_file.is_none() && issuer.is_none() {
            return wrong(
                "auth.keys_file",
                "auth.mode = \"keys\" wants a file of keys; `ounce key new --file FILE` makes one; or an identity provider (auth.oidc.issuer)",
            );
        }
        if config.cost.tenant_header.is_some() {
            return wrong(
                "cost.tenant_header",
                "with auth.mode = \"keys\" the key says who pays, and no header; leave it out",
            );
        }
        let with_keys = |tenant: &&super::TenantConfig| tenant.api_keys.iter().any(|key| !key.reveal().is_empty());
        match config.tenants.iter().find(|(_, tenant)| with_keys(tenant)) {
            Some((name, _)) => wrong(
                &format!("tenants.{name}.api_keys"),
                "with auth.mode = \"keys\" only keys of auth.keys_file open something; make one with `ounce key new` and leave these out",
            ),
            None => Ok(()),
        }
    }
}

/// Whether keys open calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Everybody may do everything; what changes something, from this machine only.
    Open,
    /// A key opens what its scopes name.
    Keys,
}

/// Where the calls that change something are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum AdminListen {
    /// On port 8081 of the loopback, beside `listen`, which keeps the metrics.
    Auto,
    /// On `listen`, with everything else.
    Main,
    /// At this address, to which the metrics move, too.
    At(SocketAddr),
}

impl AdminListen {
    /// The address of the admin listener; none where everything is on `listen`.
    #[must_use]
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Auto => Some(AUTO),
            Self::Main => None,
            Self::At(address) => Some(address),
        }
    }
}

impl FromStr for AdminListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "" => Ok(Self::Main),
            address => address.parse().map(Self::At).map_err(|_| {
                format!(
                    "\"{address}\" is neither an address and port as in \"127.0.0.1:8081\", nor \"auto\", nor empty"
                )
            }),
        }
    }
}

impl TryFrom<String> for AdminListen {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Layers;

    fn sentence(variables: &[(&str, &str)]) -> String {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let built = Layers::defaults().and_then(|layers| layers.env(variables)).and_then(|layers| layers.build());
        built.expect_err("refused").to_string()
    }

    #[test]
    fn settings_that_contradict_each_other_are_refused() {
        let keys = ("OUNCE_AUTH__MODE", "keys");
        let file = ("OUNCE_AUTH__KEYS_FILE", "keys.jsonl");
        insta::assert_snapshot!(sentence(&[("OUNCE_AUTH__MODE", "key")]), @r#"OUNCE_AUTH__MODE sets `auth.mode` to "key": unknown variant `key`, expected `open` or `keys`"#);
        insta::assert_snapshot!(sentence(&[keys]), @r#"default sets `auth.keys_file` to "": auth.mode = "keys" wants a file of keys; `ounce key new --file FILE` makes one; or an identity provider (auth.oidc.issuer)"#);
        insta::assert_snapshot!(sentence(&[file]), @r#"OUNCE_AUTH__KEYS_FILE sets `auth.keys_file` to "keys.jsonl": it opens nothing while auth.mode is "open"; set auth.mode = "keys", too"#);
        insta::assert_snapshot!(sentence(&[keys, file, ("OUNCE_COST__TENANT_HEADER", "x-tenant")]), @r#"OUNCE_COST__TENANT_HEADER sets `cost.tenant_header` to "x-tenant": with auth.mode = "keys" the key says who pays, and no header; leave it out"#);
        let of_tenant = sentence(&[keys, file, ("OUNCE_TENANTS__ACME__API_KEYS", "geheim")]);
        assert!(!of_tenant.contains("geheim"), "{of_tenant}");
        insta::assert_snapshot!(of_tenant, @r#"OUNCE_TENANTS__ACME__API_KEYS sets `tenants.acme.api_keys` to ["…"]: with auth.mode = "keys" only keys of auth.keys_file open something; make one with `ounce key new` and leave these out"#);
        insta::assert_snapshot!(sentence(&[("OUNCE_ADMIN_LISTEN", "here")]), @r#"OUNCE_ADMIN_LISTEN sets `admin_listen` to "here": "here" is neither an address and port as in "127.0.0.1:8081", nor "auto", nor empty"#);
    }

    #[test]
    fn the_admin_listener_is_on_the_loopback_unless_told_otherwise() {
        assert_eq!("auto".parse().map(AdminListen::address), Ok(Some(AUTO)));
        assert!(AUTO.ip().is_loopback());
        assert_eq!("".parse(), Ok(AdminListen::Main));
        assert_eq!(
            "0.0.0.0:9090".parse().map(|listen: AdminListen| listen.address().map(|at| at.port())),
            Ok(Some(9090))
        );
    }
}
