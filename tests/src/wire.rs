//! A caller without our own checks: plain rustls with any certificate, and HTTP/1.1 by hand.

use std::{
    io,
    sync::{Arc, OnceLock},
};

use identity::CertificatePair;
use meshctl::client::Target;
use rcgen::{
    CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustls::{
    AlertDescription, ClientConfig, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
    version::TLS13,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::Mesh;

/// Room for one read.
const READ: usize = 16 * 1024;

/// A URI among the alternative names of a certificate.
///
/// # Panics
/// When it is not ASCII.
pub fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("URIs are ASCII"))
}

/// What an agent made of a connection.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// It refused the handshake.
    Alert(AlertDescription),
    /// It answered the request: HTTP status and body.
    Answered(u16, Value),
}

/// Makes the certificates of a mesh, good and bad, and presents them.
#[derive(Debug)]
pub struct Wire<'a> {
    mesh: &'a Mesh,
    issuer: OnceLock<Issuer<'static, KeyPair>>,
}

impl<'a> Wire<'a> {
    /// For this mesh.
    pub fn new(mesh: &'a Mesh) -> Self {
        Self {
            mesh,
            issuer: OnceLock::new(),
        }
    }

    /// Has the mesh's authority sign a certificate of `id`, good until `spoil` changes it.
    ///
    /// # Panics
    /// When the authority's files are gone.
    pub fn sign(&self, id: &str, spoil: impl FnOnce(&mut CertificateParams)) -> CertificatePair {
        let issuer = self.issuer.get_or_init(|| {
            let file = |name| {
                std::fs::read_to_string(self.mesh.ground.root.join("ca").join(name))
                    .expect("the ground keeps its authority")
            };
            let key = KeyPair::from_pem(&file("ca-key.pem")).expect("a key");
            Issuer::from_ca_cert_pem(&file("ca.pem"), key).expect("an authority")
        });
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.subject_alt_names = vec![uri(id)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        spoil(&mut params);
        let key = KeyPair::generate().expect("a fresh key");
        let certificate = params.signed_by(&key, issuer).expect("a certificate");
        CertificatePair {
            cert_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }

    /// Connects to an agent, whose certificate has to be the mesh's; TLS 1.3 and HTTP/1.1.
    ///
    /// The agent's verdict on the certificate comes after this, with the first read.
    ///
    /// # Errors
    /// What the connection or the handshake broke with.
    ///
    /// # Panics
    /// When the certificate cannot be read.
    pub async fn connect(
        &self,
        target: &Target,
        presented: Option<&CertificatePair>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let config = config(self.mesh.ground.authority.ca_pem(), presented);
        let authority = target.url.trim_start_matches("https://");
        let address: std::net::SocketAddr = authority.parse().map_err(io::Error::other)?;
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::from(address.ip());
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }

    /// Sends one request and says how the agent took it.
    ///
    /// # Panics
    /// When it neither refused with an alert nor answered.
    pub async fn ask(&self, agent: &str, presented: Option<&CertificatePair>) -> Verdict {
        let stream = self.connect(&self.mesh.target(agent), presented).await;
        let stream = stream.expect("a client is done before the agent has judged it");
        let (mut read, mut write) = tokio::io::split(stream);
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "rpc.discover"}).to_string();
        let head = head(&format!("Content-Length: {}", body.len()));
        // An agent that has refused may have closed the connection already; what it said is still to be read.
        drop(send(&mut write, (head + &body).as_bytes()).await);
        match Responses::new(&mut read).next().await {
            Ok(Response { status, body }) => Verdict::Answered(status, body),
            Err(error) => match alert(&error) {
                Some(alert) => Verdict::Alert(alert),
                None => panic!("neither alert nor answer: {error}"),
            },
        }
    }
}

/// Trusts the mesh's authority and presents what it is told to, fit or not.
fn config(ca_pem: &str, presented: Option<&CertificatePair>) -> ClientConfig {
    let certificate = |pem: &str| {
        CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate in PEM form")
    };
    let mut roots = RootCertStore::empty();
    roots.add(certificate(ca_pem)).expect("an authority");
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3 suites")
        .with_root_certificates(roots);
    let Some(CertificatePair { cert_pem, key_pem }) = presented else {
        return builder.with_no_client_auth();
    };
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).expect("a key in PEM form");
    builder
        .with_client_auth_cert(vec![certificate(cert_pem)], key)
        .expect("the key is the certificate's")
}

/// The alert that ended a connection.
fn alert(error: &io::Error) -> Option<AlertDescription> {
    match error.get_ref()?.downcast_ref()? {
        rustls::Error::AlertReceived(alert) => Some(*alert),
        _ => None,
    }
}

/// Writes these bytes to the end: TLS keeps what the socket does not take at once.
///
/// # Errors
/// What the connection broke with.
pub async fn send(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// The head of a JSON-RPC request with these further header lines.
pub fn head(lines: &str) -> String {
    format!(
        "POST /a2a HTTP/1.1\r\nHost: agent\r\nContent-Type: application/json\r\nA2A-Version: 1.0\r\n{lines}\r\n\r\n"
    )
}

/// One HTTP response.
#[derive(Debug, PartialEq)]
pub struct Response {
    /// Its status.
    pub status: u16,
    /// Its JSON body; null when there is none.
    pub body: Value,
}

/// The responses on a connection, one after the other.
#[derive(Debug)]
pub struct Responses<R> {
    stream: R,
    unread: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Responses<R> {
    /// Of this connection.
    pub fn new(stream: R) -> Self {
        Self {
            stream,
            unread: Vec::new(),
        }
    }

    /// The next one, a `100 Continue` included.
    ///
    /// # Errors
    /// When the connection ends or breaks before it is complete.
    pub async fn next(&mut self) -> io::Result<Response> {
        loop {
            if let Some((response, length)) = first(&self.unread) {
                self.unread.drain(..length);
                return Ok(response);
            }
            self.unread.reserve(READ);
            if self.stream.read_buf(&mut self.unread).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The first response of these bytes and its length, once it is complete.
fn first(bytes: &[u8]) -> Option<(Response, usize)> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(bytes.get(..end)?).to_ascii_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let end_of_body = end + length.unwrap_or(0);
    let body = serde_json::from_slice(bytes.get(end..end_of_body)?).unwrap_or_default();
    Some((Response { status, body }, end_of_body))
}
