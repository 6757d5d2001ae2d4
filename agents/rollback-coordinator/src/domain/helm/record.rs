//! Helm's release records: Secrets of type `helm.sh/release.v1`, one for each revision of a release.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use serde_json::{Map, Value, json};

/// Labels of a record that are Helm's own; all others are the user's.
const SYSTEM_LABELS: [&str; 6] = [
    "name",
    "owner",
    "status",
    "version",
    "createdAt",
    "modifiedAt",
];
/// Type of a record's Secret.
pub const RECORD_TYPE: &str = "helm.sh/release.v1";
/// Largest record that is unpacked: 64 MiB. Its Secret holds at most 1 MiB, which a hostile one could inflate.
const MAX_RECORD: u64 = 64 << 20;
/// First bytes of gzip. Helm before 2.5 did not compress.
const GZIP: [u8; 3] = [0x1f, 0x8b, 0x08];
/// Annotation of the Secrets that this agent made, with the rollback that made them. Helm reads no annotations.
pub const CLAIM_ANNOTATION: &str = "ossa.io/rollback-id";

/// Where a revision of a release stands, in Helm's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// In force.
    Deployed,
    /// Was in force.
    Superseded,
    /// Did not get into force.
    Failed,
    /// An operation runs, or was killed.
    Pending,
    /// Removed, being removed, or a word that Helm did not have.
    Gone,
}

