//! Whose certificates are believed when ounce is the client.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};

use crate::files;

/// The largest file of authorities.
const MAX_BYTES: u64 = 16 << 20;

/// Whose certificates are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Roots {
    /// Those that the system believes: its file of authorities, or what `SSL_CERT_FILE` and `SSL_CERT_DIR` name.
    System,
    /// Those that the authorities of a PEM file have signed.
    File(PathBuf),
    /// None: no server is believed over TLS, and in the clear none shows any.
    Nobody,
    /// All. Nobody knows who answers.
    Anybody,
}

impl Roots {
    /// What rustls needs to know.
    pub(super) fn client_config(&self) -> Result<ClientConfig, String> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
        Ok(match self {
            Self::Anybody => {
                let verifier = Arc::new(BelievesAnybody(provider));
                builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()
            }
            Self::Nobody => builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth(),
            Self::System => builder.with_root_certificates(of_system()).with_no_client_auth(),
            Self::File(path) => {
                let cannot = |why: &dyn std::fmt::Display| {
                    format!("the authorities of {} cannot be used: {why}", path.display())
                };
                let pem = files::read(path, MAX_BYTES).map_err(|error| cannot(&error))?;
                let mut roots = RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(&pem) {
                    let certificate = certificate.map_err(|error| cannot(&error))?;
                    roots.add(certificate).map_err(|error| cannot(&error))?;
                }
                if roots.is_empty() {
                    return Err(cannot(&"there is no certificate in PEM in it"));
                }
                builder.with_root_certificates(roots).with_no_client_auth()
            }
        })
    }
}

/// The authorities of the system. Some have an old one that cannot be used; the others are used all the same.
fn of_system() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let errors: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        tracing::warn!(
            ?errors,
            "this system names no authority (ca-certificates), so no server is believed over https"
        );
    }
    roots
}

/// Takes every certificate, as long as its owner answers.
#[derive(Debug)]
struct BelievesAnybody(Arc<CryptoProvider>);

impl ServerCertVerifier for BelievesAnybody {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _chain: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
