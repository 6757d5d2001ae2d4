//! Opens, joins and ends incidents, and starts what they ask for.

use http::HeaderMap;
use shared::{SkillError, telemetry::traces};
use tracing::Instrument;

use super::{State, Watch};
use crate::{
    domain::{At, Finding, Incident, Key, Status, objects::HELM_RELEASE},
    response::Response,
};

impl State {
    pub(super) fn has_open(&self, key: &Key) -> bool {
        self.open.values().any(|incident| incident.concerns(key))
    }

    pub(super) fn is_mitigated(&self, key: &Key) -> bool {
        let own = |incident: &&Incident| incident.concerns(key);
        self.open.values().filter(own).all(|incident| {
            matches!(
                incident.status,
                Status::Mitigated | Status::AwaitingApproval
            )
        })
    }

    /// The open incident that a finding belongs to.
    fn home(&self, finding: &Finding) -> Option<String> {
        if self.open.contains_key(&finding.fingerprint) {
            return Some(finding.fingerprint.clone());
        }
        if finding.wants_rollback() {
            return None;
        }
        let mut others = self.open.values().filter(|incident| !incident.is_release());
        let own = others.clone().find(|i| i.concerns(&finding.key));
        let group = finding.group();
        let same = |i: &&Incident| group.is_some() && i.subject.as_deref() == group;
        let found = own.or_else(|| others.find(same));
        found.map(|incident| incident.fingerprint.clone())
    }

    /// Opens an incident, or adds to the one that is open.
    pub(super) async fn report(&mut self, mut finding: Finding, now: At) -> Result<(), SkillError> {
        if let Some(fingerprint) = self.home(&finding) {
            if let Some(incident) = self.open.get_mut(&fingerprint)
                && incident.merge(&finding, now)
            {
                self.watch.ledger.keep(incident).await?;
            }
            return Ok(());
        }
        let parent = self.parent(&finding);
        // From here on everything about it is one trace: what is told of it, and what is done.
        let detected = trace(&finding);
        finding.traceparent = traces::traceparent(&detected).or(finding.traceparent);
        let opened = self.open(finding, parent, now);
        opened.instrument(detected).await
    }

    async fn open(
        &mut self,
        finding: Finding,
        parent: Option<String>,
        now: At,
    ) -> Result<(), SkillError> {
        let (key, release) = (finding.key.clone(), finding.wants_rollback());
        let Some(mut incident) = self.watch.ledger.open(finding, now).await? else {
            return Ok(());
        };
        tracing::warn!(
            incident = incident.id,
            severity = incident.severity.as_str(),
            namespace = incident.namespace,
            workload = %incident.key(),
            attribution = ?incident.attribution,
            detection_ms = incident.detected_at.since(incident.began_at),
            "incident opened"
        );
        self.watch.metrics.opened(&incident);
        if let Some(parent) = parent {
            self.attach(&mut incident, &parent, now).await?;
        }
        if release {
            self.supersede(&key, &incident.id, now).await?;
        } else {
            // What others suffer from may be the same; they are looked at again with this in mind.
            self.touched.extend(self.world.suffering());
            self.touched.remove(&key);
        }
        if incident.status == Status::RollingBack {
            self.respond(incident.clone());
        }
        self.open.insert(incident.fingerprint.clone(), incident);
        Ok(())
    }

    /// The open incident of the same release, when it is one of another workload: the same Helm release, or the
    /// same trace.
    fn parent(&self, finding: &Finding) -> Option<String> {
        let helm =
            |origin: &std::collections::BTreeMap<String, String>| origin.get(HELM_RELEASE).cloned();
        let same = |incident: &&Incident| {
            let helm = helm(&finding.change.origin)
                .is_some_and(|name| helm(&incident.change.origin) == Some(name));
            let trace = finding
                .traceparent
                .as_deref()
                .zip(incident.change.origin.get("ossa.io/traceparent"))
                .is_some_and(|(own, theirs)| own == theirs);
            incident.is_release()
                && incident.part_of.is_none()
                && incident.namespace == finding.key.namespace
                && (helm || trace)
        };
        let found = self.open.values().find(same);
        found
            .filter(|_| finding.wants_rollback())
            .map(|incident| incident.fingerprint.clone())
    }

