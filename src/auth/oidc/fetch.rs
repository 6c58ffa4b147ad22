//! Gets the keys of an identity provider: from where it says that they are, from a URL, or from a file.

use std::{path::Path, time::Duration};

use serde::Deserialize;

use super::jwks::TokenKeys;
use crate::{
    config::{TokenIssuer, TokenKeySource, WebAddress},
    files,
    http_client::{HttpsClient, Roots},
};

/// The most bytes of an answer. Key sets have some thousands, with certificates in them some hundred thousands.
const MAX_BYTES: usize = 1 << 20;

/// The longest time that the identity provider may take for one answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(4);

/// Gets keys over the network.
#[derive(Debug)]
pub(super) struct KeyFetcher {
    client: HttpsClient,
    issuer: WebAddress,
    /// Where the keys are; none where the issuer says it.
    jwks: Option<WebAddress>,
}

/// What an issuer says of itself (OpenID Connect Discovery, RFC 8414).
#[derive(Deserialize)]
struct Discovered {
    issuer: String,
    jwks_uri: String,
}

impl KeyFetcher {
    /// A fetcher of the keys of an issuer; none where these are in a file.
    ///
    /// # Errors
    /// The authorities of `ca_file` cannot be used.
    pub fn new(issuer: &TokenIssuer) -> Result<Option<Self>, String> {
        let jwks = match &issuer.keys {
            TokenKeySource::File(_) => return Ok(None),
            TokenKeySource::Discovery => None,
            TokenKeySource::Url(url) => Some(url.clone()),
        };
        let asked = jwks.as_ref().unwrap_or(&issuer.issuer);
        if !asked.is_https() {
            tracing::warn!(
                url = %asked,
                "THE KEYS OF TOKENS ARE FETCHED IN THE CLEAR: whoever stands between can sign tokens of his own; give an https address"
            );
        }
        let roots = issuer.ca_file.clone().map_or(Roots::System, Roots::File);
        let client = HttpsClient::new(&roots).map_err(|why| format!("auth.oidc.ca_file: {why}"))?;
        Ok(Some(Self { client, issuer: issuer.issuer.clone(), jwks }))
    }

    /// Gets the keys.
    ///
    /// # Errors
    /// With a sentence: somebody does not answer as he should.
    pub async fn fetch(&self) -> Result<TokenKeys, String> {
        let jwks = match &self.jwks {
            Some(url) => url.clone(),
            None => self.discover().await?,
        };
        let document = self.client.get(jwks.as_str(), MAX_BYTES, TIMEOUT).await?;
        TokenKeys::parse(&document).map_err(|why| format!("what {jwks} answers cannot be used: {why}"))
    }

    /// Asks the issuer where its keys are.
    async fn discover(&self) -> Result<WebAddress, String> {
        let url = self.issuer.below(".well-known/openid-configuration");
        let document = self.client.get(url.as_str(), MAX_BYTES, TIMEOUT).await?;
        let wrong = |why: &str| format!("what {url} answers cannot be used: {why}");
        let found: Discovered =
            serde_json::from_slice(&document).map_err(|_| wrong("it is no JSON with `issuer` and `jwks_uri`"))?;
        if found.issuer != self.issuer.as_str() {
            return Err(wrong(
                "its `issuer` is another; auth.oidc.issuer is to be the same letter by letter, a slash at its end included",
            ));
        }
        let jwks: WebAddress = found.jwks_uri.parse().map_err(|_| wrong("its `jwks_uri` is no address"))?;
        if self.issuer.is_https() && !jwks.is_https() {
            return Err(wrong("its `jwks_uri` is not https"));
        }
        Ok(jwks)
    }
}

