//! A throw-away certificate authority: `meshctl up` makes one for each mesh, and so do tests.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, string::Ia5String,
};
use rustls_pki_types::{CertificateDer, pem::PemObject};
use time::OffsetDateTime;

use crate::{
    files,
    id::{IdError, SpiffeId, check_trust_domain},
    tls::{TlsFiles, authority_trust_domain},
};

/// How long a throw-away authority lives.
const AUTHORITY_VALIDITY: time::Duration = time::Duration::days(365);
/// Certificates begin this long ago, so that a clock that is a little behind accepts them at once.
const BACKDATING: time::Duration = time::Duration::minutes(1);
/// File of the authority's certificate: the trust bundle.
const CERTIFICATE_FILE: &str = "ca.pem";
/// File of the authority's private key.
const KEY_FILE: &str = "ca-key.pem";

/// Why the authority could not do something.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The trust domain is none.
    #[error(transparent)]
    TrustDomain(#[from] IdError),
    /// The id belongs to another trust domain, or is the trust domain itself.
    #[error("{id} is not a workload of trust domain {trust_domain}")]
    ForeignId {
        /// The id that was asked for.
        id: SpiffeId,
        /// The authority's own trust domain.
        trust_domain: String,
    },
    /// A certificate or key could not be made or read.
    #[error("cannot make or read a certificate")]
    Certificate(#[from] rcgen::Error),
    /// The stored certificate is not one of a SPIFFE authority.
    #[error("{} is not the certificate of a SPIFFE authority", path.display())]
    NotAnAuthority {
        /// The file.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("cannot access {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// A certificate and its private key, both in PEM form. The `Debug` form leaves the key out.
#[derive(Clone)]
pub struct CertificatePair {
    /// The certificate.
    pub cert_pem: String,
    /// The private key (PKCS#8).
    pub key_pem: String,
}

impl fmt::Debug for CertificatePair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificatePair")
            .field("cert_pem", &self.cert_pem)
            .finish_non_exhaustive()
    }
}

/// A certificate authority for one trust domain, with its private key in memory.
pub struct Authority {
    trust_domain: String,
    ca_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("trust_domain", &self.trust_domain)
            .finish_non_exhaustive()
    }
}

