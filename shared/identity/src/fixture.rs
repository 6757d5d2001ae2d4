//! A small mesh for tests: an authority, folders of certificates, a listener and callers over real sockets.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{Extension, Router, http::HeaderMap, routing::any};
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::{body::Bytes, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig,
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::{
    authority::{Authority, CertificatePair},
    id::SpiffeId,
    tls::{TlsFiles, TlsIdentity},
    transport::{Limits, Mode, PeerIdentity, PeerRefused, ServeError, serve},
};

pub(crate) const HOUR: Duration = Duration::from_hours(1);

/// What has to happen soon: a test that waits for it in vain fails instead of hanging.
pub(crate) async fn soon<T>(event: impl Future<Output = T>) -> T {
    let limit = Duration::from_mins(1);
    tokio::time::timeout(limit, event)
        .await
        .expect("this should have happened long ago")
}

pub(crate) fn agent(name: &str) -> SpiffeId {
    SpiffeId::workload("mesh.local", "test-system", name).unwrap()
}

pub(crate) struct Mesh {
    pub(crate) authority: Authority,
    folder: TempDir,
}

impl Mesh {
    pub(crate) fn new() -> Self {
        Self {
            authority: Authority::generate("mesh.local").unwrap(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let folder = self.folder.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    pub(crate) fn identity(&self, name: &str) -> Arc<TlsIdentity> {
        let files = self
            .authority
            .issue_to(&self.folder(name), &agent(name), HOUR)
            .unwrap();
        TlsIdentity::from_files(files, &agent(name)).unwrap()
    }
}

/// Writes certificate, key and bundle as they are.
pub(crate) fn write(folder: &Path, pair: &CertificatePair, bundle: &str) -> TlsFiles {
    let files = TlsFiles::in_folder(folder);
    std::fs::write(&files.cert, &pair.cert_pem).unwrap();
    std::fs::write(&files.key, &pair.key_pem).unwrap();
    std::fs::write(&files.ca, bundle).unwrap();
    files
}

/// A certificate and key for rustls, whatever they are.
pub(crate) fn presents(pair: &CertificatePair) -> Arc<SingleCertAndKey> {
    let chain = CertificateDer::pem_slice_iter(pair.cert_pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .unwrap();
    let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).unwrap();
    let certified =
        CertifiedKey::from_der(chain, key, &rustls::crypto::aws_lc_rs::default_provider()).unwrap();
    Arc::new(SingleCertAndKey::from(certified))
}

/// A running listener, whose handler answers who is calling and which identity headers it saw.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) shutdown: CancellationToken,
    pub(crate) task: JoinHandle<Result<(), ServeError>>,
}

async fn whoami(
    identity: Option<Extension<PeerIdentity>>,
    refused: Option<Extension<PeerRefused>>,
    headers: HeaderMap,
) -> String {
    let spoofed = ["x-forwarded-client-cert", "l5d-client-id"]
        .iter()
        .filter(|name| headers.contains_key(**name))
        .count();
    match (identity, refused) {
        (Some(Extension(PeerIdentity(id))), None) => format!("{id} {spoofed}"),
        (None, Some(Extension(reason))) => format!("{} {spoofed}", reason.kind()),
        (None, None) => format!("nobody {spoofed}"),
        (Some(_), Some(_)) => "both".to_owned(),
    }
}

pub(crate) async fn start(mode: Mode, limits: Limits) -> Running {
    start_router(mode, limits, Router::new().route("/", any(whoami))).await
}

pub(crate) async fn start_router(mode: Mode, limits: Limits, router: Router) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(serve(listener, mode, router, shutdown.clone(), limits));
    Running {
        address,
        shutdown,
        task,
    }
}

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

pub(crate) fn request(headers: &[(&str, &str)]) -> Request<Empty<Bytes>> {
    let builder = Request::builder()
        .uri("http://agent/")
        .header("host", "agent");
    headers
        .iter()
        .fold(builder, |builder, (name, value)| {
            builder.header(*name, *value)
        })
        .body(Empty::new())
        .unwrap()
}

/// Connects with TLS, as whom the configuration says.
pub(crate) async fn connect(
    address: SocketAddr,
    config: Arc<ClientConfig>,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failure> {
    let stream = TcpStream::connect(address).await?;
    Ok(TlsConnector::from(config)
        .connect(ServerName::try_from("agent")?, stream)
        .await?)
}

/// One call over HTTP/2 on a fresh TLS connection.
pub(crate) async fn call(
    address: SocketAddr,
    config: Arc<ClientConfig>,
    headers: &[(&str, &str)],
) -> Result<String, Failure> {
    let stream = connect(address, config).await?;
    let (mut sender, connection) =
        conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let answer = async {
        Ok(sender
            .send_request(request(headers))
            .await?
            .into_body()
            .collect()
            .await?)
    }
    .await;
    drop(sender);
    // Why the connection ended is part of the answer only where the answer is missing.
    let ended = connection.await?;
    let answer: Result<_, Failure> = answer;
    let bytes = answer.inspect_err(|_| drop(ended))?.to_bytes();
    Ok(String::from_utf8(bytes.to_vec())?)
}

/// One call over HTTP/1 on a stream that is already there.
pub(crate) async fn call_http1(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    headers: &[(&str, &str)],
) -> Result<String, Failure> {
    let (mut sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let bytes = sender
        .send_request(request(headers))
        .await?
        .into_body()
        .collect()
        .await?
        .to_bytes();
    Ok(String::from_utf8(bytes.to_vec())?)
}