/// Reads the keys of a file. Blocks.
///
/// # Errors
/// With a sentence: it cannot be read, or has no keys.
pub(super) fn read(path: &Path) -> Result<TokenKeys, String> {
    let bytes = files::read(path, MAX_BYTES as u64).map_err(|error| error.to_string())?;
    TokenKeys::parse(&bytes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;
    use crate::config::Layers;

    const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn fetcher(settings: &[(&str, &str)]) -> Result<KeyFetcher, String> {
        let fixed = [("MODE", "keys"), ("OIDC__AUDIENCE", "ounce")];
        let settings = fixed.iter().chain(settings);
        let settings = settings.map(|(name, value)| (format!("OUNCE_AUTH__{name}"), (*value).to_owned()));
        let config = Layers::defaults().and_then(|layers| layers.env(settings)).and_then(|layers| layers.build());
        let issuer = config.expect("valid").auth.oidc.issuer().expect("an issuer");
        KeyFetcher::new(&issuer).map(|fetcher| fetcher.expect("over the network"))
    }

    /// A server that gives every request the same answer, `URL` in it being its own address, and waits `more` before it closes.
    async fn answering(answer: &'static str, more: Duration) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let answer = answer.replace("URL", &url);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let answer = answer.clone();
                tokio::spawn(async move {
                    let _ = stream.read(&mut [0; 4096]).await;
                    let _ = stream.write_all(answer.as_bytes()).await;
                    tokio::time::sleep(more).await;
                });
            }
        });
        url
    }

    async fn refusal(answer: &'static str) -> String {
        let url = answering(answer, Duration::ZERO).await;
        let failed = fetcher(&[("OIDC__ISSUER", &url)]).expect("usable").fetch().await.expect_err("refused");
        failed.replace(&url, "URL")
    }

    #[tokio::test]
    async fn an_issuer_that_does_not_answer_as_it_should_is_told_by_what_it_did() {
        let discovery = "URL/.well-known/openid-configuration";
        for (answer, why) in [
            (
                "HTTP/1.1 302 Found\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n",
                "answers 302, and 200 is wanted",
            ),
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", "answers 404, and 200 is wanted"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 99999999\r\n\r\n", "answers with more than 1048576 bytes"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{", "does not answer to the end: "),
            ("SSH-2.0-x\r\n\r\n", "does not answer: invalid HTTP version parsed"),
        ] {
            let said = refusal(answer).await;
            assert!(said.starts_with(&format!("{discovery} {why}")), "{said}");
        }
        for (answer, why) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>", "it is no JSON with `issuer` and `jwks_uri`"),
            (
                "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"issuer\":\"https://evil\",\"jwks_uri\":\"URL\"}",
                "its `issuer` is another; auth.oidc.issuer is to be the same letter by letter, a slash at its end included",
            ),
            (
                "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"issuer\":\"URL\",\"jwks_uri\":\"file:///etc/passwd\"}",
                "its `jwks_uri` is no address",
            ),
        ] {
            assert_eq!(refusal(answer).await, format!("what {discovery} answers cannot be used: {why}"));
        }
        let set =
            refusal("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"issuer\":\"URL\",\"jwks_uri\":\"URL/k\"}").await;
        assert_eq!(set, "what URL/k answers cannot be used: it is no JSON Web Key Set: {\"keys\": […]} is wanted");
        let nobody =
            fetcher(&[("OIDC__ISSUER", "http://127.0.0.1:9")]).expect("usable").fetch().await.expect_err("refused");
        assert!(nobody.contains("does not answer: Connection refused"), "{nobody}");
    }

    #[tokio::test]
    async fn an_issuer_that_never_ends_is_given_up() {
        let url = answering("HTTP/1.1 200 OK\r\n\r\n{", Duration::from_secs(3600)).await;
        let client = HttpsClient::new(&Roots::Nobody).expect("a client");
        let failed = client.get(&url, 99, Duration::from_millis(50)).await.expect_err("refused");
        assert_eq!(failed, format!("{url} did not answer within 50 ms"));
    }

    #[tokio::test]
    async fn over_tls_the_issuer_must_be_who_it_says() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let server = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let server = server.expect("versions").with_no_client_auth();
        let server = server.with_single_cert(vec![made.cert.der().clone()], key).expect("a pair");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(server));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let _ = stream.read(&mut [0; 4096]).await;
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{KEYS}", KEYS.len());
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), made.cert.pem()).expect("written");
        let ask = async |host: &str, ca_file: &str| {
            let url = format!("https://{host}:{port}/keys");
            let settings = [("OIDC__ISSUER", "https://a"), ("OIDC__JWKS_URL", &*url), ("OIDC__CA_FILE", ca_file)];
            fetcher(&settings)?.fetch().await.map(|keys| keys.len())
        };
        let path = file.path().to_str().expect("text");
        assert_eq!(ask("localhost", path).await, Ok(1));
        for (host, ca_file) in [("localhost", ""), ("127.0.0.1", path)] {
            let why = ask(host, ca_file).await.expect_err("refused");
            assert!(why.contains("invalid peer certificate"), "{why}");
        }
        std::fs::write(file.path(), "no certificate").expect("written");
        let why = ask("localhost", path).await.expect_err("refused").replace(path, "FILE");
        assert_eq!(
            why,
            "auth.oidc.ca_file: the authorities of FILE cannot be used: there is no certificate in PEM in it"
        );
    }
}