impl Status {
    fn parse(word: &str) -> Self {
        match word {
            "deployed" => Self::Deployed,
            "superseded" => Self::Superseded,
            "failed" => Self::Failed,
            word if word.starts_with("pending-") => Self::Pending,
            _ => Self::Gone,
        }
    }
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not base64.
    #[error("a release record is not base64")]
    Base64(#[source] base64::DecodeError),
    /// Not gzip.
    #[error("a release record cannot be unpacked")]
    Gzip(#[source] std::io::Error),
    /// Unpacked, it is too large.
    #[error("a release record is larger than 64 MiB")]
    TooLarge,
    /// Not JSON.
    #[error("a release record is not JSON")]
    Json(#[source] serde_json::Error),
    /// A field that Helm always writes is not there.
    #[error("a release record has no {0}")]
    Missing(&'static str),
}

/// One revision of a release.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Number of the revision.
    pub version: u64,
    /// The user's own labels.
    labels: BTreeMap<String, String>,
    /// The record as Helm's JSON.
    body: Value,
}

impl Record {
    /// Reads the labels and the data `release` of a Secret.
    ///
    /// # Errors
    /// When it is not what Helm writes.
    pub fn read(labels: &BTreeMap<String, String>, data: &[u8]) -> Result<Self, RecordError> {
        let packed = STANDARD.decode(data).map_err(RecordError::Base64)?;
        let body: Value = serde_json::from_slice(&unpack(packed)?).map_err(RecordError::Json)?;
        let version = body.get("version").and_then(Value::as_u64);
        Ok(Self {
            version: version.ok_or(RecordError::Missing("version"))?,
            labels: labels
                .iter()
                .filter(|(key, _)| !SYSTEM_LABELS.contains(&key.as_str()))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
            body,
        })
    }

    fn text(&self, pointer: &str) -> &str {
        self.body
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Name of the release.
    pub fn name(&self) -> &str {
        self.text("/name")
    }

    /// Name of the record's Secret.
    pub fn key(&self) -> String {
        format!("sh.helm.release.v1.{}.v{}", self.name(), self.version)
    }

    /// The status in Helm's own word.
    pub fn status_word(&self) -> &str {
        self.text("/info/status")
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        Status::parse(self.status_word())
    }

    /// Its objects, as YAML.
    pub fn manifest(&self) -> &str {
        self.text("/manifest")
    }

    /// Whether Helm brings its objects in by server-side apply.
    pub fn is_server_side(&self) -> bool {
        self.text("/apply_method") == "ssa"
    }

    /// Names of its hooks for an event, such as `pre-rollback`.
    pub fn hooks(&self, event: &str) -> Vec<&str> {
        let hooks = self.body.get("hooks").and_then(Value::as_array);
        let has = |hook: &&Value| {
            let events = hook.get("events").and_then(Value::as_array);
            events.is_some_and(|events| events.iter().any(|one| one == event))
        };
        let hooks = hooks.into_iter().flatten().filter(has);
        hooks
            .map(|hook| hook.get("name").and_then(Value::as_str).unwrap_or("?"))
            .collect()
    }

    /// The record that a rollback from `current`, the last one, to `target` begins with: the target's content under a
    /// new number, as `helm rollback` writes it.
    pub fn rollback(current: &Self, target: &Self, now: &str) -> Self {
        let mut body = Map::new();
        for field in ["name", "chart", "config", "manifest", "hooks"] {
            copy(&target.body, field, &mut body);
        }
        copy(&current.body, "namespace", &mut body);
        let mut info = Map::new();
        if let Some(before) = current.body.get("info") {
            copy(before, "first_deployed", &mut info);
        }
        if let Some(before) = target.body.get("info") {
            copy(before, "notes", &mut info);
        }
        let to = target.version;
        info.insert("last_deployed".into(), now.into());
        info.insert("status".into(), "pending-rollback".into());
        info.insert("description".into(), format!("Rollback to {to}").into());
        info.insert("rollback_revision".into(), to.into());
        let version = current.version.saturating_add(1);
        let method = if target.is_server_side() {
            "ssa"
        } else {
            "csa"
        };
        body.insert("info".into(), info.into());
        body.insert("version".into(), version.into());
        body.insert("apply_method".into(), method.into());
        Self {
            version,
            labels: target.labels.clone(),
            body: body.into(),
        }
    }

    /// The same record with another status and, if there is one, another description.
    #[must_use]
    pub fn with_status(mut self, status: &str, description: Option<&str>) -> Self {
        if let Some(info) = self.body.get_mut("info").and_then(Value::as_object_mut) {
            info.insert("status".into(), status.into());
            if let Some(description) = description {
                info.insert("description".into(), description.into());
            }
        }
        self
    }

    /// The revision that it went back to, if it was a rollback.
    pub fn rollback_revision(&self) -> Option<u64> {
        self.body.pointer("/info/rollback_revision")?.as_u64()
    }

    /// The data `release` of its Secret, before the API's own base64.
    ///
    /// # Errors
    /// When it cannot be packed.
    pub fn pack(&self) -> Result<String, RecordError> {
        let json = serde_json::to_vec(&self.body).map_err(RecordError::Json)?;
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        gzip.write_all(&json).map_err(RecordError::Gzip)?;
        Ok(STANDARD.encode(gzip.finish().map_err(RecordError::Gzip)?))
    }

    /// A new Secret for it.
    ///
    /// # Errors
    /// When it cannot be packed.
    pub fn secret(&self, rollback_id: &str, seconds: i64) -> Result<Value, RecordError> {
        let mut labels = self.secret_labels();
        labels.insert("createdAt".into(), seconds.to_string().into());
        Ok(json!({
            "apiVersion": "v1", "kind": "Secret", "type": RECORD_TYPE,
            "metadata": {"name": self.key(), "labels": labels, "annotations": {CLAIM_ANNOTATION: rollback_id}},
            "data": {"release": STANDARD.encode(self.pack()?)},
        }))
    }

    /// A merge patch of its Secret. As with Helm, the label of its creation goes.
    ///
    /// # Errors
    /// When it cannot be packed.
    pub fn update(&self, seconds: i64) -> Result<Value, RecordError> {
        let mut labels = self.secret_labels();
        labels.insert("modifiedAt".into(), seconds.to_string().into());
        labels.insert("createdAt".into(), Value::Null);
        Ok(json!({
            "metadata": {"labels": labels},
            "data": {"release": STANDARD.encode(self.pack()?)},
        }))
    }

    fn secret_labels(&self) -> Map<String, Value> {
        let own = [
            ("name", self.name().to_owned()),
            ("owner", "helm".to_owned()),
            ("status", self.status_word().to_owned()),
            ("version", self.version.to_string()),
        ];
        let custom = self.labels.iter();
        custom
            .map(|(key, value)| (key.clone(), value.clone().into()))
            .chain(own.map(|(key, value)| (key.to_owned(), value.into())))
            .collect()
    }
}

/// Helm writes no empty fields, and neither does this.
fn copy(from: &Value, field: &str, to: &mut Map<String, Value>) {
    if let Some(value) = from.get(field).filter(|value| !value.is_null()) {
        to.insert(field.to_owned(), value.clone());
    }
}

fn unpack(packed: Vec<u8>) -> Result<Vec<u8>, RecordError> {
    if !packed.starts_with(&GZIP) {
        return Ok(packed);
    }
    let mut json = Vec::new();
    let mut gzip = GzDecoder::new(packed.as_slice()).take(MAX_RECORD + 1);
    gzip.read_to_end(&mut json).map_err(RecordError::Gzip)?;
    if json.len() as u64 > MAX_RECORD {
        return Err(RecordError::TooLarge);
    }
    Ok(json)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn record(version: u64, status: &str, manifest: &str) -> Record {
        Record {
            version,
            labels: BTreeMap::from([("team".to_owned(), format!("team-{version}"))]),
            body: json!({
                "name": "web", "namespace": "shop", "version": version, "manifest": manifest,
                "apply_method": "ssa", "config": {"replicas": version}, "chart": {"metadata": {"name": "web"}},
                "hooks": [{"name": "check", "events": ["pre-rollback", "test"]}],
                "info": {
                    "status": status, "first_deployed": "2026-01-01T00:00:00Z",
                    "last_deployed": format!("2026-01-0{version}T00:00:00Z"), "notes": format!("notes {version}"),
                    "description": "Upgrade complete",
                },
            }),
        }
    }

    #[test]
    fn a_record_comes_back_from_its_secret() {
        let before = record(3, "deployed", "a: 1\n");
        let secret = before.secret("task-1", 1_700_000_000).unwrap();
        let labels: BTreeMap<String, String> =
            serde_json::from_value(secret["metadata"]["labels"].clone()).unwrap();
        assert_eq!(secret["metadata"]["name"], "sh.helm.release.v1.web.v3");
        assert_eq!(
            json!(labels),
            json!({"name": "web", "owner": "helm", "status": "deployed", "version": "3", "createdAt": "1700000000", "team": "team-3"})
        );
        let data = STANDARD.decode(secret["data"]["release"].as_str().unwrap());
        assert_eq!(Record::read(&labels, &data.unwrap()).unwrap(), before);
    }

    #[test]
    fn a_rollback_takes_the_content_of_the_target_and_the_age_of_the_release() {
        let rolled = Record::rollback(
            &record(3, "failed", "bad"),
            &record(1, "superseded", "good"),
            "2026-02-01T00:00:00Z",
        );
        assert_eq!((rolled.version, rolled.manifest()), (4, "good"));
        assert_eq!(
            rolled.body["info"],
            json!({
                "first_deployed": "2026-01-01T00:00:00Z", "last_deployed": "2026-02-01T00:00:00Z",
                "status": "pending-rollback", "notes": "notes 1", "description": "Rollback to 1",
                "rollback_revision": 1,
            })
        );
        assert_eq!(rolled.labels["team"], "team-1");
        assert_eq!(
            rolled.with_status("deployed", None).status(),
            Status::Deployed
        );
    }

    #[test]
    fn refuses_what_helm_did_not_write() {
        let none = BTreeMap::new();
        for bad in ["%", "H4sIAAA=", "e30=", "bm90IGpzb24="] {
            assert!(Record::read(&none, bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn finds_hooks_by_their_event() {
        let one = record(1, "deployed", "");
        assert_eq!(one.hooks("pre-rollback"), ["check"]);
        assert!(one.hooks("post-rollback").is_empty());
    }
}
