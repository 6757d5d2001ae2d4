//! Push notifications: every event of a task is posted to the webhooks that its owner configured, at least once and in
//! order, across restarts and replicas.
//!
//! A configuration is one row of the store. What is to be delivered stands in the task's own log, so a task without
//! configurations costs nothing, and no queue can overflow. Each row that may still have something to deliver has one
//! worker in every process; among replicas a lease in the row says who delivers.

mod address;
mod config;
mod crew;
mod post;
mod row;
mod screen;
mod seal;
#[cfg(test)]
mod tests;
mod worker;

use std::{sync::Arc, time::Duration};

use a2a::types::{ListPushConfigsResponse, PushConfig};
use identity::SigningKey;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use reqwest::dns::Resolve;
use store::{Scan, Store, StoreError, Write};
use tokio::{sync::watch, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    a2a::{
        fault::{Fault, Kind},
        methods::store_fault,
    },
    tasks::{Record, Tasks},
    telemetry::Chain,
};
pub(crate) use config::Checked;
use config::shown;
use crew::{Crew, Places};
use post::Poster;
use row::{PENDING, Row, Timing, key_of};
pub(crate) use screen::Policy;
use seal::Seal;
pub(crate) use seal::SealError;

/// Collection of the configurations; their scope is the task.
pub(crate) const CONFIGS: &str = "push_configs";

/// Configurations of one task: an owner needs one, rarely two.
const MAX_OF_TASK: usize = 10;
/// Configurations that may still have something to deliver, in all; each takes some 2 KiB of memory.
const MAX_PENDING: usize = 1_000;
/// How often rows are looked for that have no worker, because a write of theirs was late.
const SWEEP: Duration = Duration::from_mins(1);
/// The same where other replicas make rows.
const SWEEP_AMONG_REPLICAS: Duration = Duration::from_secs(5);
/// Pause after a sweep that failed.
const SWEEP_AGAIN: Duration = Duration::from_secs(1);
/// Rows read in one step.
const STEP: usize = 200;
/// Time for requests on their way at shutdown; what is not acknowledged then is delivered after the next start.
const FAREWELL: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// Deliveries by outcome.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcomes(Family<OutcomeLabel, Counter>);

impl Outcomes {
    /// Registers them; call once an agent.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let outcomes = Self::default();
        let help = "Push notifications by outcome of the delivery";
        registry.register("agent_push_deliveries", help, outcomes.0.clone());
        outcomes
    }

    fn count(&self, outcome: &'static str) {
        self.0.get_or_create(&OutcomeLabel { outcome }).inc();
    }
}

/// What push notifications need.
pub(crate) struct Setup<'a> {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) tasks: Tasks,
    /// Replicas of one agent share it; what is stored is encrypted under a key derived from it.
    pub(crate) key: &'a SigningKey,
    pub(crate) policy: Policy,
    pub(crate) outcomes: Outcomes,
}

/// Push notifications of one agent. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Push(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Arc<dyn Store>,
    tasks: Tasks,
    seal: Seal,
    poster: Poster,
    outcomes: Outcomes,
    timing: Timing,
    /// This process among those that share the store.
    me: String,
    crew: Crew,
    places: Places,
    /// Beats when some task has changed.
    pulse: watch::Sender<u64>,
    /// One creation at a time, so that the limits hold.
    creating: tokio::sync::Mutex<()>,
    workers: TaskTracker,
    /// No more requests are begun.
    closing: CancellationToken,
    /// Nothing is waited for any more.
    abort: CancellationToken,
}

impl Push {
    /// Push notifications of the tasks in `store`. Nothing is delivered before something is configured or [`Self::run`]
    /// has found it.
    ///
    /// # Errors
    /// When no key can be derived.
    pub(crate) fn open(setup: Setup<'_>) -> Result<Self, SealError> {
        Self::with(setup, Timing::default(), Arc::new(screen::System))
    }

