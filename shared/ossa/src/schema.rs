//! The schema verdict: does a document have the shape that its version of the standard demands?
//!
//! `ossa/v0.3.x` is held to 0.3.6, `v0.4.x` to 0.4.5, `v0.5.x` to the newest schema (2026-03). The rules are this
//! project's own table (`schema/*.rules`, in the notation of `schema/notation.rs`); a test compares every verdict with
//! a JSON Schema validator's. Formats (`uri`, `date-time`, ...) are asserted.

mod code;
mod format;
mod notation;
mod rule;
mod unknown;

mod walk;

use std::{collections::HashMap, fmt, sync::LazyLock};

use serde_json::Value;

use crate::{Document, Finding, Verdict, secret};

/// A generation of the standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// `ossa/v0.3.x`, held to 0.3.6.
    V0_3,
    /// `ossa/v0.4.x`, held to 0.4.5.
    V0_4,
    /// `ossa/v0.5.x`, held to the newest schema.
    V0_5,
}

impl Version {
    /// The generation that a document's `apiVersion` names, when this crate knows it.
    pub fn of(document: &Document) -> Option<Self> {
        let text = document
            .root()
            .get("apiVersion")?
            .as_str()?
            .strip_prefix("ossa/v0.")?;
        let minor = text.bytes().take_while(u8::is_ascii_digit).count();
        match text.split_at_checked(minor)? {
            ("3", rest) if rest.is_empty() || rest.starts_with('.') => Some(Self::V0_3),
            ("4", rest) if rest.is_empty() || rest.starts_with('.') => Some(Self::V0_4),
            ("5", rest) if rest.is_empty() || rest.starts_with('.') => Some(Self::V0_5),
            _ => None,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V0_3 => "0.3.6",
            Self::V0_4 => "0.4.5",
            Self::V0_5 => "2026-03",
        })
    }
}

/// Holds a document to the version that it names. One that names no known version is an error, and is
/// held to the newest.
pub fn check(document: &Document) -> Verdict {
    if let Some(version) = Version::of(document) {
        return check_as(document, version);
    }
    let mut findings = findings(document, Version::V0_5);
    if let Some(named @ Value::String(_)) = document.root().get("apiVersion") {
        findings.retain(|finding| finding.pointer != "/apiVersion");
        let expected = "ossa/v0.3.x, ossa/v0.4.x or ossa/v0.5.x";
        findings
            .push(Finding::error("OSSA-003", "/apiVersion", expected).got(secret::describe(named)));
    }
    Verdict::new(document, findings)
}

/// Holds a document to one version, whatever version it names.
pub fn check_as(document: &Document, version: Version) -> Verdict {
    Verdict::new(document, findings(document, version))
}

fn findings(document: &Document, version: Version) -> Vec<Finding> {
    let mut walker = walk::Walker::new(&TABLE, version);
    let root = document.root();
    walker.named("Manifest", root, "");
    let rule = root.get("kind").and_then(Value::as_str).and_then(spec_rule);
    match (rule, root.get("spec")) {
        (Some(rule), Some(spec)) => walker.named(rule, spec, "/spec"),
        (Some(_), None) => {
            walker
                .findings
                .push(Finding::error("OSSA-005", "/spec", "the field spec").got("nothing"));
        }
        (None, _) => {}
    }
    walker.findings
}

fn spec_rule(kind: &str) -> Option<&'static str> {
    match kind {
        "Agent" => Some("AgentSpec"),
        "Task" => Some("TaskSpec"),
        "Workflow" => Some("WorkflowSpec"),
        "Flow" => Some("FlowSpec"),
        _ => None,
    }
}

static TABLE: LazyLock<rule::Table> =
    LazyLock::new(|| table().expect("a test reads the whole table"));

fn table() -> Result<rule::Table, String> {
    let mut table = HashMap::new();
    notation::read_table(&mut table, include_str!("schema/core.rules"))?;
    notation::read_table(&mut table, include_str!("schema/extensions.rules"))?;
    notation::read_table(&mut table, include_str!("schema/overlay.rules"))?;
    Ok(table)
}

/// The keys that neither the standard nor what is known beside it names, each as an error.
pub fn unknown_keys(document: &Document) -> Vec<Finding> {
    unknown::keys(
        document.root(),
        Version::of(document).unwrap_or(Version::V0_5),
    )
}

/// A file that is no JSON Schema.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a usable JSON Schema: {reason}")]
pub struct UnusableSchemaError {
    /// Why.
    pub reason: String,
}

