//! Ed25519 keys: what an agent signs audit records with, and what an approver signs decisions with.

use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use aws_lc_rs::{
    digest,
    encoding::{AsDer, Pkcs8V1Der},
    signature::{ED25519, Ed25519KeyPair, KeyPair, ParsedPublicKey},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use serde::{Deserialize, Serialize};

use crate::{did::Did, files};

/// Bytes of an Ed25519 signature (RFC 8032, section 5.1.6).
pub const SIGNATURE_LENGTH: usize = 64;
/// Bytes of an Ed25519 public key (RFC 8032, section 5.1.5).
pub const PUBLIC_KEY_LENGTH: usize = 32;

/// Why a key or a signature was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The bytes are no unencrypted PKCS#8 document with an Ed25519 private key.
    #[error("not an unencrypted PKCS#8 Ed25519 private key")]
    PrivateKey,
    /// The text is not the base64 form of 32 bytes.
    #[error("not a base64 Ed25519 public key of {PUBLIC_KEY_LENGTH} bytes")]
    PublicKey,
    /// The signature does not belong to this message and key.
    #[error("signature does not match")]
    Signature,
    /// A key file could not be read.
    #[error("cannot read key file {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A key file could not be written.
    #[error("cannot write key file {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

/// An Ed25519 private key. Cheap to clone; its `Debug` form shows the key id only.
#[derive(Clone)]
pub struct SigningKey {
    pair: Arc<Ed25519KeyPair>,
}

impl SigningKey {
    /// Makes a fresh key.
    ///
    /// # Panics
    /// When the system has no randomness to give.
    pub fn generate() -> Self {
        let pair = Ed25519KeyPair::generate().expect("the system gives random bytes");
        Self {
            pair: Arc::new(pair),
        }
    }

    /// Reads a PKCS#8 document (DER, version 1 or 2), as `openssl genpkey -algorithm ed25519` makes it.
    ///
    /// # Errors
    /// [`KeyError::PrivateKey`].
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, KeyError> {
        let pair = Ed25519KeyPair::from_pkcs8(der).map_err(|_| KeyError::PrivateKey)?;
        Ok(Self {
            pair: Arc::new(pair),
        })
    }

    /// Reads a PKCS#8 document in PEM form (`-----BEGIN PRIVATE KEY-----`).
    ///
    /// # Errors
    /// [`KeyError::PrivateKey`].
    pub fn from_pem(pem: &str) -> Result<Self, KeyError> {
        let der =
            PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| KeyError::PrivateKey)?;
        Self::from_pkcs8(der.secret_pkcs8_der())
    }

    /// The PKCS#8 version 1 document (DER) of this key, which every tool reads.
    pub fn to_pkcs8(&self) -> Vec<u8> {
        encode(&self.pair).as_ref().to_vec()
    }

    /// The PKCS#8 document of this key in PEM form.
    pub fn to_pem(&self) -> String {
        files::pem("PRIVATE KEY", &self.to_pkcs8())
    }

    /// Reads a key file, PEM or DER.
    ///
    /// # Errors
    /// [`KeyError::Read`], [`KeyError::PrivateKey`].
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let bytes = files::read(path).map_err(|source| KeyError::Read {
            path: path.to_owned(),
            source,
        })?;
        match std::str::from_utf8(&bytes) {
            Ok(text) if text.trim_start().starts_with("-----BEGIN") => Self::from_pem(text),
            _ => Self::from_pkcs8(&bytes),
        }
    }

    /// Writes the key as a PEM file that only its owner may read (mode 0600), replacing it in one step.
    ///
    /// # Errors
    /// [`KeyError::Write`].
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        files::write_secret(path, self.to_pem().as_bytes()).map_err(|source| KeyError::Write {
            path: path.to_owned(),
            source,
        })
    }

    /// Reads the key file, or makes a key and writes it there when there is no such file.
    ///
    /// # Errors
    /// [`KeyError::Read`], [`KeyError::Write`], [`KeyError::PrivateKey`].
    pub fn load_or_generate(path: &Path) -> Result<Self, KeyError> {
        match Self::load(path) {
            Err(KeyError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                let key = Self::generate();
                key.save(path)?;
                Ok(key)
            }
            other => other,
        }
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LENGTH] {
        array(self.pair.sign(message).as_ref())
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(array(self.pair.public_key().as_ref()))
    }

    /// The public key's id.
    pub fn key_id(&self) -> String {
        self.public().key_id()
    }
}

fn encode(pair: &Ed25519KeyPair) -> Pkcs8V1Der<'static> {
    pair.as_der()
        .expect("a key pair in memory has a PKCS#8 form")
}

