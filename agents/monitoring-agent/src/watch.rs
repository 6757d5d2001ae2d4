//! The loop: takes in changes, judges the workloads they touch, opens and ends incidents. Nothing is polled; a
//! workload is looked at when it changes and when its own time runs out.

mod incidents;
mod intake;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use cluster::Cluster;
use futures::StreamExt;
use shared::{Context, SkillError};
use time::OffsetDateTime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    board::Board,
    clients::{Inventory, Place, feed},
    domain::{
        At, Incident, Key, Status, Thresholds, Verdict, WorkloadKind, World, world::Evaluation,
    },
    ledger::{Ledger, Query},
    metrics::Metrics,
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
    /// Where it meets those who measure requests.
    pub board: Board,
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
    let mut requests = watch.board.requests();
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
            Ok(()) = requests.changed() => {
                let judged = requests.borrow_and_update().clone();
                state.take_requests(judged);
            }
            () = tokio::time::sleep(sleep) => {}
            Some(ended) = state.responses.join_next() => state.responded(ended??).await?,
            () = shutdown.cancelled() => return Ok(()),
        }
        state.judge(now()).await?;
    }
}

/// A first list that is waited for.
#[derive(Debug, PartialEq, Eq, Hash)]
enum First {
    Workloads(Place),
    Revisions(Place),
    Pods(String),
}

impl First {
    fn of(namespace: &str) -> impl Iterator<Item = Self> {
        let place = |kind| Place {
            namespace: namespace.to_owned(),
            kind,
        };
        let workloads = WorkloadKind::ALL.map(|kind| Self::Workloads(place(kind)));
        let revisions = [WorkloadKind::Deployment, WorkloadKind::StatefulSet];
        let revisions = revisions.map(|kind| Self::Revisions(place(kind)));
        let pods = Self::Pods(namespace.to_owned());
        workloads.into_iter().chain(revisions).chain([pods])
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
    missing: HashSet<First>,
    /// Revisions that the ledger knows as healthy.
    known_healthy: HashSet<String>,
    /// Workloads whose requests are in trouble.
    burning: HashSet<Key>,
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
        let missing = watch.namespaces.iter().flat_map(|n| First::of(n));
        let members = open.iter().flat_map(|incident| &incident.members);
        let mut state = Self {
            missing: missing.collect(),
            touched: members.map(|member| member.key.clone()).collect(),
            watch,
            context,
            world: World::default(),
            open: HashMap::new(),
            acting: HashSet::new(),
            responses: JoinSet::new(),
            healthy_since: HashMap::new(),
            due: BTreeMap::new(),
            burning: HashSet::new(),
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
        let due: Vec<Key> = due.collect();
        self.touched.extend(due);
        // One judgement can call for another one: of those who share a cause that was just found.
        while let Some(key) = self.touched.pop_first() {
            self.due.remove(&key);
            let evaluation = self.world.evaluate(&key, now, &self.watch.thresholds);
            match evaluation {
                Some(evaluation) => self.act(&key, evaluation, now).await?,
                None => self.end_all(&key, "the workload is gone", now).await?,
            }
        }
        self.watch.board.publish(&self.world);
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
}
