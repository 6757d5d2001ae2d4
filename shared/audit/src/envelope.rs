//! DSSE envelopes (Dead Simple Signing Envelope 1.0) around records.

use base64::{Engine, prelude::BASE64_STANDARD};
use identity::{Directory, PublicKey, SigningKey, SpiffeId, directory::KeyNotListed};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::record::{MAX_TEXT, Record, SCHEMA, hash};

/// Payload type of every envelope.
pub const PAYLOAD_TYPE: &str = "application/vnd.ossa.audit+json";
/// Bytes of a record that are read, so that an envelope fits a C2SP tlog-tiles entry.
pub const MAX_PAYLOAD: usize = 48 * 1024;

/// A signed record on the wire and on disk.
///
/// ```json
/// {"payload": "<base64 of the record>", "payloadType": "application/vnd.ossa.audit+json",
///  "signatures": [{"keyid": "<SHA-256 of the public key in hex>", "sig": "<base64>"}]}
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Envelope {
    /// Base64 of the record's RFC 8785 bytes.
    #[schemars(length(max = 65536))]
    pub payload: String,
    /// `application/vnd.ossa.audit+json`.
    pub payload_type: String,
    /// Exactly one signature, by the agent that made the record.
    #[schemars(length(min = 1, max = 1))]
    pub signatures: Vec<Signature>,
}

/// One signature of an envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// SHA-256 (hex) of the Ed25519 public key.
    pub keyid: String,
    /// Base64 of the Ed25519 signature over [`pae`].
    pub sig: String,
}

/// A record whose signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What the record says.
    pub record: Record,
    /// SHA-256 (hex) of its bytes: what the next record's `prev` must be.
    pub hash: String,
}

/// Why an envelope is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The payload type is another one.
    #[error("payload type is not {PAYLOAD_TYPE}")]
    PayloadType,
    /// There is not exactly one signature, or it is no base64.
    #[error("envelope has not exactly one base64 signature")]
    Signatures,
    /// The payload is too long, or no base64, or no record.
    #[error("payload is not a base64 {SCHEMA} record of at most {MAX_PAYLOAD} bytes")]
    Payload,
    /// The payload is not in RFC 8785 form, so its hash would not be unique.
    #[error("payload is not canonical JSON (RFC 8785)")]
    NotCanonical,
    /// The signature is not that key's over this payload.
    #[error("signature does not match")]
    Signature,
    /// The directory does not list the key for the agent at that time.
    #[error(transparent)]
    Key(#[from] KeyNotListed),
    /// The record names another DID than the directory has for the agent.
    #[error("DID is not the agent's")]
    Did,
    /// The record's time or agent has another form.
    #[error("{0} of the record is malformed")]
    Field(&'static str),
}

/// The bytes that are signed: DSSE protocol, section "Signature Definition".
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!(
        "DSSEv1 {} {payload_type} {} ",
        payload_type.len(),
        payload.len()
    );
    [head.as_bytes(), payload].concat()
}