fn array<const LENGTH: usize>(bytes: &[u8]) -> [u8; LENGTH] {
    bytes
        .try_into()
        .expect("AWS-LC gives keys and signatures the lengths of RFC 8032")
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey")
            .field("key_id", &self.key_id())
            .finish_non_exhaustive()
    }
}

/// An Ed25519 public key. Its text form, also in JSON, is standard base64 of the 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; PUBLIC_KEY_LENGTH]);

impl PublicKey {
    /// Takes the 32 bytes of a key.
    pub const fn from_bytes(bytes: [u8; PUBLIC_KEY_LENGTH]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the key.
    pub const fn as_bytes(&self) -> &[u8; PUBLIC_KEY_LENGTH] {
        &self.0
    }

    /// Checks a signature over a message.
    ///
    /// # Errors
    /// [`KeyError::Signature`], also for a signature of the wrong length and a key that is no point of the curve.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), KeyError> {
        let key = ParsedPublicKey::new(&ED25519, self.0).map_err(|_| KeyError::Signature)?;
        key.verify_sig(message, signature)
            .map_err(|_| KeyError::Signature)
    }

    /// Lower-case hex of the SHA-256 of the key: 64 digits.
    pub fn key_id(&self) -> String {
        hex::encode(digest::digest(&digest::SHA256, &self.0))
    }

    /// The decentralised identifier of an agent whose first key this is.
    pub fn did(&self) -> Did {
        Did::of(self)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64_STANDARD.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes = BASE64_STANDARD
            .decode(text)
            .map_err(|_| KeyError::PublicKey)?;
        bytes.try_into().map(Self).map_err(|_| KeyError::PublicKey)
    }
}

impl TryFrom<String> for PublicKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> Self {
        key.to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// RFC 8032, section 7.1, test 2.
    const SEED: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    const PUBLIC: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    const SIGNATURE: &str = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

    fn rfc8032_key() -> SigningKey {
        // RFC 8410, section 7: version 1 with the seed in a nested OCTET STRING.
        let mut der = hex::decode("302e020100300506032b657004220420").unwrap();
        der.extend(hex::decode(SEED).unwrap());
        SigningKey::from_pkcs8(&der).unwrap()
    }

    #[test]
    fn signs_as_in_rfc_8032() {
        let key = rfc8032_key();
        assert_eq!(hex::encode(key.public().as_bytes()), PUBLIC);
        assert_eq!(hex::encode(key.sign(&[0x72])), SIGNATURE);
        key.public()
            .verify(&[0x72], &hex::decode(SIGNATURE).unwrap())
            .unwrap();
    }

    #[test]
    fn refuses_another_message_another_key_and_a_cut_signature() {
        let key = SigningKey::generate();
        let signature = key.sign(b"message");
        key.public().verify(b"message", &signature).unwrap();
        assert!(key.public().verify(b"massage", &signature).is_err());
        assert!(key.public().verify(b"message", &signature[..63]).is_err());
        assert!(
            SigningKey::generate()
                .public()
                .verify(b"message", &signature)
                .is_err()
        );
        assert!(
            PublicKey::from_bytes([0xff; 32])
                .verify(b"message", &signature)
                .is_err()
        );
    }

    #[test]
    fn keeps_a_key_in_a_private_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("signing.pem");
        let key = SigningKey::load_or_generate(&path).unwrap();
        assert_eq!(
            SigningKey::load_or_generate(&path).unwrap().public(),
            key.public()
        );
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );

        std::fs::write(&path, key.to_pkcs8()).unwrap();
        assert_eq!(SigningKey::load(&path).unwrap().public(), key.public());
        std::fs::write(
            &path,
            "-----BEGIN PRIVATE KEY-----\nbm8=\n-----END PRIVATE KEY-----\n",
        )
        .unwrap();
        assert!(matches!(SigningKey::load(&path), Err(KeyError::PrivateKey)));
        assert!(matches!(
            SigningKey::load(&dir.path().join("none")),
            Err(KeyError::Read { .. })
        ));
    }

    #[test]
    fn reads_and_writes_the_text_form() {
        let key = rfc8032_key().public();
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<PublicKey>(&json).unwrap(), key);
        for wrong in ["\"\"", "\"AAAA\"", "\"no base64!\"", "5"] {
            assert!(serde_json::from_str::<PublicKey>(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn never_shows_the_private_key() {
        let key = rfc8032_key();
        let shown = format!("{key:?}");
        assert!(
            shown.contains(&key.key_id()) && !shown.contains(&SEED[..8]),
            "{shown}"
        );
    }
}
