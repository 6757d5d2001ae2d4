//! `directory.json`: which agent has which SPIFFE id, decentralised identifier and signing keys.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::{did::Did, did::DidDocument, files, id::SpiffeId, keys::PublicKey};

/// Why a directory could not be loaded or saved.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The file could not be read.
    #[error("cannot read directory {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file could not be written.
    #[error("cannot write directory {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is no directory.
    #[error("cannot decode directory {}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// Where and why; this includes everything of [`InvalidDirectory`].
        #[source]
        source: serde_json::Error,
    },
}

/// Why entries make no directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDirectory {
    /// The agent has no signing key.
    #[error("agent {0} has no signing key")]
    NoKey(String),
    /// The agent's SPIFFE id is not a workload's, or its service account is not the agent's name.
    #[error("SPIFFE id of agent {0} names another workload")]
    OtherWorkload(String),
    /// The DID is not the one of the agent's first key.
    #[error("DID of agent {0} does not belong to its first signing key")]
    OtherDid(String),
    /// A key id is not the digest of its public key.
    #[error("key id {0} does not belong to its public key")]
    OtherKeyId(String),
    /// A key ends before it begins.
    #[error("key {0} is never valid")]
    NeverValid(String),
    /// Two entries share an agent name, SPIFFE id, DID or key.
    #[error("{0} occurs twice")]
    Twice(String),
}

/// Why a key may not sign for an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyNotListed {
    /// No agent has this SPIFFE id.
    #[error("SPIFFE id is not in the directory")]
    UnknownAgent,
    /// The agent has no such key.
    #[error("key is not listed for this SPIFFE id")]
    UnknownKey,
    /// The key was not valid at that time.
    #[error("key is not valid at this time")]
    OutsideValidity,
}

/// One agent of the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DirectoryEntry {
    /// The agent's name.
    pub agent: String,
    /// The workload identity in its certificate.
    pub spiffe_id: SpiffeId,
    /// The identifier derived from its first signing key.
    pub did: Did,
    /// Keys that sign its audit records, oldest first. The first stays for ever, since the DID is its digest.
    pub signing_keys: Vec<ListedKey>,
}

/// One signing key of the directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedKey {
    /// SHA-256 of the public key in hex.
    pub key_id: String,
    /// The public key in base64.
    pub public_key: PublicKey,
    /// First moment at which the key may sign (RFC 3339).
    #[serde(with = "time::serde::rfc3339")]
    pub not_before: OffsetDateTime,
    /// Last moment at which the key may sign (RFC 3339).
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
}

impl ListedKey {
    /// Lists a key with its validity.
    pub fn new(
        public_key: PublicKey,
        not_before: OffsetDateTime,
        not_after: OffsetDateTime,
    ) -> Self {
        Self {
            key_id: public_key.key_id(),
            public_key,
            not_before,
            not_after,
        }
    }

    /// Whether the key may sign at a time.
    pub fn is_valid_at(&self, time: OffsetDateTime) -> bool {
        (self.not_before..=self.not_after).contains(&time)
    }
}

impl DirectoryEntry {
    /// An agent with its first signing key.
    pub fn new(agent: &str, spiffe_id: SpiffeId, key: ListedKey) -> Self {
        Self {
            agent: agent.to_owned(),
            spiffe_id,
            did: key.public_key.did(),
            signing_keys: vec![key],
        }
    }

    /// The agent's DID document, with the address of its A2A endpoint where it is known.
    pub fn did_document(&self, a2a_url: Option<&str>) -> Option<DidDocument> {
        let keys: Vec<_> = self.signing_keys.iter().map(|key| key.public_key).collect();
        DidDocument::new(&self.spiffe_id, &keys, a2a_url)
    }

    fn check(&self) -> Result<(), InvalidDirectory> {
        let first = self
            .signing_keys
            .first()
            .ok_or_else(|| InvalidDirectory::NoKey(self.agent.clone()))?;
        if self.spiffe_id.service_account() != Some(&self.agent) {
            return Err(InvalidDirectory::OtherWorkload(self.agent.clone()));
        }
        if self.did != first.public_key.did() {
            return Err(InvalidDirectory::OtherDid(self.agent.clone()));
        }
        for key in &self.signing_keys {
            if key.key_id != key.public_key.key_id() {
                return Err(InvalidDirectory::OtherKeyId(key.key_id.clone()));
            }
            if key.not_after < key.not_before {
                return Err(InvalidDirectory::NeverValid(key.key_id.clone()));
            }
        }
        Ok(())
    }
}