impl Envelope {
    /// Signs the bytes of a record.
    pub fn sign(key: &SigningKey, key_id: &str, payload: &[u8]) -> Self {
        let sig = BASE64_STANDARD.encode(key.sign(&pae(PAYLOAD_TYPE, payload)));
        Self {
            payload: BASE64_STANDARD.encode(payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: vec![Signature {
                keyid: key_id.to_owned(),
                sig,
            }],
        }
    }

    /// Reads the record **without** checking who signed it.
    ///
    /// # Errors
    /// [`VerifyError::PayloadType`], [`VerifyError::Payload`], [`VerifyError::NotCanonical`].
    pub fn read_unverified(&self) -> Result<Verified, VerifyError> {
        self.open().map(|(verified, _)| verified)
    }

    /// Checks form and signature with the key that `key` gives for the record and key id.
    ///
    /// # Errors
    /// Any [`VerifyError`], also those of `key`.
    pub fn verify(
        &self,
        key: impl FnOnce(&Record, &str) -> Result<PublicKey, VerifyError>,
    ) -> Result<Verified, VerifyError> {
        let (verified, payload) = self.open()?;
        let [Signature { keyid, sig }] = self.signatures.as_slice() else {
            return Err(VerifyError::Signatures);
        };
        let sig = BASE64_STANDARD
            .decode(sig)
            .map_err(|_| VerifyError::Signatures)?;
        let key = key(&verified.record, keyid)?;
        key.verify(&pae(PAYLOAD_TYPE, &payload), &sig)
            .map_err(|_| VerifyError::Signature)?;
        Ok(verified)
    }

    /// Checks form and signature with the key that the directory lists for the record's agent at the record's time.
    ///
    /// # Errors
    /// Any [`VerifyError`].
    pub fn verify_with(&self, directory: &Directory) -> Result<Verified, VerifyError> {
        self.verify(|record, key_id| {
            let agent: SpiffeId = record
                .agent
                .parse()
                .map_err(|_| VerifyError::Field("agent"))?;
            let time = OffsetDateTime::parse(&record.time, &Rfc3339)
                .map_err(|_| VerifyError::Field("time"))?;
            let entry = directory
                .by_spiffe_id(&agent)
                .ok_or(KeyNotListed::UnknownAgent)?;
            if entry.did.as_str() != record.did {
                return Err(VerifyError::Did);
            }
            Ok(*directory.signing_key(&agent, key_id, time)?)
        })
    }

    fn open(&self) -> Result<(Verified, Vec<u8>), VerifyError> {
        if self.payload_type != PAYLOAD_TYPE {
            return Err(VerifyError::PayloadType);
        }
        if self.payload.len() > MAX_PAYLOAD.div_ceil(3) * 4 {
            return Err(VerifyError::Payload);
        }
        let payload = BASE64_STANDARD
            .decode(&self.payload)
            .map_err(|_| VerifyError::Payload)?;
        let record: Record = serde_json::from_slice(&payload).map_err(|_| VerifyError::Payload)?;
        if record.schema != SCHEMA {
            return Err(VerifyError::Payload);
        }
        check_form(&record)?;
        if record.to_bytes() != payload {
            return Err(VerifyError::NotCanonical);
        }
        Ok((
            Verified {
                hash: hash(&payload),
                record,
            },
            payload,
        ))
    }
}

/// Checks what others index and compare by.
fn check_form(record: &Record) -> Result<(), VerifyError> {
    let time = record.time.as_bytes();
    let has_form = |(byte, form): (&u8, &u8)| {
        if *form == b'0' {
            byte.is_ascii_digit()
        } else {
            byte == form
        }
    };
    let form = b"0000-00-00T00:00:00.000Z";
    let texts = [
        ("id", &record.id),
        ("call_id", &record.call_id),
        ("caller", &record.caller),
        ("action", &record.action),
        ("decision", &record.decision),
    ];
    if time.len() != form.len() || !time.iter().zip(form).all(has_form) {
        return Err(VerifyError::Field("time"));
    }
    if record.prev.len() != 64
        || !record
            .prev
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    {
        return Err(VerifyError::Field("prev"));
    }
    if record.counter == 0 {
        return Err(VerifyError::Field("counter"));
    }
    let optional = [
        ("on_behalf_of", &record.on_behalf_of),
        ("task_id", &record.task_id),
        ("trace_id", &record.trace_id),
    ];
    let optional = optional
        .into_iter()
        .filter_map(|(name, text)| Some((name, text.as_ref()?)));
    let resources = record
        .resources
        .iter()
        .map(|resource| ("resources", resource));
    let bad =
        |(_, text): &(&str, &String)| text.len() > MAX_TEXT || text.chars().any(char::is_control);
    texts
        .into_iter()
        .chain(optional)
        .chain(resources)
        .find(bad)
        .map_or(Ok(()), |(name, _)| Err(VerifyError::Field(name)))
}

#[cfg(test)]
pub(crate) mod tests {
    use identity::{DirectoryEntry, ListedKey};
    use time::{Duration, macros::datetime};

    use super::*;
    use crate::record::{GENESIS, Phase};

    const NOW: OffsetDateTime = datetime!(2026-11-22 10:00 UTC);

    pub(crate) fn record(key: &SigningKey, counter: u64, prev: &str) -> Record {
        Record {
            schema: SCHEMA.into(),
            id: "0199".into(),
            time: "2026-11-22T10:00:00.000Z".into(),
            did: key.public().did().to_string(),
            agent: "spiffe://mesh.local/ns/data-system/sa/db-migrator".into(),
            counter,
            prev: prev.into(),
            call_id: "c".into(),
            phase: Phase::Outcome,
            caller: "spiffe://mesh.local/external/operator".into(),
            on_behalf_of: None,
            action: "migration_status".into(),
            resources: vec!["postgres/shop".into()],
            decision: "ok".into(),
            input_sha256: None,
            output_sha256: None,
            policy_sha256: None,
            trace_id: None,
            span_id: None,
            task_id: None,
        }
    }

    fn seal(key: &SigningKey, record: &Record) -> Envelope {
        Envelope::sign(key, &key.key_id(), &record.to_bytes())
    }

