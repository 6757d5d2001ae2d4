//! The semantics verdict: does a manifest that has the right shape also make sense?
//!
//! The standard's text and its access-tier tables are the source (OSSA v0.3.3 `access_tiers.yaml`,
//! `delegation.yaml`; v0.2.9 `compliance-profiles.md`, security model). Codes `OSSA-NNN` are those of
//! the standard's error catalogue; findings it has no code for carry a word.

mod access;
mod actions;
mod data;
mod peers;

use serde_json::Value;

pub use peers::Peers;

use ossa::{child, secret};

use crate::{DecodeManifestError, Document, Finding, Manifest, Verdict, schema};

/// Whether keys that neither the standard nor the overlay knows are errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// They are accepted, as the standard's open mappings do.
    Lenient,
    /// They are errors.
    Strict,
}

/// Judges a document's meaning; `peers` adds the mesh around it.
///
/// Documents that describe no agent are searched for secrets and unknown keys only.
pub fn check(document: &Document, peers: Option<Peers<'_>>, mode: Mode) -> Verdict {
    let mut findings = Vec::new();
    secrets(document.root(), "", "", &mut findings);
    if mode == Mode::Strict {
        findings.extend(schema::unknown_keys(document));
    }
    match Manifest::decode(document, "") {
        Ok(manifest) => {
            access::check(&manifest, document, &mut findings);
            actions::check(&manifest, &mut findings);
            data::check(&manifest, document, &mut findings);
            peers::check(&manifest, document, peers, &mut findings);
        }
        Err(DecodeManifestError::NotAnAgent { .. }) => {}
        Err(DecodeManifestError::Field { field, message, .. }) => {
            let pointer = format!(
                "/{}",
                field.replace('[', ".").replace(']', "").replace('.', "/")
            );
            let got = document
                .root()
                .pointer(&pointer)
                .map_or_else(|| "nothing".into(), secret::describe);
            findings.push(Finding::error("OSSA-002", pointer, message).got(got));
        }
    }
    Verdict::new(document, findings)
}

/// OSSA's security model: secrets must never be in a manifest, only references to them.
fn secrets(value: &Value, key: &str, pointer: &str, findings: &mut Vec<Finding>) {
    match value {
        Value::String(text) => {
            if let Some(kind) = secret::kind(text).or_else(|| secret::kind_under(key, text)) {
                let expected =
                    "a reference such as ${vault:..}, ${k8s:secrets/name:key} or ${env:NAME}";
                findings.push(Finding::error("secret-in-manifest", pointer, expected).got(kind));
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                secrets(item, key, &format!("{pointer}/{index}"), findings);
            }
        }
        Value::Object(members) => {
            for (key, value) in members {
                secrets(value, key, &child(pointer, key), findings);
            }
        }
        _ => {}
    }
}