impl Authority {
    /// Makes an authority with a fresh key (ECDSA P-256), valid for a year.
    ///
    /// # Errors
    /// [`AuthorityError::TrustDomain`], [`AuthorityError::Certificate`].
    pub fn generate(trust_domain: &str) -> Result<Self, AuthorityError> {
        check_trust_domain(trust_domain)?;
        let key = KeyPair::generate()?;
        let now = OffsetDateTime::now_utc();
        let mut params = CertificateParams::default();
        params.not_before = now - BACKDATING;
        params.not_after = now + AUTHORITY_VALIDITY;
        params.distinguished_name = name(&format!("agent mesh authority of {trust_domain}"));
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(format!(
            "spiffe://{trust_domain}"
        ))?)];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca_pem = params.self_signed(&key)?.pem();
        Ok(Self {
            trust_domain: trust_domain.to_owned(),
            ca_pem,
            issuer: Issuer::new(params, key),
        })
    }

    /// Reads the authority that [`Authority::save`] wrote into a folder.
    ///
    /// # Errors
    /// [`AuthorityError::File`], [`AuthorityError::Certificate`], [`AuthorityError::NotAnAuthority`].
    pub fn load(folder: &Path) -> Result<Self, AuthorityError> {
        let path = folder.join(CERTIFICATE_FILE);
        let ca_pem = read(&path)?;
        let key = KeyPair::from_pem(&read(&folder.join(KEY_FILE))?)?;
        let der = CertificateDer::from_pem_slice(ca_pem.as_bytes()).ok();
        let trust_domain = der.as_ref().and_then(|der| authority_trust_domain(der));
        let trust_domain = trust_domain.ok_or(AuthorityError::NotAnAuthority { path })?;
        let issuer = Issuer::from_ca_cert_pem(&ca_pem, key)?;
        Ok(Self {
            trust_domain,
            ca_pem,
            issuer,
        })
    }

    /// Writes `ca.pem` and `ca-key.pem` (readable by the owner only) into a folder that exists.
    ///
    /// # Errors
    /// [`AuthorityError::File`].
    pub fn save(&self, folder: &Path) -> Result<(), AuthorityError> {
        write(
            &folder.join(KEY_FILE),
            &self.issuer.key().serialize_pem(),
            true,
        )?;
        write(&folder.join(CERTIFICATE_FILE), &self.ca_pem, false)
    }

    /// The trust domain whose ids this authority certifies.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The authority's certificate: the trust bundle of the mesh.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Certifies an id with a fresh key, from now on for `validity`. The certificate has exactly one
    /// subject alternative name, the URI, and serves both ends of a connection.
    ///
    /// # Errors
    /// [`AuthorityError::ForeignId`], [`AuthorityError::Certificate`].
    pub fn issue(
        &self,
        id: &SpiffeId,
        validity: Duration,
    ) -> Result<CertificatePair, AuthorityError> {
        let now = OffsetDateTime::now_utc();
        self.issue_between(id, now - BACKDATING, now + validity)
    }

    /// Certifies an id with a fresh key for a given time.
    ///
    /// # Errors
    /// [`AuthorityError::ForeignId`], [`AuthorityError::Certificate`].
    pub fn issue_between(
        &self,
        id: &SpiffeId,
        not_before: OffsetDateTime,
        not_after: OffsetDateTime,
    ) -> Result<CertificatePair, AuthorityError> {
        self.sign(&self.params(id, not_before, not_after)?)
    }

    /// What a certificate of `id` says.
    fn params(
        &self,
        id: &SpiffeId,
        not_before: OffsetDateTime,
        not_after: OffsetDateTime,
    ) -> Result<CertificateParams, AuthorityError> {
        if id.trust_domain() != self.trust_domain || id.path().is_empty() {
            return Err(AuthorityError::ForeignId {
                id: id.clone(),
                trust_domain: self.trust_domain.clone(),
            });
        }
        let mut params = leaf(not_before, not_after);
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(id.as_str())?)];
        Ok(params)
    }

    /// Certifies an id and writes `cert.pem`, `key.pem` (readable by the owner only) and `ca.pem` into a folder that exists.
    /// Agents that watch these files take them over within a second or two.
    ///
    /// # Errors
    /// [`AuthorityError::ForeignId`], [`AuthorityError::Certificate`], [`AuthorityError::File`].
    pub fn issue_to(
        &self,
        folder: &Path,
        id: &SpiffeId,
        validity: Duration,
    ) -> Result<TlsFiles, AuthorityError> {
        self.save_pair(folder, &self.issue(id, validity)?)
    }

    /// As [`Authority::issue_to`], for an agent that is also called by clients which know only host names, such as
    /// `curl`: the certificate names `hosts` (names or addresses) besides the one URI. Mesh peers ignore them.
    ///
    /// # Errors
    /// As [`Authority::issue_to`].
    pub fn issue_for_hosts(
        &self,
        folder: &Path,
        id: &SpiffeId,
        validity: Duration,
        hosts: &[&str],
    ) -> Result<TlsFiles, AuthorityError> {
        let now = OffsetDateTime::now_utc();
        let mut params = self.params(id, now - BACKDATING, now + validity)?;
        for host in hosts {
            params.subject_alt_names.push(match host.parse() {
                Ok(address) => SanType::IpAddress(address),
                Err(_) => SanType::DnsName(Ia5String::try_from(*host)?),
            });
        }
        self.save_pair(folder, &self.sign(&params)?)
    }

    fn save_pair(&self, folder: &Path, pair: &CertificatePair) -> Result<TlsFiles, AuthorityError> {
        let files = TlsFiles::in_folder(folder);
        write(&files.ca, &self.ca_pem, false)?;
        write(&files.key, &pair.key_pem, true)?;
        write(&files.cert, &pair.cert_pem, false)?;
        Ok(files)
    }

    /// Signs a certificate with a fresh key.
    pub(crate) fn sign(
        &self,
        params: &CertificateParams,
    ) -> Result<CertificatePair, AuthorityError> {
        let key = KeyPair::generate()?;
        let cert = params.signed_by(&key, &self.issuer)?;
        Ok(CertificatePair {
            cert_pem: cert.pem(),
            key_pem: key.serialize_pem(),
        })
    }
}