    /// Makes an incident part of another one, which gains its workload as a member.
    async fn attach(
        &mut self,
        incident: &mut Incident,
        parent: &str,
        now: At,
    ) -> Result<(), SkillError> {
        let key = incident.key();
        let Some(parent) = self.open.get_mut(parent) else {
            return Ok(());
        };
        incident.attach(&parent.id, now);
        if parent.join(&key, now) {
            self.watch.ledger.keep(parent).await?;
        }
        self.watch.ledger.keep(incident).await
    }

    /// An earlier incident of the workload had no cause yet: it belongs to this one.
    async fn supersede(&mut self, key: &Key, id: &str, now: At) -> Result<(), SkillError> {
        let earlier = |incident: &&mut Incident| {
            !incident.is_release() && incident.concerns(key) && incident.part_of.is_none()
        };
        for incident in self.open.values_mut().filter(earlier) {
            if incident.members.len() == 1 {
                incident.attach(id, now);
                self.watch.ledger.keep(incident).await?;
            }
        }
        Ok(())
    }

    /// Starts the response to an incident, in a trace of its own or in that of the release.
    pub(super) fn respond(&mut self, mut incident: Incident) {
        self.acting.insert(incident.key());
        let span = tracing::info_span!(
            parent: None,
            "incident",
            "otel.name" = format!("incident {}", incident.key()),
            incident = incident.id,
            trace_id = tracing::field::Empty,
        );
        let value = incident
            .traceparent
            .as_ref()
            .and_then(|text| text.parse().ok());
        if let Some(value) = value {
            traces::continue_trace(&span, &HeaderMap::from_iter([(TRACEPARENT, value)]));
        }
        if let Some((trace_id, _)) = traces::ids(&span) {
            span.record("trace_id", trace_id);
        }
        incident.traceparent = traces::traceparent(&span).or(incident.traceparent);
        let Watch {
            ledger,
            inventory,
            thresholds,
            ..
        } = self.watch.clone();
        let response = Response {
            ledger,
            inventory,
            thresholds,
        };
        let context = self.context.clone();
        let work = async move { response.roll_back(&context, incident).await };
        self.responses.spawn(work.instrument(span));
    }

    /// Takes in how a response ended; what was noted meanwhile is not forgotten.
    pub(super) async fn responded(&mut self, mut incident: Incident) -> Result<(), SkillError> {
        let key = incident.key();
        tracing::info!(incident = incident.id, status = ?incident.status, "response ended");
        self.acting.remove(&key);
        self.touched.insert(key);
        let meanwhile = self.open.get(&incident.fingerprint);
        if meanwhile.is_some_and(|known| incident.catch_up(known)) {
            let members = incident.members.iter().map(|member| member.key.clone());
            self.touched.extend(members);
            self.watch.ledger.keep(&incident).await?;
        }
        if incident.is_open() {
            self.open.insert(incident.fingerprint.clone(), incident);
        } else {
            self.watch.metrics.resolved(&incident);
            self.open.remove(&incident.fingerprint);
        }
        Ok(())
    }

    /// Lets go of a workload in all its incidents.
    pub(super) async fn end_all(
        &mut self,
        key: &Key,
        why: &str,
        now: At,
    ) -> Result<(), SkillError> {
        if self.acting.contains(key) {
            return Ok(());
        }
        self.healthy_since.remove(key);
        let own = self.open.values().filter(|incident| incident.concerns(key));
        let fingerprints: Vec<String> = own.map(|i| i.fingerprint.clone()).collect();
        for fingerprint in fingerprints {
            let Some(mut incident) = self.open.remove(&fingerprint) else {
                continue;
            };
            let over = incident.release(key, why, now);
            self.watch.ledger.keep(&incident).await?;
            if over {
                self.watch.metrics.resolved(&incident);
            } else {
                self.open.insert(fingerprint, incident);
            }
        }
        Ok(())
    }
}

/// The span of an incident's detection, in the trace of the release where that has one.
fn trace(finding: &Finding) -> tracing::Span {
    let span = tracing::info_span!(
        parent: None,
        "detect",
        "otel.name" = format!("detect {}", finding.key),
        trace_id = tracing::field::Empty,
    );
    let value = finding.traceparent.as_ref();
    if let Some(value) = value.and_then(|text| text.parse().ok()) {
        traces::continue_trace(&span, &HeaderMap::from_iter([(TRACEPARENT, value)]));
    }
    if let Some((trace_id, _)) = traces::ids(&span) {
        span.record("trace_id", trace_id);
    }
    span
}

/// Header of the W3C trace context.
const TRACEPARENT: http::HeaderName = http::HeaderName::from_static("traceparent");
