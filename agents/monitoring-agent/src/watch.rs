//! The loop: takes in changes, judges the workloads they touch, opens and ends incidents. Nothing is polled; a
//! workload is looked at when it changes and when its own time runs out.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use cluster::Cluster;
use futures::StreamExt;
use http::HeaderMap;
use shared::{Context, SkillError, telemetry::traces};
use time::OffsetDateTime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::{
    clients::{Change, Inventory, feed},
    domain::{At, Finding, Incident, Key, Status, Thresholds, Verdict, World, world::Evaluation},
    ledger::{Ledger, Query},
    metrics::Metrics,
    response::Response,
};

/// Changes taken in before the workloads that they touch are judged.
const BATCH: usize = 1_024;
/// Longest sleep.
const LONGEST_SLEEP: Duration = Duration::from_hours(1);
/// Most open incidents that are taken up after a restart.
const MOST_OPEN: usize = 10_000;

/// The current time.
pub fn now() -> At {
    let millis = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    At::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
}

/// What the loop needs.
#[derive(Debug, Clone)]
pub struct Watch {
    /// The cluster.
    pub cluster: Cluster,
    /// Namespaces to watch: this agent's targets.
    pub namespaces: Vec<String>,
    /// Where incidents are kept.
    pub ledger: Ledger,
    /// Fresh reads.
    pub inventory: Arc<dyn Inventory>,
    /// The numbers in use.
    pub thresholds: Thresholds,
    /// What is counted.
    pub metrics: Metrics,
}

/// Runs until shutdown.
///
/// # Errors
/// When the store does not answer; the runtime starts the loop again.
pub async fn run(
    watch: Watch,
    context: Context,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut changes = feed(&watch.cluster, &watch.namespaces).ready_chunks(BATCH);
    let mut state = State::load(watch, context).await?;
    loop {
        let sleep = state.sleep(now());
        tokio::select! {
            Some(batch) = changes.next() => {
                for change in batch {
                    match change {
                        Ok(change) => state.take_in(change, now()),
                        Err(problem) => tracing::debug!(%problem, "a watch broke and is resumed"),
                    }
                }
            }
            () = tokio::time::sleep(sleep) => {}
            Some(ended) = state.responses.join_next() => state.responded(ended??),
            () = shutdown.cancelled() => return Ok(()),
        }
        state.judge(now()).await?;
    }
}

/// What the loop knows.
struct State {
    watch: Watch,
    context: Context,
    world: World,
    /// Open incidents by fingerprint.
    open: HashMap<String, Incident>,
    /// Workloads whose rollback is under way.
    acting: HashSet<Key>,
    responses: JoinSet<Result<Incident, SkillError>>,
    /// Since when workloads with open incidents are healthy.
    healthy_since: HashMap<Key, At>,
    /// Workloads to judge now.
    touched: BTreeSet<Key>,
    /// Workloads to judge at a time.
    due: BTreeMap<Key, At>,
    /// First lists that are still missing: nothing is judged by half a picture.
    missing: HashSet<(String, &'static str)>,
    /// Revisions that the ledger knows as healthy.
    known_healthy: HashSet<String>,
}

impl State {
    async fn load(watch: Watch, context: Context) -> Result<Self, SkillError> {
        let query = Query {
            open: Some(true),
            namespace: None,
            limit: MOST_OPEN,
        };
        let open = watch.ledger.list(&query).await?;
        let healthy = watch.ledger.healthy().await?;
        let kinds = ["deployments", "sets", "pods"];
        let lists = |n: &String| kinds.map(|kind| (n.clone(), kind));
        let mut state = Self {
            missing: watch.namespaces.iter().flat_map(lists).collect(),
            watch,
            context,
            world: World::default(),
            open: HashMap::new(),
            acting: HashSet::new(),
            responses: JoinSet::new(),
            healthy_since: HashMap::new(),
            touched: open.iter().map(Incident::key).collect(),
            due: BTreeMap::new(),
            known_healthy: healthy.iter().map(|(uid, _)| uid.clone()).collect(),
        };
        for (uid, at) in healthy {
            state.world.remember_healthy(uid, at);
        }
        for incident in open {
            if matches!(
                incident.status,
                Status::RollingBack | Status::AwaitingApproval
            ) {
                tracing::info!(
                    incident = incident.id,
                    "taking up an incident after a restart"
                );
                state.respond(incident.clone());
            }
            state.open.insert(incident.fingerprint.clone(), incident);
        }
        Ok(state)
    }