/// All agents of a mesh with their identities, as `meshctl up` and the installer write them. Holds no secret.
///
/// ```json
/// {"agents": [{"agent": "db-migrator", "spiffe_id": "spiffe://mesh.local/ns/data-system/sa/db-migrator",
///   "did": "did:ossa:<40 hex>", "signing_keys": [{"key_id": "<64 hex>", "public_key": "<base64>",
///   "not_before": "2026-01-01T00:00:00Z", "not_after": "2027-01-01T00:00:00Z"}]}]}
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Directory {
    agents: Vec<DirectoryEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    agents: Vec<DirectoryEntry>,
}

impl TryFrom<Unchecked> for Directory {
    type Error = InvalidDirectory;

    fn try_from(unchecked: Unchecked) -> Result<Self, Self::Error> {
        Self::new(unchecked.agents)
    }
}

impl Directory {
    /// Puts a directory together.
    ///
    /// # Errors
    /// [`InvalidDirectory`].
    pub fn new(agents: Vec<DirectoryEntry>) -> Result<Self, InvalidDirectory> {
        let mut seen = HashSet::new();
        for entry in &agents {
            entry.check()?;
            let names = [
                entry.agent.as_str(),
                entry.spiffe_id.as_str(),
                entry.did.as_str(),
            ];
            let keys = entry.signing_keys.iter().map(|key| key.key_id.as_str());
            if let Some(twice) = names
                .into_iter()
                .chain(keys)
                .find(|name| !seen.insert(*name))
            {
                return Err(InvalidDirectory::Twice(twice.to_owned()));
            }
        }
        Ok(Self { agents })
    }

    /// Reads and checks a directory file.
    ///
    /// # Errors
    /// [`DirectoryError::Read`], [`DirectoryError::Decode`].
    pub fn load(path: &Path) -> Result<Self, DirectoryError> {
        let bytes = files::read(path).map_err(|source| DirectoryError::Read {
            path: path.to_owned(),
            source,
        })?;
        serde_json::from_slice(&bytes).map_err(|source| DirectoryError::Decode {
            path: path.to_owned(),
            source,
        })
    }

    /// Writes the directory, replacing the file in one step.
    ///
    /// # Errors
    /// [`DirectoryError::Write`].
    pub fn save(&self, path: &Path) -> Result<(), DirectoryError> {
        serde_json::to_vec_pretty(self)
            .map_err(std::io::Error::from)
            .and_then(|text| files::write_public(path, &text))
            .map_err(|source| DirectoryError::Write {
                path: path.to_owned(),
                source,
            })
    }

    /// All agents, in the order of the file.
    pub fn agents(&self) -> &[DirectoryEntry] {
        &self.agents
    }

    /// The agent with this name.
    pub fn by_agent(&self, agent: &str) -> Option<&DirectoryEntry> {
        self.agents.iter().find(|entry| entry.agent == agent)
    }

    /// The agent with this SPIFFE id.
    pub fn by_spiffe_id(&self, id: &SpiffeId) -> Option<&DirectoryEntry> {
        self.agents.iter().find(|entry| entry.spiffe_id == *id)
    }

    /// The agent with this DID.
    pub fn by_did(&self, did: &Did) -> Option<&DirectoryEntry> {
        self.agents.iter().find(|entry| entry.did == *did)
    }

    /// The key with this id, and whose it is.
    pub fn by_key_id(&self, key_id: &str) -> Option<(&DirectoryEntry, &ListedKey)> {
        self.agents.iter().find_map(|entry| {
            entry
                .signing_keys
                .iter()
                .find(|key| key.key_id == key_id)
                .map(|key| (entry, key))
        })
    }

