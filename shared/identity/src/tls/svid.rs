//! What a certificate must look like to be a workload's (X509-SVID standard, sections 2 to 4).

use rustls::{CertificateError, OtherError};
use std::sync::Arc;
use time::OffsetDateTime;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, parse_x509_certificate};

use crate::id::{IdError, SpiffeId};

/// Why a certificate is not a workload's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SvidError {
    /// The bytes or an extension cannot be read.
    #[error("certificate cannot be read")]
    Malformed,
    /// There is not exactly one URI among the alternative names.
    #[error("certificate has {0} URI names instead of one")]
    UriNames(usize),
    /// The URI is no SPIFFE id.
    #[error("certificate's URI name is no SPIFFE id")]
    Id(#[from] IdError),
    /// The id has no path: it names the trust domain, not a workload.
    #[error("certificate's SPIFFE id names no workload")]
    NoWorkload,
    /// The certificate may sign others.
    #[error("certificate is one of an authority")]
    Authority,
    /// The id belongs to another trust domain.
    #[error("certificate belongs to another trust domain")]
    ForeignTrustDomain,
    /// The id is not the expected one.
    #[error("certificate belongs to another workload")]
    OtherWorkload,
}

impl SvidError {
    /// A fixed word for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UriNames(_) => "uri_names",
            Self::Id(_) => "id",
            Self::NoWorkload => "no_workload",
            Self::Authority => "authority",
            Self::ForeignTrustDomain => "foreign_trust_domain",
            Self::OtherWorkload => "other_workload",
        }
    }
}

impl From<SvidError> for rustls::Error {
    fn from(error: SvidError) -> Self {
        CertificateError::Other(OtherError(Arc::new(error))).into()
    }
}

/// What a workload's certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Svid {
    /// Whose certificate it is.
    pub(crate) id: SpiffeId,
    /// When it ends.
    pub(crate) not_after: OffsetDateTime,
}

/// Reads a workload's certificate. Signatures and time are not checked here.
pub(crate) fn read(der: &[u8]) -> Result<Svid, SvidError> {
    let certificate = parse(der)?;
    let id = uri_name(&certificate)?.parse::<SpiffeId>()?;
    if id.path().is_empty() {
        return Err(SvidError::NoWorkload);
    }
    if may_sign(&certificate)? {
        return Err(SvidError::Authority);
    }
    Ok(Svid {
        id,
        not_after: certificate.validity().not_after.to_datetime(),
    })
}

/// Reads a workload's certificate and checks its trust domain.
pub(crate) fn read_in(der: &[u8], trust_domain: &str) -> Result<Svid, SvidError> {
    let svid = read(der)?;
    if svid.id.trust_domain() == trust_domain {
        Ok(svid)
    } else {
        Err(SvidError::ForeignTrustDomain)
    }
}

/// Reads a workload's certificate and checks its id.
pub(crate) fn read_of(der: &[u8], expected: &SpiffeId) -> Result<Svid, SvidError> {
    let svid = read_in(der, expected.trust_domain())?;
    if svid.id == *expected {
        Ok(svid)
    } else {
        Err(SvidError::OtherWorkload)
    }
}

/// The trust domain in an authority's certificate.
pub(crate) fn authority_trust_domain(der: &[u8]) -> Option<String> {
    let certificate = parse(der).ok()?;
    let id: SpiffeId = uri_name(&certificate).ok()?.parse().ok()?;
    let is_authority = id.path().is_empty() && certificate.is_ca();
    is_authority.then(|| id.trust_domain().to_owned())
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, SvidError> {
    match parse_x509_certificate(der) {
        Ok(([], certificate)) => Ok(certificate),
        _ => Err(SvidError::Malformed),
    }
}

fn uri_name<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a str, SvidError> {
    let extension = certificate
        .subject_alternative_name()
        .map_err(|_| SvidError::Malformed)?;
    let names = extension
        .as_ref()
        .map(|extension| extension.value.general_names.as_slice())
        .unwrap_or_default();
    if names
        .iter()
        .any(|name| matches!(name, GeneralName::Invalid(..)))
    {
        return Err(SvidError::Malformed);
    }
    let mut uris = names.iter().filter_map(|name| {
        if let GeneralName::URI(uri) = name {
            Some(*uri)
        } else {
            None
        }
    });
    match (uris.next(), uris.count()) {
        (Some(uri), 0) => Ok(uri),
        (first, more) => Err(SvidError::UriNames(usize::from(first.is_some()) + more)),
    }
}

fn may_sign(certificate: &X509Certificate<'_>) -> Result<bool, SvidError> {
    let constraints = certificate
        .basic_constraints()
        .map_err(|_| SvidError::Malformed)?;
    let usage = certificate.key_usage().map_err(|_| SvidError::Malformed)?;
    let is_authority = constraints.is_some_and(|extension| extension.value.ca);
    Ok(is_authority
        || usage
            .is_some_and(|extension| extension.value.key_cert_sign() || extension.value.crl_sign()))
}