    /// How long nothing happens by itself.
    fn sleep(&self, now: At) -> Duration {
        let next = self.due.values().min().map(|at| at.since(now).max(0));
        next.and_then(|millis| u64::try_from(millis).ok())
            .map_or(LONGEST_SLEEP, Duration::from_millis)
            .min(LONGEST_SLEEP)
    }

    fn take_in(&mut self, change: Change, now: At) {
        let world = &mut self.world;
        let mut touch = |key: Option<Key>| self.touched.extend(key);
        match change {
            Change::Deployments(namespace, all) => {
                self.missing.remove(&(namespace.clone(), "deployments"));
                let [gone, ..] = world.uids(&namespace);
                let here: HashSet<&String> = all.iter().map(|d| &d.uid).collect();
                let gone = gone.iter().filter(|uid| !here.contains(uid));
                gone.for_each(|uid| touch(world.remove_deployment(uid)));
                for d in all {
                    touch(Some(world.apply_deployment(d)));
                }
            }
            Change::Sets(namespace, all) => {
                self.missing.remove(&(namespace.clone(), "sets"));
                let [_, gone, _] = world.uids(&namespace);
                let here: HashSet<&String> = all.iter().map(|set| &set.uid).collect();
                let gone = gone.iter().filter(|uid| !here.contains(uid));
                gone.for_each(|uid| touch(world.remove_set(uid)));
                for set in all {
                    touch(world.apply_set(set));
                }
            }
            Change::Pods(namespace, all) => {
                self.missing.remove(&(namespace.clone(), "pods"));
                let [.., gone] = world.uids(&namespace);
                let here: HashSet<&String> = all.iter().map(|pod| &pod.uid).collect();
                let gone = gone.iter().filter(|uid| !here.contains(uid));
                gone.for_each(|uid| touch(world.remove_pod(uid)));
                for pod in all {
                    touch(world.apply_pod(pod, now));
                }
            }
            Change::Deployment(deployment) => touch(Some(world.apply_deployment(deployment))),
            Change::DeploymentGone(uid) => touch(world.remove_deployment(&uid)),
            Change::Set(set) => touch(world.apply_set(set)),
            Change::SetGone(uid) => touch(world.remove_set(&uid)),
            Change::Pod(pod) => touch(world.apply_pod(pod, now)),
            Change::PodGone(uid) => touch(world.remove_pod(&uid)),
            Change::ProbesFailed(pods) => {
                for uid in &pods {
                    touch(world.apply_probe_failure(uid, now));
                }
            }
            Change::Nodes(nodes) => {
                nodes
                    .iter()
                    .flat_map(|node| world.apply_node(node))
                    .for_each(|k| touch(Some(k)));
            }
            Change::NodeGone(name) => world.remove_node(&name),
        }
    }

    /// Judges what was touched and what is due.
    async fn judge(&mut self, now: At) -> Result<(), SkillError> {
        if !self.missing.is_empty() {
            return Ok(());
        }
        let due = self
            .due
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(key, _)| key.clone());
        let mut touched = std::mem::take(&mut self.touched);
        touched.extend(due);
        for key in touched {
            self.due.remove(&key);
            let evaluation = self.world.evaluate(&key, now, &self.watch.thresholds);
            match evaluation {
                Some(evaluation) => self.act(&key, evaluation, now).await?,
                None => self.end_all(&key, "the workload is gone", now).await?,
            }
        }
        Ok(())
    }

