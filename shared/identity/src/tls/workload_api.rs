//! Certificates from a SPIFFE Workload API socket.

use std::sync::Arc;

use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use spiffe::{TrustDomain, X509Source, X509SourceBuilder, X509Svid, x509_source::SvidPicker};

use super::{error::LoadIdentityError, material::Raw};
use crate::id::SpiffeId;

/// Takes the certificate of our own id when the workload has several.
#[derive(Debug)]
struct Own(SpiffeId);

impl SvidPicker for Own {
    fn pick_svid(&self, svids: &[Arc<X509Svid>]) -> Option<usize> {
        svids
            .iter()
            .position(|svid| svid.spiffe_id().to_string() == self.0.as_str())
    }
}

/// Connects to a Workload API (`unix:/run/spire/agent.sock`; without an endpoint the one of
/// `SPIFFE_ENDPOINT_SOCKET`) and waits for the first certificate of `own`.
pub(super) async fn connect(
    endpoint: Option<&str>,
    own: &SpiffeId,
) -> Result<X509Source, LoadIdentityError> {
    let builder = X509SourceBuilder::new().picker(Own(own.clone()));
    let builder = match endpoint {
        Some(endpoint) => builder.endpoint(endpoint),
        None => builder,
    };
    builder.build().await.map_err(failed)
}

/// The current certificate, key and trust bundle.
pub(super) fn read(source: &X509Source, own: &SpiffeId) -> Result<Raw, LoadIdentityError> {
    let context = source.x509_context().map_err(failed)?;
    let trust_domain = TrustDomain::new(own.trust_domain()).map_err(failed)?;
    let svid = source.svid().map_err(failed)?;
    let bundle = context
        .bundle_set()
        .get(&trust_domain)
        .ok_or(LoadIdentityError::NoRoots)?;
    Ok(Raw {
        chain: svid
            .cert_chain()
            .iter()
            .map(|cert| CertificateDer::from(cert.as_bytes().to_vec()))
            .collect(),
        key: PrivateKeyDer::from(PrivatePkcs8KeyDer::from(
            svid.private_key().as_bytes().to_vec(),
        )),
        roots: bundle
            .authorities()
            .iter()
            .map(|cert| CertificateDer::from(cert.as_bytes().to_vec()))
            .collect(),
    })
}

fn failed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> LoadIdentityError {
    LoadIdentityError::WorkloadApi(error.into())
}
