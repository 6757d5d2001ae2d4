//! The worker of one configuration: delivers the events of its task one after the other, and waits in between.
//!
//! The queue is the task's own log, so nothing is stored for a delivery but how far the webhook has come.

use std::{sync::Arc, time::Duration};

use a2a::types::{PushConfig, StreamResponse};
use aws_lc_rs::rand;
use bytes::Bytes;
use store::{Entry, StoreError, Write};
use time::OffsetDateTime;
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{
    CONFIGS, Push,
    post::{Letter, PostError},
    row::{Lease, Row, Step},
};
use crate::{
    tasks::{Record, response},
    telemetry::Chain,
};

/// How often an idle worker looks whether its task runs in this process; a look at a map in memory.
const GLANCE: Duration = Duration::from_secs(1);
/// How often it looks at the store when nobody tells it to.
const LOOK: Duration = Duration::from_mins(1);
/// The same where other replicas may have changed the task; the one that runs it delivers at once.
const LOOK_AMONG_REPLICAS: Duration = Duration::from_secs(15);
/// Pause after the store did not answer.
const STORE_PAUSE: Duration = Duration::from_secs(5);
/// First pause while a row that is on its way to the store is not there yet; doubles.
const FIRST_GLIMPSE: Duration = Duration::from_millis(5);
/// After this pause the row is not coming: the call that brought it was a repetition.
const LAST_GLIMPSE: Duration = Duration::from_secs(1);

/// What follows a look.
enum Next {
    /// Nothing can come any more.
    Over,
    /// Another look.
    Again,
    /// The row is not there yet.
    Coming(Duration),
    /// The task has to change; it runs here when there is something to follow.
    Task(String, Option<watch::Receiver<Arc<Record>>>),
    /// Nothing before this time.
    Later(OffsetDateTime),
}

pub(super) struct Worker {
    push: Push,
    key: String,
    call: Arc<Notify>,
    pulse: watch::Receiver<u64>,
    /// Next pause while the row is on its way to the store.
    coming: Option<Duration>,
    left: bool,
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.left {
            self.push.0.crew.forget(&self.key);
        }
    }
}

impl Push {
    /// Sees to it that a worker looks at a configuration that was just written, or is about to be.
    pub(super) fn employ(&self, key: &str, coming: bool) {
        if !self.0.crew.call(key) {
            self.hire(key, coming);
        }
    }

    /// Starts a worker unless there is one.
    pub(super) fn hire(&self, key: &str, coming: bool) {
        let Some(call) = self.0.crew.join(key) else {
            return;
        };
        let worker = Worker {
            push: self.clone(),
            key: key.to_owned(),
            call,
            pulse: self.0.pulse.subscribe(),
            coming: coming.then_some(FIRST_GLIMPSE),
            left: false,
        };
        let abort = self.0.abort.clone();
        self.0.workers.spawn(async move {
            abort.run_until_cancelled(worker.run()).await;
        });
    }
}