    async fn act(&mut self, key: &Key, found: Evaluation, now: At) -> Result<(), SkillError> {
        let Evaluation { decision, health } = found;
        self.learn(key).await?;
        let mut wake = decision.wake_at;
        if self.acting.contains(key) {
            // The rollback under way explains what is seen; its end is looked at.
        } else if let Some(finding) = decision.finding {
            self.healthy_since.remove(key);
            self.report(finding, now).await?;
        } else if health.verdict == Verdict::Healthy && self.has_open(key) {
            let since = *self.healthy_since.entry(key.clone()).or_insert(now);
            let settled = since.plus(self.watch.thresholds.recover_after_ms);
            if now >= settled || self.is_mitigated(key) {
                self.end_all(key, "the workload is healthy", now).await?;
            } else {
                wake = Some(wake.map_or(settled, |at| at.min(settled)));
            }
        } else {
            self.healthy_since.remove(key);
        }
        self.due.extend(wake.map(|at| (key.clone(), at)));
        Ok(())
    }

    /// Keeps for a restart that the current revision was healthy.
    async fn learn(&mut self, key: &Key) -> Result<(), SkillError> {
        let Some((uid, at)) = self.world.healthy_revision(key) else {
            return Ok(());
        };
        if !self.known_healthy.contains(uid) {
            self.watch.ledger.learn_healthy(uid, at).await?;
            self.known_healthy.insert(uid.to_owned());
        }
        Ok(())
    }

    fn has_open(&self, key: &Key) -> bool {
        self.open.values().any(|incident| incident.key() == *key)
    }

    fn is_mitigated(&self, key: &Key) -> bool {
        let own = |incident: &&Incident| incident.key() == *key;
        self.open.values().filter(own).all(|incident| {
            matches!(
                incident.status,
                Status::Mitigated | Status::AwaitingApproval
            )
        })
    }

    /// Opens an incident, or adds to the one that is open.
    async fn report(&mut self, finding: Finding, now: At) -> Result<(), SkillError> {
        if let Some(incident) = self.open.get_mut(&finding.fingerprint) {
            if incident.merge(&finding, now) {
                self.watch.ledger.keep(incident).await?;
            }
            return Ok(());
        }
        let Some(incident) = self.watch.ledger.open(finding, now).await? else {
            return Ok(());
        };
        tracing::warn!(
            incident = incident.id,
            severity = incident.severity.as_str(),
            namespace = incident.namespace,
            deployment = incident.deployment,
            attribution = ?incident.attribution,
            detection_ms = incident.detected_at.since(incident.began_at),
            "incident opened"
        );
        self.watch.metrics.opened(&incident);
        if incident.status == Status::RollingBack {
            self.respond(incident.clone());
        }
        self.open.insert(incident.fingerprint.clone(), incident);
        Ok(())
    }

    /// Starts the response to an incident, in a trace of its own or in that of the release.
    fn respond(&mut self, mut incident: Incident) {
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

    /// Takes in how a response ended.
    fn responded(&mut self, incident: Incident) {
        let key = incident.key();
        tracing::info!(incident = incident.id, status = ?incident.status, "response ended");
        self.acting.remove(&key);
        self.touched.insert(key);
        if incident.is_open() {
            self.open.insert(incident.fingerprint.clone(), incident);
        } else {
            self.watch.metrics.resolved(&incident);
            self.open.remove(&incident.fingerprint);
        }
    }

    /// Ends all incidents of a workload.
    async fn end_all(&mut self, key: &Key, why: &str, now: At) -> Result<(), SkillError> {
        if self.acting.contains(key) {
            return Ok(());
        }
        self.healthy_since.remove(key);
        let own = self.open.values().filter(|incident| incident.key() == *key);
        let fingerprints: Vec<String> = own.map(|i| i.fingerprint.clone()).collect();
        for fingerprint in fingerprints {
            let Some(mut incident) = self.open.remove(&fingerprint) else {
                continue;
            };
            incident.resolve(why, now);
            self.watch.ledger.keep(&incident).await?;
            self.watch.metrics.resolved(&incident);
        }
        Ok(())
    }
}

/// Header of the W3C trace context.
const TRACEPARENT: http::HeaderName = http::HeaderName::from_static("traceparent");
