//! `POST /webhooks/alertmanager`, and where its alerts go.

use std::{fmt::Debug, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, header},
};
use shared::SkillError;
use store::{Entry, Scan, Store, StoreError, Write};

use super::{Answer, Webhooks, body_of, is_shallow, verify::fits};
use crate::domain::alert::{Alert, AlertState, read};

/// Alerts as they are kept.
const ALERTS: &str = "alerts";
/// Scheme of the header.
const BEARER: &[u8] = b"Bearer ";
const KIND: &str = "alert";

/// Takes alerts in. They are durable when it comes back.
#[async_trait::async_trait]
pub trait AlertSink: Debug + Send + Sync + 'static {
    /// Takes in alerts, in any order, some perhaps for the second time.
    ///
    /// # Errors
    /// When they could not be made durable.
    async fn take(&self, alerts: Vec<Alert>) -> Result<(), SkillError>;
}

/// Takes in one group of alerts.
pub(super) async fn take(State(hooks): State<Webhooks>, request: Request) -> Answer {
    let (outcome, answer) = judge(&hooks, request).await;
    hooks.counts.add(KIND, outcome);
    answer
}

async fn judge(hooks: &Webhooks, request: Request) -> (&'static str, Answer) {
    let (parts, body) = request.into_parts();
    if !is_known(&parts.headers, hooks) {
        return ("refused", Answer::Unknown);
    }
    let Ok(_turn) = hooks.turn().await else {
        return ("busy", Answer::Busy);
    };
    let body = match body_of(body).await {
        Ok(body) => body,
        Err(answer) => return ("unreadable", answer),
    };
    let Some(alerts) = Some(body)
        .filter(|body| is_shallow(body))
        .and_then(|body| read(&body))
    else {
        return ("unreadable", Answer::Unreadable);
    };
    match hooks.alerts.take(alerts).await {
        Ok(()) => ("kept", Answer::Kept),
        Err(error) => {
            tracing::warn!(%error, "cannot keep alerts");
            ("not_kept", Answer::Busy)
        }
    }
}

fn is_known(headers: &HeaderMap, hooks: &Webhooks) -> bool {
    let given = headers.get(header::AUTHORIZATION);
    let token = given.and_then(|value| value.as_bytes().strip_prefix(BEARER));
    token.is_some_and(|token| fits(token, &hooks.secrets.known().alertmanager_tokens))
}

/// Keeps alerts as they are, by fingerprint and beginning.
#[derive(Debug, Clone)]
pub struct AlertLog(pub Arc<dyn Store>);

fn unavailable(error: StoreError) -> SkillError {
    SkillError::unavailable("store", error)
}

fn scope(state: AlertState) -> &'static str {
    match state {
        AlertState::Firing => "firing",
        AlertState::Resolved => "resolved",
    }
}

impl AlertLog {
    /// Alerts, newest first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn list(
        &self,
        state: Option<AlertState>,
        limit: usize,
    ) -> Result<Vec<Alert>, SkillError> {
        let scan = Scan {
            collection: ALERTS,
            scope: state.map(|state| scope(state).to_owned()),
            descending: true,
            limit,
            ..Scan::default()
        };
        let entries = self.0.scan(scan).await.map_err(unavailable)?;
        Ok(entries
            .iter()
            .filter_map(|entry| serde_json::from_slice(&entry.body).ok())
            .collect())
    }
}

#[async_trait::async_trait]
impl AlertSink for AlertLog {
    async fn take(&self, alerts: Vec<Alert>) -> Result<(), SkillError> {
        let mut writes = Vec::new();
        for alert in alerts {
            let sort = format!("{:020}", alert.starts_at.millis().max(0));
            let key = format!("{}-{sort}", alert.fingerprint);
            let known = self.0.get(ALERTS, &key).await.map_err(unavailable)?;
            // That it fires comes late when its end is known already.
            if alert.state == AlertState::Firing
                && known.is_some_and(|entry| entry.scope == scope(AlertState::Resolved))
            {
                continue;
            }
            let body = serde_json::to_vec(&alert)
                .map_err(|error| SkillError::failed_with("cannot write an alert", error))?;
            let entry = Entry {
                key,
                scope: scope(alert.state).to_owned(),
                sort,
                version: 0,
                body,
            };
            writes.push(Write::Put {
                collection: ALERTS,
                entry,
            });
        }
        if writes.is_empty() {
            return Ok(());
        }
        self.0.submit(writes).await.map_err(unavailable)
    }
}
