//! The authority of one control plane and the certificates of its programs.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

/// How long before now a certificate starts: 5 minutes, against clocks that differ.
const BACKDATING: Duration = Duration::minutes(5);
/// How long it lives: 1 day, longer than any test.
const VALIDITY: Duration = Duration::days(1);

/// A certificate and its key, as files.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// An authority whose certificate is a file.
pub(crate) struct Authority {
    folder: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes one and writes `ca.pem` into the folder.
    pub(crate) fn generate(folder: &Path) -> anyhow::Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = params("kubernetes", None);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        let authority = Self {
            folder: folder.to_owned(),
            issuer: Issuer::new(params, key),
        };
        write(&authority.certificate(), &certificate.pem())?;
        Ok(authority)
    }

    /// The authority's certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate for a server on loopback, which may also present it as a client.
    pub(crate) fn server(&self, file: &str) -> anyhow::Result<Pair> {
        let mut params = params(file, None);
        params.subject_alt_names = vec![
            SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            SanType::DnsName("localhost".try_into()?),
            SanType::DnsName("kubernetes.default.svc".try_into()?),
        ];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        self.issue(file, params)
    }

    /// A certificate of a user of the API, perhaps in a group.
    pub(crate) fn user(&self, file: &str, name: &str, group: Option<&str>) -> anyhow::Result<Pair> {
        let mut params = params(name, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(file, params)
    }

    fn issue(&self, file: &str, mut params: CertificateParams) -> anyhow::Result<Pair> {
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        let pair = Pair {
            certificate: self.folder.join(format!("{file}.pem")),
            key: self.folder.join(format!("{file}-key.pem")),
        };
        write(&pair.certificate, &certificate.pem())?;
        write(&pair.key, &key.serialize_pem())?;
        Ok(pair)
    }
}

/// Writes the key that signs the tokens of service accounts, and its public half.
pub(crate) fn token_key(folder: &Path) -> anyhow::Result<Pair> {
    let key = KeyPair::generate()?;
    let pair = Pair {
        certificate: folder.join("tokens-public.pem"),
        key: folder.join("tokens-key.pem"),
    };
    write(&pair.certificate, &key.public_key_pem())?;
    write(&pair.key, &key.serialize_pem())?;
    Ok(pair)
}

fn params(name: &str, group: Option<&str>) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    if let Some(group) = group {
        subject.push(DnType::OrganizationName, group);
    }
    let mut params = CertificateParams::default();
    params.not_before = now - BACKDATING;
    params.not_after = now + VALIDITY;
    params.distinguished_name = subject;
    params
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}