/// Holds a document to a JSON Schema that the user names, with a JSON Schema validator.
///
/// # Errors
/// The file is no JSON Schema.
pub fn validate_against(
    schema: &Value,
    document: &Document,
) -> Result<Verdict, UnusableSchemaError> {
    let validator = jsonschema::options()
        .should_validate_formats(true)
        .build(schema)
        .map_err(|error| UnusableSchemaError {
            reason: error.masked().to_string(),
        })?;
    let findings = validator.iter_errors(document.root()).map(|error| {
        let pointer = error.instance_path().to_string();
        let got = document
            .root()
            .pointer(&pointer)
            .map_or_else(|| "nothing".into(), secret::describe);
        Finding::error("json-schema", pointer, error.masked().to_string()).got(got)
    });
    Ok(Verdict::new(document, findings.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_well_formed() {
        let table = table().unwrap();
        assert!(table.len() > 120, "{} rules", table.len());
        for rules in table.values() {
            for (_, rule) in rules {
                rule.visit(&mut |rule| match rule {
                    rule::Rule::Named(name) => assert!(table.contains_key(name), "{name}"),
                    rule::Rule::Text {
                        pattern: Some(pattern),
                        ..
                    } => assert!(!pattern.is_match("\u{7f}")),
                    _ => {}
                });
            }
        }
    }

    fn codes(text: &str) -> Vec<String> {
        let verdict = check(&Document::parse(text).unwrap());
        verdict
            .findings
            .iter()
            .map(|f| format!("{} {} {}", f.position.unwrap().line, f.pointer, f.code))
            .collect()
    }

    #[test]
    fn findings_carry_place_and_code() {
        let text = "\
apiVersion: ossa/v0.3.6
kind: Agent
metadata:
  name: Bad Name
  version: '1'
  colour: red
  decentralized_identity: {did: 'did:ossa:security-scanner-v1'}
spec:
  role: ''
  access: {tier: tier_5, permissions: [read_code, read_code, fly]}
  compliance: {frameworks: SOC2}
  messaging: {commands: [{name: do_it, timeoutSeconds: 0}, 5]}
";
        assert_eq!(
            codes(text),
            [
                "4 /metadata/name OSSA-800",
                "5 /metadata/version OSSA-806",
                "6 /metadata/colour OSSA-013",
                "7 /metadata/decentralized_identity/did OSSA-100",
                "9 /spec/role OSSA-015",
                "10 /spec/access/tier OSSA-600",
                "10 /spec/access/permissions/1 OSSA-010",
                "10 /spec/access/permissions/2 OSSA-602",
                "11 /spec/compliance/frameworks OSSA-002",
                "12 /spec/messaging/commands/0/timeoutSeconds OSSA-014",
                "12 /spec/messaging/commands/1 OSSA-009",
            ]
        );
    }

    #[test]
    fn names_what_is_missing() {
        assert_eq!(
            codes("apiVersion: ossa/v0.4.0\nkind: Agent\nmetadata: {}\n"),
            ["1 /spec OSSA-005", "3 /metadata/name OSSA-001"]
        );
        assert_eq!(
            codes("kind: Banana"),
            [
                "1 /apiVersion OSSA-001",
                "1 /kind OSSA-004",
                "1 /metadata OSSA-001"
            ]
        );
        assert_eq!(codes("- 1"), ["1  OSSA-002"]);
    }

    #[test]
    fn picks_the_version_that_the_document_names() {
        let version =
            |text: &str| Version::of(&Document::parse(&format!("apiVersion: {text}")).unwrap());
        assert_eq!(version("ossa/v0.3"), Some(Version::V0_3));
        assert_eq!(version("ossa/v0.3.6"), Some(Version::V0_3));
        assert_eq!(version("ossa/v0.4.0-rc.1"), Some(Version::V0_4));
        assert_eq!(version("ossa/v0.5.1"), Some(Version::V0_5));
        for unknown in [
            "ossa/v0.30.1",
            "ossa/v0.2.9",
            "ossa/v1",
            "totally/wrong",
            "example.com/v1",
        ] {
            assert_eq!(version(unknown), None, "{unknown}");
            assert_eq!(
                codes(&format!(
                    "apiVersion: {unknown}\nkind: Agent\nmetadata: {{name: a}}\nspec: {{}}\n"
                )),
                ["1 /apiVersion OSSA-003"]
            );
        }
    }

    #[test]
    fn a_named_schema_file_is_used_as_it_is() {
        let schema =
            serde_json::json!({"required": ["spec"], "properties": {"kind": {"const": "Agent"}}});
        let document = Document::parse("kind: Banana\n").unwrap();
        let verdict = validate_against(&schema, &document).unwrap();
        assert_eq!(verdict.findings.len(), 2, "{verdict:?}");
        assert!(!verdict.is_valid());
        assert!(validate_against(&serde_json::json!({"type": 5}), &document).is_err());
    }
}
