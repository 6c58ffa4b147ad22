//! TLS: whom the server shows which certificate, and what it learns from a client's.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, SanType,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    harness::{Process, ounce, photo, root, until},
    sockets::whole,
};

tests![
    it_speaks_http1_and_http2_over_tls,
    who_speaks_in_the_clear_is_told_and_who_dawdles_is_closed,
    certificates_are_swapped_under_load_and_no_request_is_lost,
    a_pair_that_cannot_be_used_changes_nothing,
    a_certificate_that_cannot_be_used_ends_the_start_with_a_sentence,
    a_clients_certificate_names_its_tenant,
    bench_believes_whom_it_is_told_to,
];

/// An authority, and what it signs.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "an authority");
        Self { issuer: CertifiedIssuer::self_signed(params, key()).expect("an authority") }
    }

    /// A certificate for this machine, as two PEM files' contents.
    fn server(&self) -> (String, String) {
        let params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("names");
        let key = key();
        (params.signed_by(&key, &self.issuer).expect("signed").pem(), key.serialize_pem())
    }

    /// A client's certificate with this common name and these other names.
    fn client(&self, common_name: &str, names: Vec<SanType>) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, "beside the common name");
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.subject_alt_names = names;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = key();
        let certificate = params.signed_by(&key, &self.issuer).expect("signed");
        (certificate.der().clone(), PrivatePkcs8KeyDer::from(key.serialize_der()).into())
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

/// A folder with a server's files, as a Kubernetes secret lays them: names that lead through a link to the folder of a version.
struct Files {
    folder: tempfile::TempDir,
    version: usize,
}

impl Files {
    fn new((certificate, key): &(String, String)) -> Self {
        let mut files = Self { folder: tempfile::tempdir().expect("a folder"), version: 0 };
        files.swap(certificate, key);
        for name in ["tls.crt", "tls.key"] {
            std::os::unix::fs::symlink(Path::new("data").join(name), files.path(name)).expect("a link");
        }
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts other files in place of those there, in one move.
    fn swap(&mut self, certificate: &str, key: &str) {
        self.version += 1;
        let folder = self.path(&format!("version-{}", self.version));
        std::fs::create_dir(&folder).expect("a folder");
        std::fs::write(folder.join("tls.crt"), certificate).expect("written");
        std::fs::write(folder.join("tls.key"), key).expect("written");
        std::os::unix::fs::symlink(&folder, self.path("new")).expect("a link");
        std::fs::rename(self.path("new"), self.path("data")).expect("swapped");
    }

    fn server(&self, more: &[(&str, &str)]) -> Process {
        let (cert, key) = (self.path("tls.crt"), self.path("tls.key"));
        let (cert, key) = (cert.to_str().expect("text"), key.to_str().expect("text"));
        let settings = [("OUNCE_TLS__CERT_FILE", cert), ("OUNCE_TLS__KEY_FILE", key)];
        let settings: Vec<_> = settings.into_iter().chain(more.iter().copied()).collect();
        Process::listening(&root().join("models"), &settings)
    }
}

/// A client that trusts an authority.
fn client(
    trusted: &Authority,
    shown: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
    alpn: &str,
) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.issuer.der().clone()).expect("an authority");
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("versions").with_root_certificates(roots);
    let mut config = match shown {
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).expect("a pair"),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    TlsConnector::from(Arc::new(config))
}

async fn connect(client: &TlsConnector, address: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    client.connect(ServerName::try_from("localhost").expect("a name"), stream).await
}

/// Sends a request and reads its answer: the status and whether the connection ends.
async fn ask(stream: &mut TlsStream<TcpStream>, request: &[u8]) -> std::io::Result<(u16, bool)> {
    stream.write_all(request).await?;
    let (mut all, mut buffer) = (Vec::new(), vec![0; 16384]);
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            return Err(std::io::Error::other("it ended before the answer"));
        }
        all.extend(&buffer[..read]);
        if let Some((status, head)) = whole(&all) {
            return Ok((status, head.contains("connection: close")));
        }
    }
}

