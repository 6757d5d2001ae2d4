//! TLS to PostgreSQL: rustls, with the three ways of libpq to look at a server.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use postgres_rustls::{MakeTlsConnector, TlsConnector, TlsStream, set_postgresql_alpn};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs::default_provider,
        verify_tls12_signature, verify_tls13_signature,
    },
    server::ParsedCertificate,
};
use rustls_pki_types::{
    CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName, UnixTime, pem, pem::PemObject,
};
use tokio_postgres::{Socket, tls::MakeTlsConnect};

use super::AddressError;

/// The word for the roots that the operating system trusts.
pub(super) const SYSTEM: &str = "system";

/// A connection's bytes inside TLS.
pub(super) type Stream = TlsStream<Socket>;

/// What the parameters name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Files {
    /// `sslrootcert`.
    pub(super) root: Option<PathBuf>,
    /// `sslcert` and `sslkey`.
    pub(super) client: Option<(PathBuf, PathBuf)>,
}

/// Which servers are the right ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// Whoever answers: the way is encrypted, and no more is known.
    Anyone,
    /// Who has a certificate of a root.
    Roots,
    /// Who has one with the name of the host.
    RootsAndName,
}

/// Makes the TLS of one connection.
#[derive(Clone)]
pub(super) struct Connector(MakeTlsConnector);

impl Connector {
    pub(super) fn new(files: &Files, trust: Trust) -> Result<Self, AddressError> {
        let provider = Arc::new(default_provider());
        let roots = match (&files.root, trust) {
            (Some(path), Trust::Roots | Trust::RootsAndName) => Some(roots(path)?),
            _ => None,
        };
        let verifier = Verifier {
            roots,
            named: trust == Trust::RootsAndName,
            algorithms: provider.signature_verification_algorithms,
        };
        let mut config = client_config(provider, verifier, files)?;
        set_postgresql_alpn(&mut config);
        Ok(Self(MakeTlsConnector::new(Arc::new(config).into())))
    }
}

impl MakeTlsConnect<Socket> for Connector {
    type Stream = Stream;
    type TlsConnect = TlsConnector<'static>;
    type Error = InvalidDnsNameError;

    /// A Unix socket has no name. PostgreSQL has no TLS there, and the driver makes no handshake without a name.
    fn make_tls_connect(&mut self, domain: &str) -> Result<Self::TlsConnect, Self::Error> {
        let name = if domain.is_empty() {
            "localhost"
        } else {
            domain
        };
        <MakeTlsConnector as MakeTlsConnect<Socket>>::make_tls_connect(&mut self.0, name)
    }
}

fn client_config(
    provider: Arc<CryptoProvider>,
    verifier: Verifier,
    files: &Files,
) -> Result<ClientConfig, AddressError> {
    let unusable = |parameter: &'static str| {
        move |error: Error| AddressError::File {
            parameter,
            reason: format!("its file cannot be used: {error}"),
        }
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable("sslmode"))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let Some((chain, key)) = &files.client else {
        return Ok(config.with_no_client_auth());
    };
    let chain = certificates("sslcert", chain)?;
    let key = read("sslkey", key)?;
    let key = PrivateKeyDer::from_pem_slice(&key).map_err(not_pem("sslkey", "private key"))?;
    config
        .with_client_auth_cert(chain, key)
        .map_err(unusable("sslkey"))
}

fn roots(path: &Path) -> Result<RootCertStore, AddressError> {
    let unusable = |reason: String| AddressError::File {
        parameter: "sslrootcert",
        reason,
    };
    let mut roots = RootCertStore::empty();
    if path == Path::new(SYSTEM) {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    } else {
        for certificate in certificates("sslrootcert", path)? {
            let added = roots.add(certificate);
            added.map_err(|error| unusable(format!("its file cannot be used: {error}")))?;
        }
    }
    if roots.is_empty() {
        return Err(unusable(String::from("the system trusts no root")));
    }
    Ok(roots)
}

fn certificates(
    parameter: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, AddressError> {
    let text = read(parameter, path)?;
    let found = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let found = found.map_err(not_pem(parameter, "certificate"))?;
    if found.is_empty() {
        return Err(not_pem(parameter, "certificate")(pem::Error::NoItemsFound));
    }
    Ok(found)
}

fn read(parameter: &'static str, path: &Path) -> Result<Vec<u8>, AddressError> {
    fs::read(path).map_err(|error| AddressError::File {
        parameter,
        reason: format!("its file cannot be read: {}", error.kind()),
    })
}

/// Says what was looked for, never what was found.
fn not_pem(parameter: &'static str, what: &'static str) -> impl Fn(pem::Error) -> AddressError {
    move |_| AddressError::File {
        parameter,
        reason: format!("its file holds no {what} in PEM form"),
    }
}

/// Looks at a server as [`Trust`] says. The handshake's signature is always verified.
#[derive(Debug)]
struct Verifier {
    roots: Option<RootCertStore>,
    named: bool,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(roots) = &self.roots else {
            return Ok(ServerCertVerified::assertion());
        };
        let certificate = ParsedCertificate::try_from(leaf)?;
        let all = self.algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, all)?;
        if self.named {
            // rustls's own error repeats the names, and errors show no part of an address.
            verify_server_name(&certificate, name)
                .map_err(|_| CertificateError::NotValidForName)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, leaf, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, leaf, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