    fn with(setup: Setup<'_>, timing: Timing, names: Arc<dyn Resolve>) -> Result<Self, SealError> {
        let Setup {
            store,
            tasks,
            key,
            policy,
            outcomes,
        } = setup;
        Ok(Self(Arc::new(Inner {
            store,
            tasks,
            seal: Seal::of(key)?,
            poster: Poster::new(policy, names, timing.patience),
            outcomes,
            timing,
            me: uuid::Uuid::new_v4().to_string(),
            crew: Crew::default(),
            places: Places::default(),
            pulse: watch::Sender::new(0),
            creating: tokio::sync::Mutex::default(),
            workers: TaskTracker::new(),
            closing: CancellationToken::new(),
            abort: CancellationToken::new(),
        })))
    }

    /// Says that a task has changed. Costs one load while nothing is configured.
    pub(crate) fn wake(&self) {
        if self.0.crew.count() > 0 {
            self.0
                .pulse
                .send_modify(|beat| *beat = beat.wrapping_add(1));
        }
    }

    /// Checks a configuration that a client sent.
    ///
    /// # Errors
    /// Which field is wrong.
    pub(crate) fn check(&self, config: PushConfig) -> Result<Checked, Fault> {
        config::check(self.0.poster.policy(), config)
    }

    /// The write that configures a webhook together with the task that a message starts or continues. Without an id of
    /// its own, the same webhook on a later message is the same configuration.
    ///
    /// # Errors
    /// When there are too many, or the store does not answer.
    pub(crate) async fn write(&self, checked: Checked, record: &Record) -> Result<Write, Fault> {
        let Checked(mut config) = checked;
        if config.id.is_empty() {
            config.id = self.0.seal.id(&config);
        }
        let known = if record.version == 0 {
            Vec::new()
        } else {
            self.rows(&record.task.id).await?
        };
        let row = self.row(&config, record, &known)?;
        self.employ(&row.key(), true);
        Ok(row.put())
    }

    /// Configures a webhook for what happens to a task from now on. An id that is known is configured anew.
    ///
    /// # Errors
    /// When there are too many, or the store does not answer.
    pub(crate) async fn create(
        &self,
        checked: Checked,
        record: &Record,
    ) -> Result<PushConfig, Fault> {
        let Checked(mut config) = checked;
        if config.id.is_empty() {
            config.id = uuid::Uuid::new_v4().to_string();
        }
        let _one = self.0.creating.lock().await;
        let known = self.rows(&record.task.id).await?;
        let mut row = self.row(&config, record, &known)?;
        row.done = record.state().is_terminal() && row.sent == record.log.newest();
        self.0
            .store
            .submit(vec![row.put()])
            .await
            .map_err(store_fault)?;
        if !row.done {
            self.employ(&row.key(), false);
        }
        Ok(shown(config, &record.task.id))
    }

    /// The row of a configuration, when there is room for it. One that takes the place of another begins where that was.
    fn row(&self, config: &PushConfig, record: &Record, known: &[Row]) -> Result<Row, Fault> {
        let task_id = &record.task.id;
        let before = known.iter().find(|row| row.id == config.id);
        if before.is_none() && known.len() >= MAX_OF_TASK {
            let expected =
                format!("a task with fewer than {MAX_OF_TASK} push notification configurations");
            return Err(Fault::field("taskId", &expected, &known.len().to_string()));
        }
        if before.is_none_or(|row| row.done) && self.0.crew.count() >= MAX_PENDING {
            let say = format!(
                "the agent has {MAX_PENDING} push notification configurations at work, and takes no more"
            );
            return Err(Fault::new(Kind::Overloaded, say));
        }
        let sealed = self
            .0
            .seal
            .close(config, &key_of(task_id, &config.id))
            .map_err(|error| {
                tracing::error!(%error, "cannot encrypt a push notification configuration");
                Fault::new(Kind::Internal, "the configuration cannot be encrypted")
            })?;
        let unsent = before.filter(|row| !row.done).map(|row| row.sent);
        let sent = unsent.unwrap_or_else(|| record.log.newest());
        Ok(Row {
            lease: before.and_then(|row| row.lease.clone()),
            ..Row::new(task_id, &config.id, &record.owner, (sealed, sent))
        })
    }