    fn directory(key: &SigningKey) -> Directory {
        let id = SpiffeId::workload("mesh.local", "data-system", "db-migrator").unwrap();
        let listed = ListedKey::new(key.public(), NOW - Duration::DAY, NOW + Duration::DAY);
        Directory::new(vec![DirectoryEntry::new("db-migrator", id, listed)]).unwrap()
    }

    #[test]
    fn authenticates_as_the_dsse_protocol_says() {
        // DSSE protocol 1.0.2, "Test Vectors".
        let encoded = pae("http://example.com/HelloWorld", b"hello world");
        assert_eq!(
            encoded,
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn a_signed_record_is_read_back() {
        let key = SigningKey::generate();
        let record = record(&key, 1, GENESIS);
        let envelope = seal(&key, &record);
        let verified = envelope.verify_with(&directory(&key)).unwrap();
        assert_eq!(
            verified,
            Verified {
                hash: hash(&record.to_bytes()),
                record
            }
        );
        let json = serde_json::to_value(&envelope).unwrap();
        assert_eq!(json["payloadType"], PAYLOAD_TYPE);
        assert_eq!(serde_json::from_value::<Envelope>(json).unwrap(), envelope);
    }

    fn refused(change: impl FnOnce(&mut Envelope, &SigningKey), expected: &VerifyError) {
        let key = SigningKey::generate();
        let mut envelope = seal(&key, &record(&key, 1, GENESIS));
        change(&mut envelope, &key);
        assert_eq!(
            envelope.verify_with(&directory(&key)).as_ref(),
            Err(expected)
        );
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table of cases")]
    fn refuses_whatever_was_touched() {
        let other = SigningKey::generate();
        let forged = |change: fn(&mut Record)| {
            move |envelope: &mut Envelope, key: &SigningKey| {
                let mut record = record(key, 1, GENESIS);
                change(&mut record);
                *envelope = seal(key, &record);
            }
        };
        refused(|e, _| e.payload_type.push('x'), &VerifyError::PayloadType);
        refused(|e, _| e.signatures.clear(), &VerifyError::Signatures);
        refused(
            |e, _| e.signatures.push(e.signatures[0].clone()),
            &VerifyError::Signatures,
        );
        refused(|e, _| e.payload.insert(0, '!'), &VerifyError::Payload);
        refused(|e, _| e.payload = "A".repeat(70_000), &VerifyError::Payload);
        refused(
            |e, k| e.payload = seal(k, &record(k, 2, GENESIS)).payload,
            &VerifyError::Signature,
        );
        refused(
            |e, k| {
                let theirs = seal(&other, &record(k, 1, GENESIS));
                e.signatures[0].sig.clone_from(&theirs.signatures[0].sig);
            },
            &VerifyError::Signature,
        );
        refused(
            |e, k| *e = seal(&other, &record(k, 1, GENESIS)),
            &VerifyError::Key(KeyNotListed::UnknownKey),
        );
        refused(forged(|r| r.did = "did:ossa:x".into()), &VerifyError::Did);
        refused(
            forged(|r| r.agent = "spiffe://mesh.local/ns/x/sa/y".into()),
            &VerifyError::Key(KeyNotListed::UnknownAgent),
        );
        refused(
            forged(|r| r.agent = "y".into()),
            &VerifyError::Field("agent"),
        );
        refused(
            forged(|r| r.time = "2026-11-24T10:00:00.000Z".into()),
            &VerifyError::Key(KeyNotListed::OutsideValidity),
        );
        refused(
            forged(|r| r.time = "2026-11-22T11:00:00+01:00".into()),
            &VerifyError::Field("time"),
        );
        refused(
            forged(|r| r.prev = "A".repeat(64)),
            &VerifyError::Field("prev"),
        );
        refused(forged(|r| r.counter = 0), &VerifyError::Field("counter"));
        refused(
            forged(|r| r.action = "a\0b".into()),
            &VerifyError::Field("action"),
        );
        refused(
            forged(|r| r.resources = vec!["x".repeat(513)]),
            &VerifyError::Field("resources"),
        );
        refused(
            forged(|r| r.schema = "ossa.audit/v2".into()),
            &VerifyError::Payload,
        );
    }

    #[test]
    fn refuses_a_second_spelling_of_the_same_record() {
        let key = SigningKey::generate();
        let loose = serde_json::to_vec_pretty(&record(&key, 1, GENESIS)).unwrap();
        let envelope = Envelope::sign(&key, &key.key_id(), &loose);
        assert_eq!(
            envelope.verify_with(&directory(&key)),
            Err(VerifyError::NotCanonical)
        );
    }
}