const LIVEZ: &[u8] = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n";
const READYZ: &[u8] = b"GET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n";

fn detect(more: &str) -> Vec<u8> {
    let image = photo();
    let head = format!("POST /v1/detect HTTP/1.1\r\nhost: localhost\r\n{more}content-length: {}\r\n\r\n", image.len());
    [head.into_bytes(), image].concat()
}

async fn ready(client: &TlsConnector, address: SocketAddr) {
    until("the server is ready", async || {
        let Ok(mut stream) = connect(client, address).await else { return false };
        matches!(ask(&mut stream, READYZ).await, Ok((200, _)))
    })
    .await;
}

async fn it_speaks_http1_and_http2_over_tls() {
    let authority = Authority::new();
    let server = Files::new(&authority.server());
    let server = server.server(&[]);
    let http1 = client(&authority, None, "http/1.1");
    ready(&http1, server.address).await;
    let mut stream = connect(&http1, server.address).await.expect("TLS");
    for _ in 0..2 {
        assert_eq!(ask(&mut stream, &detect("")).await.expect("an answer"), (200, false));
    }

    let stream = connect(&client(&authority, None, "h2"), server.address).await.expect("TLS");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.expect("HTTP/2");
    tokio::spawn(connection);
    let request =
        http::Request::post("https://localhost/v1/detect").body(http_body_util::Full::<bytes::Bytes>::from(photo()));
    let answer = sender.send_request(request.expect("a request")).await.expect("an answer");
    assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));

    // Who trusts somebody else does not get in.
    connect(&client(&Authority::new(), None, "h2"), server.address).await.expect_err("not trusted");
}

async fn who_speaks_in_the_clear_is_told_and_who_dawdles_is_closed() {
    let authority = Authority::new();
    let files = Files::new(&authority.server());
    let server = files.server(&[]);
    let mut plain = TcpStream::connect(server.address).await.expect("it listens");
    plain.write_all(LIVEZ).await.expect("sent");
    let mut said = String::new();
    plain.read_to_string(&mut said).await.expect("an answer, and the end");
    let (head, body) = said.split_once("\r\n\r\n").expect("an answer");
    assert!(head.starts_with("HTTP/1.1 400") && body.contains("https"), "{said}");
    assert!(head.contains(&format!("content-length: {}", body.len())), "{said}");

    // A client that begins a handshake and does not go on with it, a byte now and then.
    let mut slow = TcpStream::connect(server.address).await.expect("it listens");
    let hello = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];
    let mut bytes = hello.into_iter().chain(std::iter::repeat(0));
    let mut good = connect(&client(&authority, None, "http/1.1"), server.address).await.expect("beside it");
    until("it is closed", async || {
        assert_eq!(ask(&mut good, LIVEZ).await.expect("an answer").0, 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
        slow.write_all(&[bytes.next().expect("endless")]).await.is_err()
    })
    .await;
}

