//! What a record says.

use aws_lc_rs::digest::{SHA256, digest};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, macros::format_description};

/// Value of [`Record::schema`].
pub const SCHEMA: &str = "ossa.audit/v1";
/// [`Record::prev`] of an agent's first record.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// Resources that a record names; of more, the last place says how many there are and their digest.
pub const MAX_RESOURCES: usize = 64;
/// Bytes of one text of a record. With [`MAX_RESOURCES`] an envelope stays below the 65,535 bytes of a C2SP
/// `tlog-tiles` entry: (64 + 8) texts of 512 bytes, times 4/3 for base64.
pub const MAX_TEXT: usize = 512;

/// Before or after the effect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// A mutating call is about to take effect.
    Intent,
    /// What became of a call; the only record of a read.
    #[default]
    Outcome,
}

/// What happened, as the agent's runtime reports it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// Joins intent and outcome of one call.
    pub call_id: String,
    /// Before or after the effect.
    pub phase: Phase,
    /// Verified identity of who asked (SPIFFE id).
    pub caller: String,
    /// The external caller at the head of the chain, as claimed by `caller`.
    pub on_behalf_of: Option<String>,
    /// Skill or tool call, for example `apply_migration` or `kubernetes.patch`.
    pub action: String,
    /// What was touched, for example `deployments/shop/web`.
    pub resources: Vec<String>,
    /// The decision or outcome in one word, for example `allowed`, `denied`, `ok`, `failed`.
    pub decision: String,
    /// SHA-256 (hex) of the input.
    pub input_sha256: Option<String>,
    /// SHA-256 (hex) of the output.
    pub output_sha256: Option<String>,
    /// SHA-256 (hex) of the policy that decided.
    pub policy_sha256: Option<String>,
    /// W3C trace id (32 hex digits).
    pub trace_id: Option<String>,
    /// W3C span id (16 hex digits).
    pub span_id: Option<String>,
    /// A2A task that the call belongs to.
    pub task_id: Option<String>,
}

/// One audit record.
///
/// ```json
/// {"action":"plan_rollback","agent":"spiffe://mesh.local/ns/deployment-system/sa/rollback-coordinator",
///  "call_id":"0199…","caller":"spiffe://mesh.local/ns/observability-system/sa/monitoring-agent","counter":7,
///  "decision":"ok","did":"did:ossa:66687aadf862bd776c8fc18b8e9f8e2008971485","id":"0199…","input_sha256":"9f86…",
///  "phase":"outcome","prev":"2c26…","resources":["deployments/shop/web"],"schema":"ossa.audit/v1",
///  "time":"2026-11-22T10:00:00.000Z"}
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// `ossa.audit/v1`.
    pub schema: String,
    /// UUID (version 7) of the record.
    pub id: String,
    /// When it was made: RFC 3339, UTC, milliseconds.
    pub time: String,
    /// Decentralised identifier of the agent.
    pub did: String,
    /// SPIFFE id of the agent.
    pub agent: String,
    /// Number of this record among the agent's own, from 1 without a gap.
    pub counter: u64,
    /// SHA-256 (hex) of the bytes of the agent's record before this one; zeros for the first.
    pub prev: String,
    /// Joins intent and outcome of one call.
    pub call_id: String,
    /// Before or after the effect.
    pub phase: Phase,
    /// Verified identity of who asked (SPIFFE id).
    pub caller: String,
    /// The external caller at the head of the chain, as claimed by `caller`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_behalf_of: Option<String>,
    /// Skill or tool call.
    pub action: String,
    /// What was touched.
    pub resources: Vec<String>,
    /// The decision or outcome in one word.
    pub decision: String,
    /// SHA-256 (hex) of the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_sha256: Option<String>,
    /// SHA-256 (hex) of the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_sha256: Option<String>,
    /// SHA-256 (hex) of the policy that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy_sha256: Option<String>,
    /// W3C trace id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// W3C span id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub span_id: Option<String>,
    /// A2A task that the call belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
}

impl Record {
    /// The RFC 8785 bytes: what is signed and hashed.
    #[expect(
        clippy::missing_panics_doc,
        reason = "a record has string keys and whole numbers only"
    )]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json_canonicalizer::to_vec(self).expect("a record has a canonical form")
    }

    /// Name of the agent: the last segment of its SPIFFE id.
    pub fn agent_name(&self) -> &str {
        self.agent.rsplit('/').next().unwrap_or(&self.agent)
    }
}

/// SHA-256 in hex, as in [`Record::prev`].
pub fn hash(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes))
}

/// A time as records write it, for example `2026-11-22T10:00:00.000Z`; such texts sort by time.
#[expect(clippy::missing_panics_doc, reason = "every time has this form")]
pub fn timestamp(at: OffsetDateTime) -> String {
    let format =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    at.to_offset(time::UtcOffset::UTC)
        .format(format)
        .expect("every time of the years 0 to 9999 has this form")
}

/// Cuts a text to [`MAX_TEXT`] bytes, marked by an ellipsis.
pub(crate) fn bounded(mut text: String) -> String {
    const MARK: &str = "…";
    if text.len() > MAX_TEXT {
        text.truncate(text.floor_char_boundary(MAX_TEXT - MARK.len()));
        text.push_str(MARK);
    }
    text
}

/// Keeps at most [`MAX_RESOURCES`] entries; the last then stands for the rest, so that nothing goes unsaid.
pub(crate) fn bounded_resources(resources: Vec<String>) -> Vec<String> {
    let (count, digest) = (resources.len(), hash(resources.join("\n").as_bytes()));
    let cut = count > MAX_RESOURCES;
    let kept = if cut { MAX_RESOURCES - 1 } else { count };
    let rest = cut.then(|| format!("{} more, sha256 of all lines {digest}", count - kept));
    resources
        .into_iter()
        .take(kept)
        .map(bounded)
        .chain(rest)
        .collect()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn times_have_one_form_that_sorts() {
        assert_eq!(
            timestamp(datetime!(2026-01-02 03:04:05.678_9 +1)),
            "2026-01-02T02:04:05.678Z"
        );
        assert_eq!(
            timestamp(datetime!(2026-01-02 03:04:05 UTC)),
            "2026-01-02T03:04:05.000Z"
        );
    }

    #[test]
    fn hashes_as_fips_180_does() {
        // FIPS 180-4, example "abc".
        assert_eq!(
            hash(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn long_texts_are_cut_at_a_character() {
        assert_eq!(bounded("x".repeat(MAX_TEXT)).len(), MAX_TEXT);
        let cut = bounded("é".repeat(MAX_TEXT));
        assert!(cut.len() <= MAX_TEXT && cut.ends_with("é…"), "{cut}");
    }

    #[test]
    fn many_resources_end_in_their_number_and_digest() {
        let names = |count: usize| (0..count).map(|n| format!("pods/{n}")).collect::<Vec<_>>();
        assert_eq!(
            bounded_resources(names(MAX_RESOURCES)),
            names(MAX_RESOURCES)
        );
        let cut = bounded_resources(names(1000));
        assert_eq!(
            (cut.len(), &cut[62]),
            (MAX_RESOURCES, &String::from("pods/62"))
        );
        assert_eq!(
            cut[63],
            format!(
                "937 more, sha256 of all lines {}",
                hash(names(1000).join("\n").as_bytes())
            )
        );
    }
}
