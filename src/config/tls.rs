//! TLS on `listen`: which certificate the server shows, and which certificates it wants of clients.

use std::path::PathBuf;

use serde::Deserialize;

use super::unless_empty;

/// The settings of TLS. Without a certificate the server speaks plain HTTP.
#[derive(Debug, Clone, Deserialize)]
pub struct TlsConfig {
    /// File of the server's certificate and its chain, in PEM.
    #[serde(deserialize_with = "unless_empty")]
    cert_file: Option<PathBuf>,
    /// File of its private key, in PEM.
    #[serde(deserialize_with = "unless_empty")]
    key_file: Option<PathBuf>,
    /// File of the authorities that sign clients' certificates, in PEM.
    #[serde(deserialize_with = "unless_empty")]
    client_ca_file: Option<PathBuf>,
    /// Whether a client must show a certificate.
    client_auth: ClientAuth,
}

/// Whether a client must show a certificate of `client_ca_file`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// A client without one is refused.
    Required,
    /// A client may have none. One that is shown has to be valid.
    Optional,
}

/// The files that TLS needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// File of the server's certificate and its chain, in PEM.
    pub cert: PathBuf,
    /// File of its private key, in PEM.
    pub key: PathBuf,
    /// File of the authorities that sign clients' certificates, and whether clients must show one; none where they are not asked.
    pub client_ca: Option<(PathBuf, ClientAuth)>,
}

impl TlsConfig {
    /// The files; none where the server speaks plain HTTP.
    #[must_use]
    pub fn files(&self) -> Option<TlsFiles> {
        let client_ca = self.client_ca_file.clone().map(|file| (file, self.client_auth));
        Some(TlsFiles { cert: self.cert_file.clone()?, key: self.key_file.clone()?, client_ca })
    }

    /// Refuses a half of what TLS needs, with the key that is wrong and the reason.
    pub(super) fn check(&self) -> Result<(), (String, String)> {
        let wrong = |key: &str, reason: &str| Err((format!("tls.{key}"), reason.to_owned()));
        match (&self.cert_file, &self.key_file, &self.client_ca_file) {
            (Some(_), None, _) => wrong("key_file", "`tls.cert_file` is set, and TLS needs its private key, too"),
            (None, Some(_), _) => wrong("cert_file", "`tls.key_file` is set, and TLS needs its certificate, too"),
            (None, None, Some(_)) => wrong(
                "client_ca_file",
                "clients can show a certificate over TLS only, which needs `tls.cert_file` and `tls.key_file`",
            ),
            (Some(_), Some(_), _) | (None, None, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{ClientAuth, Config, ConfigError, Layers};

    fn build(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let variables = variables.iter().map(|(name, value)| (format!("OUNCE_TLS__{name}"), (*value).to_owned()));
        Layers::defaults()?.env(variables)?.build()
    }

    #[test]
    fn half_of_what_tls_needs_is_refused() {
        let sentence = |variables: &[(&str, &str)]| build(variables).expect_err("refused").to_string();
        insta::assert_snapshot!(sentence(&[("CERT_FILE", "a.pem")]), @r#"default sets `tls.key_file` to "": `tls.cert_file` is set, and TLS needs its private key, too"#);
        insta::assert_snapshot!(sentence(&[("KEY_FILE", "a.key")]), @r#"default sets `tls.cert_file` to "": `tls.key_file` is set, and TLS needs its certificate, too"#);
        insta::assert_snapshot!(sentence(&[("CLIENT_CA_FILE", "ca.pem")]), @r#"OUNCE_TLS__CLIENT_CA_FILE sets `tls.client_ca_file` to "ca.pem": clients can show a certificate over TLS only, which needs `tls.cert_file` and `tls.key_file`"#);
        assert_eq!(Config::defaults().expect("valid").tls.files(), None);
        let all = build(&[("CERT_FILE", "a.pem"), ("KEY_FILE", "a.key"), ("CLIENT_CA_FILE", "ca.pem")]);
        let files = all.expect("valid").tls.files().expect("TLS");
        assert_eq!(files.client_ca, Some(("ca.pem".into(), ClientAuth::Required)));
    }
}
