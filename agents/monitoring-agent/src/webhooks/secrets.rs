//! What senders of webhooks have to know, from files that may change while the agent runs.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use aws_lc_rs::{digest, hmac};
use base64::{Engine, prelude::BASE64_STANDARD};

/// Prefix of a signing token.
const SIGNING: &str = "whsec_";

/// Why the secrets cannot be used. Never says what stands in a file.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// A file cannot be read.
    #[error("cannot read {0}")]
    Unreadable(PathBuf, #[source] std::io::Error),
    /// A line is no signing token.
    #[error("{0}, line {1}: expected whsec_ and a key in base64")]
    NoSigningToken(PathBuf, usize),
}

/// The secrets of one moment. Tokens are kept as digests, which have one length and so are compared in one time.
#[derive(Default)]
pub(super) struct Known {
    pub(super) gitlab_tokens: Vec<digest::Digest>,
    pub(super) gitlab_keys: Vec<hmac::Key>,
    pub(super) alertmanager_tokens: Vec<digest::Digest>,
}

/// The secrets in a folder.
#[derive(Clone)]
pub struct Secrets {
    folder: PathBuf,
    known: Arc<RwLock<Arc<Known>>>,
}

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Secrets {
    /// Reads the files of a folder; those that are not there hold no secret.
    ///
    /// # Errors
    /// When a file cannot be read, or holds something else.
    pub fn read(folder: &Path) -> Result<Self, SecretsError> {
        Ok(Self {
            folder: folder.to_owned(),
            known: Arc::new(RwLock::new(Arc::new(read(folder)?))),
        })
    }

    /// Reads the files again; when that fails, the secrets stay as they are.
    ///
    /// # Errors
    /// As [`Secrets::read`].
    pub fn refresh(&self) -> Result<(), SecretsError> {
        let known = Arc::new(read(&self.folder)?);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known;
        Ok(())
    }

    pub(super) fn known(&self) -> Arc<Known> {
        self.known
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

pub(super) fn digest_of(token: &[u8]) -> digest::Digest {
    digest::digest(&digest::SHA256, token)
}

fn read(folder: &Path) -> Result<Known, SecretsError> {
    let tokens = |name: &str| -> Result<Vec<digest::Digest>, SecretsError> {
        let lines = lines(&folder.join(name))?;
        Ok(lines
            .iter()
            .map(|(_, line)| digest_of(line.as_bytes()))
            .collect())
    };
    let path = folder.join("gitlab-signing-token");
    let mut keys = Vec::new();
    for (number, line) in lines(&path)? {
        let key = line
            .strip_prefix(SIGNING)
            .and_then(|key| BASE64_STANDARD.decode(key).ok());
        let key = key.filter(|key| !key.is_empty());
        let key = key.ok_or_else(|| SecretsError::NoSigningToken(path.clone(), number))?;
        keys.push(hmac::Key::new(hmac::HMAC_SHA256, &key));
    }
    Ok(Known {
        gitlab_tokens: tokens("gitlab-token")?,
        gitlab_keys: keys,
        alertmanager_tokens: tokens("alertmanager-token")?,
    })
}

/// The lines of a file that are not empty, with their numbers.
fn lines(path: &Path) -> Result<Vec<(usize, String)>, SecretsError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(SecretsError::Unreadable(path.to_owned(), error)),
    };
    let lines = text.lines().map(str::trim).enumerate();
    let filled = lines.filter(|(_, line)| !line.is_empty());
    Ok(filled.map(|(at, line)| (at + 1, line.to_owned())).collect())
}
