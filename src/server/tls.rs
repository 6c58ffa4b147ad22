//! TLS on the main listener: in goes a TCP stream, out comes an encrypted one, and the tenant that the client's certificate stands for.
//!
//! Certificates are read from files and again when these change. Connections that are open go on with what they began with. A new
//! pair that cannot be used is logged, and the old one stays.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use anyhow::{Context, bail};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
    version::{TLS12, TLS13},
};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::certificate;
use crate::config::{ClientAuth, Config, TlsFiles};

/// Longest time for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// What a client gets that speaks plain HTTP to the port.
const SPEAK_TLS: &str = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: 51\r\n\r\n\
    this port speaks TLS: begin the address with https\n";

/// TLS with the certificates of now.
#[derive(Debug)]
pub(super) struct Tls {
    files: TlsFiles,
    tenants: Vec<Arc<str>>,
    /// What was read last, and what was wrong with it.
    read: Mutex<(Contents, String)>,
    current: RwLock<Arc<ServerConfig>>,
}

/// What the files had in them.
#[derive(PartialEq, Eq)]
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl std::fmt::Debug for Contents {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// A file cannot be read, or what is in it cannot be used.
    pub(super) fn new(files: TlsFiles, config: &Config) -> anyhow::Result<Self> {
        let read = Contents::read(&files)?;
        let current = RwLock::new(Arc::new(read.server_config(&files)?));
        let tenants = config.tenants.keys().map(|name| Arc::from(name.as_str())).collect();
        Ok(Self { files, tenants, read: Mutex::new((read, String::new())), current })
    }

    /// Reads the files again, and uses what is in them where that has changed. Blocks.
    pub(super) fn reload(&self) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let (old, wrong) = &mut *read;
        match self.take_new(old) {
            Ok(()) => wrong.clear(),
            Err(error) => {
                // It is told once, not every second.
                let error = format!("{error:#}");
                if *wrong != error {
                    tracing::error!("the certificate stays the old one: {error}");
                    *wrong = error;
                }
            }
        }
    }

    fn take_new(&self, old: &mut Contents) -> anyhow::Result<()> {
        let new = Contents::read(&self.files)?;
        if *old == new {
            return Ok(());
        }
        let config = new.server_config(&self.files);
        *old = new;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config?);
        tracing::info!(cert_file = %self.files.cert.display(), "a new certificate is shown from now on");
        Ok(())
    }

    /// Makes a stream encrypted. Also returns the tenant of the client's certificate, where the client showed one.
    pub(super) async fn handshake(&self, stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Option<Arc<str>>)> {
        let shaken = tokio::time::timeout(HANDSHAKE, self.shake_hands(stream)).await;
        shaken.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long")))
    }

    async fn shake_hands(&self, mut stream: TcpStream) -> io::Result<(TlsStream<TcpStream>, Option<Arc<str>>)> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 1 && first[0].is_ascii_uppercase() {
            stream.write_all(SPEAK_TLS.as_bytes()).await?;
            stream.shutdown().await?;
            // What the client has sent is read, since closing the socket before would take the answer back.
            drop(tokio::io::copy(&mut stream, &mut tokio::io::sink()).await);
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the client speaks plain HTTP"));
        }
        let current = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner));
        let stream = TlsAcceptor::from(current).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let tenant = shown.and_then(|certificate| certificate::tenant(certificate, &self.tenants));
        Ok((stream, tenant))
    }
}

impl Contents {
    fn read(files: &TlsFiles) -> anyhow::Result<Self> {
        let read = |path: &Path, setting| {
            std::fs::read(path).with_context(|| format!("{} cannot be read (setting `tls.{setting}`)", path.display()))
        };
        Ok(Self {
            cert: read(&files.cert, "cert_file")?,
            key: read(&files.key, "key_file")?,
            client_ca: files.client_ca.as_ref().map(|(path, _)| read(path, "client_ca_file")).transpose()?,
        })
    }

    fn server_config(&self, files: &TlsFiles) -> anyhow::Result<ServerConfig> {
        let provider = Arc::new(ring::default_provider());
        let chain = certificates(&self.cert, &files.cert, "cert_file")?;
        let key = PrivateKeyDer::from_pem_slice(&self.key);
        let key = key
            .with_context(|| format!("{} holds no private key in PEM (setting `tls.key_file`)", files.key.display()))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .context("TLS cannot be set up")?;
        let builder = match (&files.client_ca, &self.client_ca) {
            (Some((path, auth)), Some(authorities)) => {
                builder.with_client_cert_verifier(client_verifier(authorities, path, *auth, provider)?)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, key).with_context(|| {
            format!("the certificate of {} and the key of {} are no pair", files.cert.display(), files.key.display())
        })?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn client_verifier(
    authorities: &[u8],
    path: &Path,
    auth: ClientAuth,
    provider: Arc<CryptoProvider>,
) -> anyhow::Result<Arc<dyn rustls::server::danger::ClientCertVerifier>> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(authorities, path, "client_ca_file")? {
        let unusable = || format!("{} holds an authority that cannot be used", path.display());
        roots.add(authority).with_context(unusable)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = match auth {
        ClientAuth::Required => verifier,
        ClientAuth::Optional => verifier.allow_unauthenticated(),
    };
    verifier.build().context("certificates of clients cannot be verified")
}

/// All certificates of a PEM file.
fn certificates(pem: &[u8], path: &Path, setting: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let all = all.with_context(|| format!("{} is no PEM file (setting `tls.{setting}`)", path.display()))?;
    if all.is_empty() {
        bail!("{} holds no certificate in PEM (setting `tls.{setting}`)", path.display());
    }
    Ok(all)
}
