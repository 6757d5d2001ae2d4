//! One generation of certificate, key and trust roots, checked and ready for use.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::{Resumption, verify_server_cert_signed_by_trust_anchor},
    crypto::{CryptoProvider, aws_lc_rs::default_provider},
    server::{
        NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier, danger::ClientCertVerifier,
    },
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use time::OffsetDateTime;

use super::{
    error::LoadIdentityError,
    fingerprint, svid,
    verify::{CurrentCertificate, VerifyClient, VerifyServer},
};
use crate::id::SpiffeId;

/// Protocols offered inside TLS, best first.
fn alpn() -> Vec<Vec<u8>> {
    vec![b"h2".to_vec(), b"http/1.1".to_vec()]
}

/// The one crypto provider, given explicitly so that nothing depends on the process default.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(default_provider())
}

/// Certificates and key as they came from files or the Workload API.
pub(super) struct Raw {
    /// The certificate, then intermediates.
    pub(super) chain: Vec<CertificateDer<'static>>,
    /// The certificate's private key.
    pub(super) key: PrivateKeyDer<'static>,
    /// The trust bundle.
    pub(super) roots: Vec<CertificateDer<'static>>,
}

impl Raw {
    /// Tells one set from another.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        let Self { chain, key, roots } = self;
        fingerprint(
            chain
                .iter()
                .map(AsRef::as_ref)
                .chain([key.secret_der()])
                .chain(roots.iter().map(AsRef::as_ref)),
        )
    }
}

/// A generation that passed all checks.
#[derive(Debug)]
pub(super) struct Material {
    pub(super) expires_at: OffsetDateTime,
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) roots: Arc<RootCertStore>,
    /// Digest of the trust bundle: when it changes, connections made under the old one end.
    pub(super) trust: [u8; 32],
    pub(super) server: Arc<ServerConfig>,
}

impl Material {
    /// Checks that the certificate is ours, that the key belongs to it, and that our own peers will accept it now.
    pub(super) fn new(raw: Raw, own: &SpiffeId) -> Result<Self, LoadIdentityError> {
        let Raw { chain, key, roots } = raw;
        let provider = provider();
        let (leaf, intermediates) = chain
            .split_first()
            .ok_or(LoadIdentityError::NoCertificate)?;
        let svid = svid::read_of(leaf, own).map_err(|source| LoadIdentityError::Svid {
            own: own.clone(),
            source,
        })?;
        let trust = trust_digest(&roots);
        let roots = root_store(roots)?;
        let verifier = client_verifier(roots.clone(), own, &provider)?;
        check_own_chain(leaf, intermediates, &roots, verifier.as_ref(), &provider)?;
        let certified = Arc::new(
            CertifiedKey::from_der(chain, key, &provider).map_err(LoadIdentityError::Key)?,
        );
        let server = server_config(certified.clone(), verifier, provider)?;
        Ok(Self {
            expires_at: svid.not_after,
            certified,
            roots,
            trust,
            server,
        })
    }
}

fn root_store(
    bundle: Vec<CertificateDer<'static>>,
) -> Result<Arc<RootCertStore>, LoadIdentityError> {
    let mut store = RootCertStore::empty();
    for root in bundle {
        store.add(root).map_err(LoadIdentityError::Roots)?;
    }
    if store.is_empty() {
        Err(LoadIdentityError::NoRoots)
    } else {
        Ok(Arc::new(store))
    }
}

fn trust_digest(bundle: &[CertificateDer<'_>]) -> [u8; 32] {
    let mut sorted: Vec<_> = bundle.iter().map(AsRef::as_ref).collect();
    sorted.sort_unstable();
    sorted.dedup();
    fingerprint(sorted)
}

fn client_verifier(
    roots: Arc<RootCertStore>,
    own: &SpiffeId,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, LoadIdentityError> {
    let webpki = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(LoadIdentityError::Verifier)?;
    Ok(Arc::new(VerifyClient {
        webpki,
        trust_domain: own.trust_domain().to_owned(),
    }))
}

/// A certificate that peers would refuse is refused here already: expired, not yet valid, unknown
/// authority, or not usable for both ends of a connection.
fn check_own_chain(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &RootCertStore,
    verifier: &dyn ClientCertVerifier,
    provider: &CryptoProvider,
) -> Result<(), LoadIdentityError> {
    let now = UnixTime::now();
    let algorithms = provider.signature_verification_algorithms.all;
    verifier
        .verify_client_cert(leaf, intermediates, now)
        .map_err(LoadIdentityError::Chain)?;
    ParsedCertificate::try_from(leaf)
        .and_then(|parsed| {
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                roots,
                intermediates,
                now,
                algorithms,
            )
        })
        .map_err(LoadIdentityError::Chain)
}

/// TLS 1.3 only, and no resumption: each connection proves its certificate against the current bundle.
fn server_config(
    certified: Arc<CertifiedKey>,
    verifier: Arc<dyn ClientCertVerifier>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<ServerConfig>, LoadIdentityError> {
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(LoadIdentityError::Tls)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = alpn();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// The client side of every generation: it reads certificate and trust bundle at each handshake.
pub(super) fn client_config(current: Arc<ArcSwap<Material>>, expected: SpiffeId) -> ClientConfig {
    let provider = provider();
    let verifier = VerifyServer {
        current: current.clone(),
        expected,
        algorithms: provider.signature_verification_algorithms,
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has TLS 1.3 suites")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(CurrentCertificate(current)));
    config.alpn_protocols = alpn();
    config.resumption = Resumption::disabled();
    config
}
