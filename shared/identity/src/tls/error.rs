//! Why certificates could not be taken into use.

use std::path::PathBuf;

use super::svid::SvidError;
use crate::id::SpiffeId;

/// Why certificates could not be taken into use.
#[derive(Debug, thiserror::Error)]
pub enum LoadIdentityError {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file is not PEM, or lacks what it should hold.
    #[error("cannot find a PEM block of the right kind in {}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    /// There is no certificate.
    #[error("there is no certificate")]
    NoCertificate,
    /// The trust bundle is empty.
    #[error("trust bundle is empty")]
    NoRoots,
    /// The certificate is not the one of this workload.
    #[error("certificate is not the one of {own}")]
    Svid {
        /// Who this workload is.
        own: SpiffeId,
        /// What the certificate is instead.
        #[source]
        source: SvidError,
    },
    /// The key is none, or does not belong to the certificate.
    #[error("private key does not fit the certificate")]
    Key(#[source] rustls::Error),
    /// A certificate of the trust bundle cannot be used.
    #[error("trust bundle cannot be used")]
    Roots(#[source] rustls::Error),
    /// The trust bundle makes no verifier.
    #[error("trust bundle makes no verifier")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    /// Peers would refuse this certificate: expired, not yet valid, or of another authority.
    #[error("own certificate would be refused")]
    Chain(#[source] rustls::Error),
    /// The TLS library refused the configuration.
    #[error("cannot configure TLS")]
    Tls(#[source] rustls::Error),
    /// The Workload API did not deliver.
    #[error("Workload API delivers no certificate")]
    WorkloadApi(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl LoadIdentityError {
    /// A fixed word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Read { .. } => "read",
            Self::Pem { .. } => "pem",
            Self::NoCertificate => "no_certificate",
            Self::NoRoots | Self::Roots(_) | Self::Verifier(_) => "trust_bundle",
            Self::Svid { source, .. } => source.kind(),
            Self::Key(_) => "key",
            Self::Chain(_) => "chain",
            Self::Tls(_) => "tls",
            Self::WorkloadApi(_) => "workload_api",
        }
    }
}