    /// One configuration, without its secrets.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn get(&self, task_id: &str, id: &str) -> Result<PushConfig, Fault> {
        let key = key_of(task_id, id);
        let entry = self.0.store.get(CONFIGS, &key).await.map_err(store_fault)?;
        let row = entry.and_then(|entry| Row::read(&entry).ok());
        let row = row.ok_or_else(|| {
            Fault::new(
                Kind::TaskNotFound,
                "no such push notification configuration",
            )
            .with("field", "id")
        })?;
        self.open_row(&row).ok_or_else(|| {
            let say = "the configuration was stored under another signing key of the agent; delete it and create it again";
            Fault::new(Kind::Internal, say)
        })
    }

    /// A page of the configurations of a task, by id, without their secrets.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn list(
        &self,
        task_id: &str,
        size: usize,
        token: Option<&str>,
    ) -> Result<ListPushConfigsResponse, Fault> {
        let mut rows = self.rows(task_id).await?;
        rows.retain(|row| token.is_none_or(|last| row.id.as_str() > last));
        rows.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let more = rows.len() > size;
        rows.truncate(size);
        let last = rows.last().filter(|_| more).map(|row| row.id.clone());
        Ok(ListPushConfigsResponse {
            configs: rows.iter().filter_map(|row| self.open_row(row)).collect(),
            next_page_token: last.unwrap_or_default(),
        })
    }

    /// Removes a configuration; one that is not there is removed already.
    ///
    /// # Errors
    /// When the store does not answer.
    pub(crate) async fn delete(&self, task_id: &str, id: &str) -> Result<(), Fault> {
        let key = key_of(task_id, id);
        let gone = Write::Delete {
            collection: CONFIGS,
            key: key.clone(),
        };
        self.0.store.submit(vec![gone]).await.map_err(store_fault)?;
        self.0.crew.call(&key);
        Ok(())
    }

    /// Delivers until `stop`: finds what other processes, or this one before a restart, left to deliver.
    ///
    /// # Errors
    /// None; what fails is tried again.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        // Whatever ends this ends the workers.
        let _workers = self.0.abort.clone().drop_guard();
        let period = if self.0.store.is_shared() {
            SWEEP_AMONG_REPLICAS
        } else {
            SWEEP
        };
        loop {
            let swept = self.sweep().await;
            if let Err(error) = &swept {
                tracing::warn!(error = %Chain(error), "cannot look for push notification configurations");
            }
            let pause = if swept.is_ok() { period } else { SWEEP_AGAIN };
            let pause = tokio::time::sleep(pause);
            if stop.run_until_cancelled(pause).await.is_none() {
                break;
            }
        }
        self.0.closing.cancel();
        self.0.workers.close();
        if timeout(FAREWELL, self.0.workers.wait()).await.is_err() {
            tracing::info!(
                "push notifications on their way are delivered again after the next start"
            );
        }
        Ok(())
    }

    /// Gives every row that may have something to deliver a worker.
    async fn sweep(&self) -> Result<(), StoreError> {
        let mut scan = Scan {
            collection: CONFIGS,
            limit: STEP,
            keys_only: true,
            ..Scan::default()
        };
        loop {
            let page = self.0.store.scan(scan.clone()).await?;
            for entry in page.iter().take_while(|entry| entry.sort == PENDING) {
                self.hire(&entry.key, false);
            }
            match page.last() {
                Some(last) if page.len() == STEP && last.sort == PENDING => {
                    scan.after = Some((last.sort.clone(), last.key.clone()));
                }
                _ => return Ok(()),
            }
        }
    }

    /// All rows of a task.
    async fn rows(&self, task_id: &str) -> Result<Vec<Row>, Fault> {
        let scan = Scan {
            collection: CONFIGS,
            scope: Some(task_id.to_owned()),
            limit: STEP,
            ..Scan::default()
        };
        let entries = self.0.store.scan(scan).await.map_err(store_fault)?;
        Ok(entries
            .iter()
            .filter_map(|entry| Row::read(entry).ok())
            .collect())
    }

    fn open_row(&self, row: &Row) -> Option<PushConfig> {
        let config = self.0.seal.open(&row.sealed, &row.key());
        if config.is_none() {
            self.0.outcomes.count("unreadable");
            tracing::error!(
                config = row.key(),
                "a push notification configuration was stored under another signing key"
            );
        }
        Some(shown(config?, &row.task_id))
    }
}