    /// The key with which the workload `id` may have signed something at `time`.
    ///
    /// # Errors
    /// [`KeyNotListed`] when the directory and the claim disagree.
    pub fn signing_key(
        &self,
        id: &SpiffeId,
        key_id: &str,
        time: OffsetDateTime,
    ) -> Result<&PublicKey, KeyNotListed> {
        let entry = self.by_spiffe_id(id).ok_or(KeyNotListed::UnknownAgent)?;
        let key = entry
            .signing_keys
            .iter()
            .find(|key| key.key_id == key_id)
            .ok_or(KeyNotListed::UnknownKey)?;
        if key.is_valid_at(time) {
            Ok(&key.public_key)
        } else {
            Err(KeyNotListed::OutsideValidity)
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::keys::SigningKey;

    const START: OffsetDateTime = datetime!(2026-01-01 00:00 UTC);
    const END: OffsetDateTime = datetime!(2027-01-01 00:00 UTC);

    fn entry(agent: &str) -> DirectoryEntry {
        let id = SpiffeId::workload("mesh.local", "data-system", agent).unwrap();
        DirectoryEntry::new(
            agent,
            id,
            ListedKey::new(SigningKey::generate().public(), START, END),
        )
    }

    #[test]
    fn survives_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("directory.json");
        let directory = Directory::new(vec![entry("db-migrator"), entry("cost-analyzer")]).unwrap();
        directory.save(&path).unwrap();
        assert_eq!(Directory::load(&path).unwrap(), directory);
        assert!(matches!(
            Directory::load(&dir.path().join("none")),
            Err(DirectoryError::Read { .. })
        ));
        std::fs::write(&path, "{\"agents\": [{}]}").unwrap();
        assert!(matches!(
            Directory::load(&path),
            Err(DirectoryError::Decode { .. })
        ));
    }

    #[test]
    fn finds_keys_for_their_owner_and_time_only() {
        let (migrator, cost) = (entry("db-migrator"), entry("cost-analyzer"));
        let directory = Directory::new(vec![migrator.clone(), cost.clone()]).unwrap();
        let key = &migrator.signing_keys[0];
        let find = |id: &SpiffeId, time| directory.signing_key(id, &key.key_id, time);
        assert_eq!(find(&migrator.spiffe_id, START), Ok(&key.public_key));
        assert_eq!(find(&migrator.spiffe_id, END), Ok(&key.public_key));
        assert_eq!(
            find(&migrator.spiffe_id, END + time::Duration::SECOND),
            Err(KeyNotListed::OutsideValidity)
        );
        assert_eq!(
            find(&migrator.spiffe_id, START - time::Duration::SECOND),
            Err(KeyNotListed::OutsideValidity)
        );
        assert_eq!(find(&cost.spiffe_id, START), Err(KeyNotListed::UnknownKey));
        assert_eq!(
            find(
                &SpiffeId::external("mesh.local", "operator").unwrap(),
                START
            ),
            Err(KeyNotListed::UnknownAgent)
        );
        assert_eq!(directory.by_key_id(&key.key_id), Some((&migrator, key)));
        assert_eq!(
            directory.by_did(&cost.did),
            directory.by_agent("cost-analyzer")
        );
    }

    #[test]
    fn a_second_key_does_not_change_the_did() {
        let mut rotated = entry("db-migrator");
        let second = ListedKey::new(
            SigningKey::generate().public(),
            END,
            END + time::Duration::DAY,
        );
        rotated.signing_keys.push(second.clone());
        let directory = Directory::new(vec![rotated.clone()]).unwrap();
        assert_eq!(
            directory.signing_key(&rotated.spiffe_id, &second.key_id, END),
            Ok(&second.public_key)
        );
        assert_eq!(rotated.did_document(None).unwrap().id, rotated.did);
        rotated.signing_keys.remove(0);
        assert_eq!(
            Directory::new(vec![rotated]),
            Err(InvalidDirectory::OtherDid("db-migrator".into()))
        );
    }

    #[test]
    fn refuses_entries_that_disagree_with_themselves_or_each_other() {
        let check = |change: fn(&mut DirectoryEntry),
                     expected: fn(&DirectoryEntry) -> InvalidDirectory| {
            let mut wrong = entry("db-migrator");
            change(&mut wrong);
            assert_eq!(Directory::new(vec![wrong.clone()]), Err(expected(&wrong)));
        };
        check(
            |e| e.signing_keys.clear(),
            |e| InvalidDirectory::NoKey(e.agent.clone()),
        );
        check(
            |e| e.agent = "other".into(),
            |e| InvalidDirectory::OtherWorkload(e.agent.clone()),
        );
        check(
            |e| e.did = entry("x").did,
            |e| InvalidDirectory::OtherDid(e.agent.clone()),
        );
        check(
            |e| e.signing_keys[0].key_id = "00".into(),
            |e| InvalidDirectory::OtherKeyId(e.signing_keys[0].key_id.clone()),
        );
        check(
            |e| e.signing_keys[0].not_after = START - time::Duration::DAY,
            |e| InvalidDirectory::NeverValid(e.signing_keys[0].key_id.clone()),
        );
        let one = entry("db-migrator");
        assert_eq!(
            Directory::new(vec![one.clone(), one]),
            Err(InvalidDirectory::Twice("db-migrator".into()))
        );
        let (one, mut two) = (entry("db-migrator"), entry("cost-analyzer"));
        two.signing_keys.push(one.signing_keys[0].clone());
        assert_eq!(
            Directory::new(vec![one.clone(), two]),
            Err(InvalidDirectory::Twice(one.signing_keys[0].key_id.clone()))
        );
    }
}
