//! Certificates from files.

use std::path::{Path, PathBuf};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::{error::LoadIdentityError, fingerprint, material::Raw};
use crate::files;

/// Where certificate, key and trust bundle stand, each in PEM form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, then intermediates.
    pub cert: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The trust bundle. While authorities rotate it holds the old one and the new one.
    pub ca: PathBuf,
}

impl TlsFiles {
    /// `cert.pem`, `key.pem` and `ca.pem` in one folder.
    pub fn in_folder(folder: &Path) -> Self {
        Self {
            cert: folder.join("cert.pem"),
            key: folder.join("key.pem"),
            ca: folder.join("ca.pem"),
        }
    }

    /// Reads all three files.
    pub(super) fn read(&self) -> Result<Contents, LoadIdentityError> {
        let read = |path: &Path| {
            files::read(path).map_err(|source| LoadIdentityError::Read {
                path: path.to_owned(),
                source,
            })
        };
        Ok(Contents {
            cert: read(&self.cert)?,
            key: read(&self.key)?,
            ca: read(&self.ca)?,
        })
    }

    /// Decodes what was read.
    pub(super) fn decode(&self, contents: &Contents) -> Result<Raw, LoadIdentityError> {
        let wrong = |path: &Path| {
            let path = path.to_owned();
            move |source| LoadIdentityError::Pem { path, source }
        };
        let certificates = |path: &Path, pem: &[u8]| {
            CertificateDer::pem_slice_iter(pem)
                .collect::<Result<Vec<_>, _>>()
                .map_err(wrong(path))
        };
        Ok(Raw {
            chain: certificates(&self.cert, &contents.cert)?,
            key: PrivateKeyDer::from_pem_slice(&contents.key).map_err(wrong(&self.key))?,
            roots: certificates(&self.ca, &contents.ca)?,
        })
    }
}

/// Contents of the three files.
pub(super) struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<u8>,
}

impl Contents {
    /// Tells one set of contents from another.
    pub(super) fn fingerprint(&self) -> [u8; 32] {
        fingerprint([self.cert.as_slice(), &self.key, &self.ca])
    }
}