async fn certificates_are_swapped_under_load_and_no_request_is_lost() {
    let old = Authority::new();
    let mut files = Files::new(&old.server());
    let server = files.server(&[]);
    ready(&client(&old, None, "http/1.1"), server.address).await;
    let new = Authority::new();

    let (swapped, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    // Who keeps a connection, and who opens one for each request; these trust both authorities.
    let clients: Vec<_> = [true, true, false, false]
        .map(|keeps| {
            let trusted = [client(&old, None, "http/1.1"), client(&new, None, "http/1.1")];
            let (swapped, answered, address) = (Arc::clone(&swapped), Arc::clone(&answered), server.address);
            tokio::spawn(async move {
                let mut open: Option<TlsStream<TcpStream>> = None;
                while !swapped.load(Ordering::Relaxed) {
                    let mut stream = match open.take() {
                        Some(stream) => stream,
                        None => match connect(&trusted[0], address).await {
                            Ok(stream) => stream,
                            Err(_) => connect(&trusted[1], address).await.expect("one of the two certificates"),
                        },
                    };
                    let (status, ends) = ask(&mut stream, LIVEZ).await.expect("none is lost");
                    assert_eq!(status, 200);
                    answered.fetch_add(1, Ordering::Relaxed);
                    open = Some(stream).filter(|_| keeps && !ends);
                }
            })
        })
        .into();
    let enough = async |more: usize| {
        let before = answered.load(Ordering::Relaxed);
        until("requests are answered", async || answered.load(Ordering::Relaxed) >= before + more).await;
    };
    enough(20).await;
    let (certificate, key) = new.server();
    files.swap(&certificate, &key);
    let trusts_new = client(&new, None, "http/1.1");
    until("the new one is shown", async || connect(&trusts_new, server.address).await.is_ok()).await;
    enough(20).await;
    swapped.store(true, Ordering::Relaxed);
    for client in clients {
        client.await.expect("none is lost");
    }
    connect(&client(&old, None, "http/1.1"), server.address).await.expect_err("the old one is shown no more");
}

async fn a_pair_that_cannot_be_used_changes_nothing() {
    let authority = Authority::new();
    let mut files = Files::new(&authority.server());
    let server = files.server(&[]);
    let trusts = client(&authority, None, "http/1.1");
    ready(&trusts, server.address).await;
    let other = Authority::new();
    // A certificate whose key is another's, and one that is torn; then a good one. The server looks once a second: it is given the time
    // to make the mistake, and not waited for.
    files.swap(&other.server().0, &other.server().1);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    connect(&trusts, server.address).await.expect("the old one is still shown");
    files.swap("-----BEGIN CERTIFICATE-----\nMIIB", "");
    tokio::time::sleep(Duration::from_millis(1500)).await;
    connect(&trusts, server.address).await.expect("the old one is still shown");
    let (certificate, key) = other.server();
    files.swap(&certificate, &key);
    let trusts_other = client(&other, None, "http/1.1");
    until("the good one is shown", async || connect(&trusts_other, server.address).await.is_ok()).await;
}

async fn a_certificate_that_cannot_be_used_ends_the_start_with_a_sentence() {
    let authority = Authority::new();
    let (certificate, key) = authority.server();
    let start = |certificate: &str, key: &str| {
        let files = Files::new(&(certificate.to_owned(), key.to_owned()));
        let mut serve = crate::harness::ounce();
        serve.args(["serve", "--listen", "127.0.0.1:0"]);
        serve.envs([("OUNCE_TLS__CERT_FILE", files.path("tls.crt")), ("OUNCE_TLS__KEY_FILE", files.path("tls.key"))]);
        serve.env("OUNCE_ADMIN_LISTEN", "");
        let output = serve.output().expect("it runs");
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        said.replace(&files.folder.path().display().to_string(), "FOLDER").lines().last().unwrap_or_default().to_owned()
    };
    insta::assert_snapshot!(start("no PEM", &key), @"ounce: FOLDER/tls.crt holds no certificate in PEM (setting `tls.cert_file`)");
    insta::assert_snapshot!(start(&certificate, "no PEM"), @"ounce: FOLDER/tls.key holds no private key in PEM (setting `tls.key_file`): no items found");
    insta::assert_snapshot!(start(&certificate, &authority.server().1), @"ounce: the certificate of FOLDER/tls.crt and the key of FOLDER/tls.key are no pair: keys may not be consistent: KeyMismatch");
}

async fn a_clients_certificate_names_its_tenant() {
    let authority = Authority::new();
    let files = Files::new(&authority.server());
    std::fs::write(files.path("ca.crt"), authority.issuer.pem()).expect("written");
    let ca = files.path("ca.crt");
    let settings = |auth| {
        [
            ("OUNCE_TLS__CLIENT_CA_FILE", ca.to_str().expect("text")),
            ("OUNCE_TLS__CLIENT_AUTH", auth),
            ("OUNCE_COST__TENANT_HEADER", "x-tenant"),
            ("OUNCE_TENANTS__ACME__API_KEYS", "k-acme"),
            ("OUNCE_TENANTS__BOB__API_KEYS", "k-bob"),
        ]
    };
    let server = files.server(&settings("optional"));
    ready(&client(&authority, None, "http/1.1"), server.address).await;
    // What each of these spends is on whose account?
    let uri = |uri: &str| SanType::URI(uri.try_into().expect("ASCII"));
    let dns = |name: &str| SanType::DnsName(name.try_into().expect("ASCII"));
    let shown = [
        (authority.client("acme", Vec::new()), "", "acme"),
        (authority.client("somebody", vec![dns("acme")]), "", "acme"),
        (authority.client("somebody", vec![uri("spiffe://cluster/tenant/bob")]), "", "bob"),
        (authority.client("somebody", vec![dns("nobody.example")]), "", "default"),
        (authority.client("bob", Vec::new()), "x-tenant: acme\r\n", "bob"),
    ];
    for (certificate, header, tenant) in shown {
        let account = format!("tenant=\"{tenant}\"");
        let before = spent(&authority, server.address, &account).await;
        let connector = client(&authority, Some(certificate), "http/1.1");
        let mut stream = connect(&connector, server.address).await.expect("TLS");
        assert_eq!(ask(&mut stream, &detect(header)).await.expect("an answer").0, 200);
        let after = spent(&authority, server.address, &account).await;
        assert!(after > before, "{tenant} has paid: {before} {after}");
    }
    let stranger = Authority::new().client("acme", Vec::new());
    let answer = refused(&client(&authority, Some(stranger), "http/1.1"), server.address).await;
    assert!(answer, "a certificate of somebody else is none");

    let server = files.server(&settings("required"));
    let acme = authority.client("acme", Vec::new());
    ready(&client(&authority, Some(acme), "http/1.1"), server.address).await;
    assert!(refused(&client(&authority, None, "http/1.1"), server.address).await, "one is required");
}

/// Whether a client gets no answer. With TLS 1.3 it learns that its certificate is not taken when it reads.
async fn refused(client: &TlsConnector, address: SocketAddr) -> bool {
    match connect(client, address).await {
        Ok(mut stream) => ask(&mut stream, LIVEZ).await.is_err(),
        Err(_) => true,
    }
}

/// What requests have cost an account so far.
async fn spent(authority: &Authority, address: SocketAddr, account: &str) -> f64 {
    let mut stream = connect(&client(authority, None, "http/1.1"), address).await.expect("TLS");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.expect("sent");
    let mut said = Vec::new();
    // The server closes without saying goodbye where it likes.
    let _ = stream.read_to_end(&mut said).await;
    let text = String::from_utf8_lossy(&said).into_owned();
    crate::harness::sum(&crate::harness::series(&text), "ounce_cost_usd_total", &["account=\"request\"", account])
}

async fn bench_believes_whom_it_is_told_to() {
    let authority = Authority::new();
    let files = Files::new(&authority.server());
    let ca = files.path("ca.crt");
    std::fs::write(&ca, authority.issuer.pem()).expect("written");
    let server = files.server(&[]);
    ready(&client(&authority, None, "http/1.1"), server.address).await;
    let bench = async |more: &[&str]| {
        let url = format!("https://localhost:{}", server.address.port());
        let mut command = ounce();
        command.args(["bench", &url, "--connections", "1", "--duration", "200ms", "--warmup", "0ms", "--json"]);
        command.args(more);
        tokio::task::spawn_blocking(move || command.output()).await.expect("joined").expect("it runs")
    };
    for believed in [&["--cacert", ca.to_str().expect("text")][..], &["--insecure"]] {
        let output = bench(believed).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let output = bench(&[]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("invalid peer certificate"), "{said}");
}