/// A certificate without a name yet.
pub(crate) fn leaf(not_before: OffsetDateTime, not_after: OffsetDateTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = not_before;
    params.not_after = not_after;
    // X509-SVID, section 2: the subject may be empty when the alternative name is critical, which rcgen sees to.
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    params.use_authority_key_identifier_extension = true;
    params
}

fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn read(path: &Path) -> Result<String, AuthorityError> {
    let text =
        files::read(path).and_then(|bytes| String::from_utf8(bytes).map_err(std::io::Error::other));
    text.map_err(|source| AuthorityError::File {
        path: path.to_owned(),
        source,
    })
}

fn write(path: &Path, text: &str, secret: bool) -> Result<(), AuthorityError> {
    let written = if secret {
        files::write_secret(path, text.as_bytes())
    } else {
        files::write_public(path, text.as_bytes())
    };
    written.map_err(|source| AuthorityError::File {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::tls::svid;

    const HOUR: Duration = Duration::from_hours(1);

    fn agent() -> SpiffeId {
        SpiffeId::workload("mesh.local", "data-system", "db-migrator").unwrap()
    }

    #[test]
    fn certifies_exactly_the_id_for_the_time_asked() {
        let authority = Authority::generate("mesh.local").unwrap();
        let pair = authority.issue(&agent(), HOUR).unwrap();
        let svid =
            svid::read(&CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()).unwrap()).unwrap();
        assert_eq!(svid.id, agent());
        let left = svid.not_after - OffsetDateTime::now_utc();
        assert!(
            left <= time::Duration::HOUR && left > time::Duration::minutes(59),
            "{left}"
        );
        assert!(!format!("{pair:?}{authority:?}").contains("PRIVATE"));
    }

    #[test]
    fn refuses_ids_of_other_trust_domains_and_the_trust_domain_itself() {
        let authority = Authority::generate("mesh.local").unwrap();
        for id in ["spiffe://other/ns/a/sa/b", "spiffe://mesh.local"] {
            assert!(
                matches!(
                    authority.issue(&id.parse().unwrap(), HOUR),
                    Err(AuthorityError::ForeignId { .. })
                ),
                "{id}"
            );
        }
        assert!(matches!(
            Authority::generate("Mesh"),
            Err(AuthorityError::TrustDomain(_))
        ));
    }

    #[test]
    fn survives_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::generate("mesh.local").unwrap();
        authority.save(folder.path()).unwrap();
        let loaded = Authority::load(folder.path()).unwrap();
        assert_eq!(
            (loaded.trust_domain(), loaded.ca_pem()),
            ("mesh.local", authority.ca_pem())
        );
        let mode = |file: &str| {
            std::fs::metadata(folder.path().join(file))
                .unwrap()
                .permissions()
                .mode()
                & 0o777
        };
        assert_eq!((mode("ca-key.pem"), mode("ca.pem")), (0o600, 0o644));
        let files = loaded.issue_to(folder.path(), &agent(), HOUR).unwrap();
        assert_eq!(mode("key.pem"), 0o600);
        crate::tls::TlsIdentity::from_files(files, &agent()).unwrap();
    }

    #[test]
    fn does_not_load_a_plain_certificate_as_authority() {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::generate("mesh.local").unwrap();
        authority.save(folder.path()).unwrap();
        let pair = authority.issue(&agent(), HOUR).unwrap();
        std::fs::write(folder.path().join("ca.pem"), pair.cert_pem).unwrap();
        assert!(matches!(
            Authority::load(folder.path()),
            Err(AuthorityError::NotAnAuthority { .. })
        ));
    }
}
