//! Alerts as Alertmanager sends them (webhook body version 4).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::At;

/// Most alerts that one body may bring.
pub const MOST_ALERTS: usize = 1_000;
/// Most labels of an alert that are kept.
const MOST_LABELS: usize = 64;
/// Longest label that is kept, in characters.
const LONGEST: usize = 512;

/// Whether an alert holds.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum AlertState {
    /// It does.
    Firing,
    /// It did.
    Resolved,
}

/// An alert.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Alert {
    /// Same labels, same fingerprint.
    pub fingerprint: String,
    /// Label `alertname`.
    pub name: String,
    /// Whether it holds.
    pub state: AlertState,
    /// Label `severity`.
    pub severity: Option<String>,
    /// All labels.
    pub labels: BTreeMap<String, String>,
    /// Annotation `summary`, or `description`.
    pub summary: Option<String>,
    /// Since when it holds.
    pub starts_at: At,
    /// Until when it held.
    pub ends_at: Option<At>,
}

#[derive(Deserialize)]
struct Body {
    version: String,
    alerts: Vec<Raw>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    status: AlertState,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    starts_at: At,
    #[serde(default)]
    ends_at: Option<At>,
    fingerprint: String,
}

/// Reads a body; `None` when it is none of version 4.
pub fn read(body: &[u8]) -> Option<Vec<Alert>> {
    let Body { version, alerts } = serde_json::from_slice(body).ok()?;
    let plain =
        |text: &str| (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
    let fits = version == "4"
        && alerts.len() <= MOST_ALERTS
        && alerts.iter().all(|alert| plain(&alert.fingerprint));
    fits.then(|| alerts.into_iter().map(alert).collect())
}

fn alert(raw: Raw) -> Alert {
    let cut = |text: &String| text.chars().take(LONGEST).collect::<String>();
    let label = |name: &str| raw.labels.get(name).map(cut);
    let summary = raw
        .annotations
        .get("summary")
        .or_else(|| raw.annotations.get("description"));
    let resolved = raw.status == AlertState::Resolved;
    Alert {
        name: label("alertname").unwrap_or_default(),
        severity: label("severity"),
        summary: summary.map(cut),
        // While an alert fires, its end is a guess or the year 1.
        ends_at: raw.ends_at.filter(|_| resolved),
        state: raw.status,
        starts_at: raw.starts_at,
        labels: raw
            .labels
            .iter()
            .take(MOST_LABELS)
            .map(|(name, value)| (cut(name), cut(value)))
            .collect(),
        fingerprint: raw.fingerprint,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn reads_the_documented_body_and_nothing_else() {
        // Fields of https://prometheus.io/docs/alerting/latest/configuration/#webhook_config
        let body = json!({
            "version": "4", "groupKey": "{}:{alertname=\"High\"}", "truncatedAlerts": 0, "status": "firing",
            "receiver": "mesh", "groupLabels": {}, "commonLabels": {}, "commonAnnotations": {},
            "externalURL": "http://alertmanager:9093",
            "alerts": [
                {"status": "firing", "labels": {"alertname": "High", "severity": "page"},
                 "annotations": {"summary": "too high"}, "startsAt": "2026-11-22T17:31:18.926Z",
                 "endsAt": "0001-01-01T00:00:00Z", "generatorURL": "http://x", "fingerprint": "00ab"},
                {"status": "resolved", "labels": {"alertname": "Low"}, "startsAt": "2026-11-22T17:31:18Z",
                 "endsAt": "2026-11-22T18:00:00Z", "fingerprint": "00cd"}]
        });
        let alerts = read(body.to_string().as_bytes()).unwrap();
        assert_eq!(
            (alerts[0].name.as_str(), alerts[0].severity.as_deref()),
            ("High", Some("page"))
        );
        assert_eq!(
            (alerts[0].state, alerts[0].ends_at),
            (AlertState::Firing, None)
        );
        assert_eq!(alerts[0].summary.as_deref(), Some("too high"));
        assert!(alerts[1].ends_at.is_some());
        for (path, value) in [
            ("/version", json!("3")),
            ("/alerts/0/fingerprint", json!("../x")),
            ("/alerts/0/status", json!("?")),
        ] {
            let mut other = body.clone();
            *other.pointer_mut(path).unwrap() = value;
            assert_eq!(read(other.to_string().as_bytes()), None, "{path}");
        }
    }
}