impl Worker {
    async fn run(mut self) {
        let closing = self.push.0.closing.clone();
        while !closing.is_cancelled() {
            self.push.0.crew.looks(&self.key);
            let next = match self.look().await {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!(config = self.key, error = %Chain(&error), "cannot deliver push notifications");
                    Next::Later(OffsetDateTime::now_utc() + STORE_PAUSE)
                }
            };
            if matches!(next, Next::Over) && self.push.0.crew.leave(&self.key) {
                self.left = true;
                return;
            }
            closing.run_until_cancelled(self.wait(next)).await;
        }
    }

    async fn look(&mut self) -> Result<Next, StoreError> {
        self.pulse.mark_unchanged();
        let inner = &self.push.0;
        let Some(entry) = inner.store.get(CONFIGS, &self.key).await? else {
            let pause = self.coming.filter(|pause| *pause <= LAST_GLIMPSE);
            self.coming = pause.map(|pause| pause * 2);
            return Ok(pause.map_or(Next::Over, Next::Coming));
        };
        let row = match Row::read(&entry) {
            Ok(row) => row,
            Err(error) => return self.retire(entry, &error).await,
        };
        let mut live = inner
            .tasks
            .running_here(&row.task_id)
            .map(|live| live.follow());
        let record = match &mut live {
            Some(live) => Some(live.borrow_and_update().clone()),
            None => inner.tasks.stored(&row.task_id).await?.map(Arc::new),
        };
        let Some(record) = record else {
            return self.remove().await;
        };
        // What is shown of a running task may be behind the store for a moment.
        let newest = record.log.newest();
        if live.is_some() && (record.version == 0 || newest < row.sent) {
            return Ok(Next::Task(row.task_id, live));
        }
        let who = (inner.me.as_str(), OffsetDateTime::now_utc());
        let ended = record.state().is_terminal();
        match row.step(newest, ended, who) {
            Step::Over if live.is_none() => self.finish(row).await,
            Step::Over | Step::Idle => Ok(Next::Task(row.task_id, live)),
            Step::Later(at) => Ok(Next::Later(at)),
            Step::Deliver => {
                self.deliver(row, &record).await?;
                Ok(Next::Again)
            }
        }
    }

    async fn wait(&mut self, next: Next) {
        let call = self.call.clone();
        let waits = async {
            match next {
                Next::Over | Next::Again => {}
                Next::Coming(pause) => sleep(pause).await,
                Next::Later(at) => sleep(until(at)).await,
                Next::Task(_, Some(mut live)) => drop(live.changed().await),
                Next::Task(task_id, None) => self.idle(&task_id).await,
            }
        };
        tokio::select! {
            () = waits => {}
            () = call.notified() => {}
        }
    }

    /// Waits until a task that does not run here may have changed.
    async fn idle(&mut self, task_id: &str) {
        let tasks = self.push.0.tasks.clone();
        let looked = Instant::now();
        let look = looked
            + if tasks.has_replicas() {
                LOOK_AMONG_REPLICAS
            } else {
                LOOK
            };
        while Instant::now() < look {
            tokio::select! {
                changed = self.pulse.changed() => {
                    // Some task has changed; of a busy agent that is no reason to look at the store all the time.
                    if changed.is_ok() {
                        return sleep_until(looked + GLANCE).await;
                    }
                }
                () = sleep(GLANCE) => {
                    if tasks.running_here(task_id).is_some() {
                        return;
                    }
                }
            }
        }
    }

    /// Delivers what the webhook has not acknowledged, until something is in the way.
    async fn deliver(&self, mut row: Row, record: &Record) -> Result<(), StoreError> {
        let inner = &self.push.0;
        let config = inner.seal.open(&row.sealed, &self.key);
        while let Some((number, body)) = told(record, row.sent) {
            let place = inner.places.take(&row.owner);
            let Some(place) = inner.closing.run_until_cancelled(place).await else {
                return Ok(());
            };
            if inner.crew.is_called(&self.key) || !self.claim(&mut row).await? {
                return Ok(());
            }
            let posted = self.post(config.as_ref(), (number, body), record).await;
            drop(place);
            inner
                .outcomes
                .count(posted.as_ref().map_or_else(PostError::outcome, |()| "ok"));
            match &posted {
                Ok(()) => {
                    row.acknowledged(number);
                    if number == record.log.newest() || inner.closing.is_cancelled() {
                        row.lease = None;
                    }
                }
                Err(error) => self.failed(&mut row, number, error),
            }
            if !self.save(&mut row).await? || posted.is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn post(
        &self,
        config: Option<&PushConfig>,
        (number, body): (u64, Bytes),
        record: &Record,
    ) -> Result<(), PostError> {
        let letter = Letter {
            config: config.ok_or(PostError::Unreadable)?,
            number,
            body,
            traceparent: record.traceparent.as_deref(),
        };
        self.push.0.poster.post(letter).await
    }

    /// Notes a failure. The log has the first one, and that there will be no more.
    fn failed(&self, row: &mut Row, number: u64, error: &PostError) {
        let inner = &self.push.0;
        row.failed(error, &inner.timing, (OffsetDateTime::now_utc(), chance()));
        let (config, error) = (&self.key, Chain(error));
        if row.done {
            inner.outcomes.count("given_up");
            tracing::warn!(config, number, failures = row.failures, %error, "gave up a webhook");
        } else if row.failures == 1 {
            tracing::warn!(config, number, %error, "cannot deliver a push notification, and tries again");
        } else {
            tracing::debug!(config, number, failures = row.failures, %error, "cannot deliver a push notification");
        }
    }

    /// Makes sure that no other replica delivers at the same time; false when one does.
    async fn claim(&self, row: &mut Row) -> Result<bool, StoreError> {
        let inner = &self.push.0;
        let now = OffsetDateTime::now_utc();
        if !inner.tasks.has_replicas() || !row.needs_lease(&inner.timing, (&inner.me, now)) {
            return Ok(true);
        }
        self.lease(row);
        self.save(row).await
    }

    fn lease(&self, row: &mut Row) {
        row.lease = Some(Lease {
            holder: self.push.0.me.clone(),
            until: OffsetDateTime::now_utc() + self.push.0.timing.lease,
        });
    }

    /// Stores a row; false when somebody else has changed it.
    async fn save(&self, row: &mut Row) -> Result<bool, StoreError> {
        match self.push.0.store.submit(vec![row.update()]).await {
            Ok(()) => {
                row.version += 1;
                Ok(true)
            }
            Err(StoreError::Conflict { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Nothing will be delivered any more; the configuration stays to be shown.
    async fn finish(&self, mut row: Row) -> Result<Next, StoreError> {
        if row.done {
            return Ok(Next::Over);
        }
        row.done = true;
        let saved = self.save(&mut row).await?;
        Ok(if saved { Next::Over } else { Next::Again })
    }

    /// The task is gone, and its configurations with it.
    async fn remove(&self) -> Result<Next, StoreError> {
        let gone = Write::Delete {
            collection: CONFIGS,
            key: self.key.clone(),
        };
        self.push.0.store.submit(vec![gone]).await?;
        Ok(Next::Over)
    }

    /// Sets aside what cannot be read, so that it is not looked at again and again.
    async fn retire(&self, entry: Entry, error: &serde_json::Error) -> Result<Next, StoreError> {
        self.push.0.outcomes.count("unreadable");
        tracing::error!(config = self.key, %error, "cannot read a stored push notification configuration");
        let sort = super::row::DONE.to_owned();
        let aside = Write::Update {
            collection: CONFIGS,
            entry: Entry { sort, ..entry },
        };
        match self.push.0.store.submit(vec![aside]).await {
            Ok(()) | Err(StoreError::Conflict { .. }) => Ok(Next::Over),
            Err(error) => Err(error),
        }
    }
}

/// The next that a webhook has to be told, with its number: an event, or the task where the log does not reach back.
fn told(record: &Record, sent: u64) -> Option<(u64, Bytes)> {
    let newest = record.log.newest();
    if sent == newest {
        return None;
    }
    let next = record.log.after(sent).and_then(|mut events| events.next());
    let next = next.and_then(|(number, event)| Some((number, response(&record.task, event)?)));
    let (number, body) =
        next.unwrap_or_else(|| (newest, StreamResponse::Task(record.task.clone())));
    Some((number, serde_json::to_vec(&body).unwrap_or_default().into()))
}

fn until(at: OffsetDateTime) -> Duration {
    (at - OffsetDateTime::now_utc())
        .try_into()
        .unwrap_or_default()
}

/// A random number; without randomness pauses are merely the same.
fn chance() -> u16 {
    let mut bytes = [0; 2];
    let _no_randomness = rand::fill(&mut bytes).is_err();
    u16::from_le_bytes(bytes)
}
