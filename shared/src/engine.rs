//! What a call goes through: access, limits, decoding, task, audit, run, outcome.

mod call;
mod detach;
mod record;
mod run;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use a2a::types::Message;
use identity::Principal;
use serde_json::{Map, Value};
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::Span;

pub(crate) use call::{Call, Meta, Work};
use record::new_record;

use crate::{
    Context, SkillError,
    a2a::fault::{Fault, Kind},
    access::{Access, RateLimits},
    backplane::Plane,
    context,
    converse::{Converse, Reply, Turn},
    push::{Checked, Push},
    readiness::Readiness,
    registry::{self, DELIVERY_SKILL, Registered, Registry},
    streams::Streams,
    tasks::{Caller, Created, KeyKind, Live, Record, Tasks},
    telemetry::metrics::Metrics,
    trail::Trail,
};
use call::mutates;
use detach::Detaching;
use record::{Asked, hear, key_of, record_of};
use run::{Run, supervise};

/// Runs skills as tasks.
pub(crate) struct Engine {
    /// The agent's name.
    pub name: String,
    /// Its skills.
    pub registry: Registry,
    /// Answers messages that name none of them.
    pub(crate) converse: Box<dyn Converse>,
    /// Its tasks.
    pub tasks: Tasks,
    /// Whether a message id stands for one task even when the caller does not declare that it relies on it.
    pub(crate) always_idempotent: bool,
    /// Its push notifications.
    pub(crate) push: Push,
    /// Who may do what.
    pub access: Access,
    /// How often.
    pub rates: RateLimits,
    /// Its audit trail.
    pub trail: Trail,
    /// Its metrics.
    pub metrics: Metrics,
    /// Whether it takes work.
    pub readiness: Readiness,
    /// Runs at the same time.
    pub slots: Arc<Semaphore>,
    /// Longest run of each skill, from the manifest.
    pub timeouts: BTreeMap<String, Duration>,
    /// What skills may ask for.
    pub plane: Arc<Plane>,
    /// Its open streams.
    pub(crate) streams: Streams,
    /// Ends open streams once the running tasks are drained.
    pub(crate) closing: CancellationToken,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("name", &self.name)
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

/// Follows a task.
#[derive(Debug)]
pub(crate) struct Following {
    /// The task when the following began.
    pub(crate) first: Arc<Record>,
    /// Its newest state that is durable.
    pub(crate) now: watch::Receiver<Arc<Record>>,
}

/// A task that a call started, or met.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) following: Following,
    /// The run, when this call started it.
    run: Option<Detaching>,
}

impl From<Following> for Started {
    fn from(following: Following) -> Self {
        Self {
            following,
            run: None,
        }
    }
}

impl Started {
    /// The task once nothing runs any more.
    pub(crate) async fn settled(self) -> Result<Arc<Record>, Fault> {
        if let Some(run) = self.run {
            run.await;
        }
        let record = self.following.settled().await;
        record.refused.clone().map_or(Ok(record), Err)
    }

    /// Leaves the run to itself.
    pub(crate) fn detach(self) -> Following {
        self.following
    }
}

impl Following {
    /// The task once nothing runs any more.
    pub(crate) async fn settled(mut self) -> Arc<Record> {
        let _closed_only_after_the_last_state = self
            .now
            .wait_for(|record| record.state().is_settled())
            .await
            .is_ok();
        let record = self.now.borrow();
        record.clone()
    }
}

/// What a caller hears when every place is taken.
const AT_LIMIT: &str = "the agent is at its limit of concurrent runs";

impl Engine {
    /// Starts a call and follows its task.
    ///
    /// # Errors
    /// Why no task was made.
    pub(crate) async fn start(self: &Arc<Self>, call: Call) -> Result<Started, Fault> {
        if self.readiness.is_draining() {
            return Err(Fault::new(Kind::Overloaded, "the agent is draining"));
        }
        let Call {
            principal,
            work,
            meta,
            message,
            once,
            continues,
            shown,
            push,
        } = call;
        let (skill, input, mutates, prepared) = self.prepare(&principal, work)?;
        let permit = self.slots.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Fault::new(Kind::Overloaded, AT_LIMIT))?;
        // Who waits for the end of a call that only reads need not wait for its beginning to be durable.
        let later = !(mutates || shown || meta.detached || push.is_some());
        let before = continues.clone();
        let mut record = record_of(Asked {
            principal,
            skill,
            input,
            mutates,
            meta,
            message,
            once,
            continues,
        });
        let push = self.row_of(push, &record).await?;
        let run = Run {
            prepared,
            permit,
            span: Span::current(),
        };
        let met = if let Some(before) = before {
            match self.tasks.meet(&record) {
                Some(known) => known,
                None => match self.tasks.create(&mut record, push).await {
                    Ok(Created::New) => {
                        self.push.wake();
                        return Ok(self.launch(record, Some(before.into()), run));
                    }
                    other => other.map_err(unavailable)?,
                },
            }
        } else {
            match self.tasks.enter(record) {
                Err(known) => known,
                Ok(live) => match self.begin(live, push, later).await? {
                    Ok(live) => return Ok(self.accompany(live, run)),
                    Err(met) => met,
                },
            }
        };
        // Nothing runs for this call, so it gives its place back while it waits.
        drop(run);
        self.meet(met).await
    }

    /// The write that keeps a push configuration.
    async fn row_of(
        &self,
        push: Option<Checked>,
        record: &Record,
    ) -> Result<Option<store::Write>, Fault> {
        match push {
            Some(checked) => self.push.write(checked, record).await.map(Some),
            None => Ok(None),
        }
    }

    /// Makes a new task durable, unless that may wait.
    async fn begin(
        &self,
        live: Arc<Live>,
        push: Option<store::Write>,
        later: bool,
    ) -> Result<Result<Arc<Live>, Created>, Fault> {
        self.tasks.count();
        if later {
            return Ok(Ok(live));
        }
        let Err(error) = live.begin(&*self.plane.store, push).await else {
            self.push.wake();
            return Ok(Ok(live));
        };
        let record = live.close().unwrap_or_default();
        self.tasks.forget_keys(&record);
        let met = self.tasks.lost(&record, error).await;
        self.tasks.abandon(&live, &record.task.id);
        met.map(Err).map_err(unavailable)
    }

    /// Follows the task of an earlier call, or says why the call is refused.
    async fn meet(&self, met: Created) -> Result<Started, Fault> {
        match met {
            Created::Same(task_id) => self.attach(&task_id).await.map(Started::from),
            Created::Other(kind) => Err(taken(kind)),
            Created::Raced | Created::New => {
                let said = "the task has moved on; it takes no further message in its state";
                Err(Fault::new(Kind::UnsupportedOperation, said))
            }
        }
    }

    /// Keeps what the caller says to a task that waits for an approval. Nothing runs: an approval is signed, not said.
    pub(crate) async fn hear(
        &self,
        record: Record,
        message: Message,
        push: Option<Checked>,
        once: bool,
    ) -> Result<Following, Fault> {
        let key = once.then(|| key_of(&record.owner, &message));
        let keys = key.into_iter().collect();
        let mut heard = Record { keys, ..record };
        hear(&mut heard, message);
        let met = if let Some(met) = self.tasks.meet(&heard) {
            met
        } else {
            let push = self.row_of(push, &heard).await?;
            let created = self.tasks.create(&mut heard, push).await;
            created.map_err(unavailable)?
        };
        if !matches!(met, Created::New) {
            return self.meet(met).await.map(Started::detach);
        }
        let first = Arc::new(heard);
        let now = self.tasks.follow(first.clone());
        Ok(Following { first, now })
    }

    /// What is to run, when this principal may ask for it.
    fn prepare(&self, principal: &Principal, work: Work) -> Result<Prepared, Fault> {
        match work {
            Work::Skill(name, input) => {
                let skill = self.admit(principal, &name)?;
                let mutates = mutates(skill, &input)?;
                let prepared = skill.prepare(input.clone()).map_err(|e| Fault::from(&e))?;
                Ok((Some(name), input, mutates, prepared))
            }
            Work::Talk(talk) => {
                let prepared: registry::Run =
                    Box::new(|context| Box::pin(async move { talk(context).await.map(|()| None) }));
                Ok((None, Map::new(), false, prepared))
            }
        }
    }

    /// What the agent makes of a message that names no skill.
    pub(crate) fn reply(&self, message: &Message, task: Option<&Record>) -> Reply {
        self.converse.reply(&Turn {
            message,
            task: task.map(|record| &record.task),
        })
    }

    /// The registered skill, when this principal may use it now.
    fn admit(&self, principal: &Principal, name: &str) -> Result<&Registered, Fault> {
        let Some(skill) = self.registry.get(name) else {
            return Err(Fault::new(
                Kind::MethodNotFound,
                format!("no such method or skill: {}", clip(name)),
            )
            .with("field", "method"));
        };
        if !self.access.allows(principal, name) {
            self.refuse(principal, name);
            return Err(Fault::new(
                Kind::PermissionDenied,
                format!("{} may not use {name} of {}", principal.name, self.name),
            ));
        }
        self.metrics
            .observe_request(&principal.name, &self.name, "ok");
        Ok(skill)
    }

    /// Counts and records a refusal.
    pub(crate) fn refuse(&self, principal: &Principal, action: &str) {
        self.metrics
            .observe_request(&principal.name, &self.name, "denied");
        self.trail.refused(principal, clip(action));
    }

    /// Follows the task that a key stands for, wherever it runs.
    async fn attach(&self, task_id: &str) -> Result<Following, Fault> {
        if let Some(live) = self.tasks.running_here(task_id) {
            let mut now = live.follow();
            let written = now.wait_for(|record| record.version > 0).await;
            if let Ok(first) = written.map(|record| record.clone()) {
                return Ok(Following { first, now });
            }
        }
        let record = self.tasks.get(task_id).await.map_err(unavailable)?;
        let record = record.ok_or_else(|| {
            Fault::new(
                Kind::TaskNotFound,
                "the call was made before, and its task was evicted",
            )
            .with("task_id", task_id)
        })?;
        Ok(Following {
            now: self.tasks.follow(record.clone()),
            first: record,
        })
    }

    /// Takes audit records: no task, no record of its own (a refusal makes one).
    ///
    /// # Errors
    /// Why they were not taken.
    pub(crate) async fn deliver(
        self: &Arc<Self>,
        principal: &Principal,
        mut params: Map<String, Value>,
    ) -> Result<Value, Fault> {
        let meta = Meta::take(&mut params)?;
        let skill = self.admit(principal, DELIVERY_SKILL)?;
        let prepared = skill.prepare(params).map_err(|e| Fault::from(&e))?;
        let caller = Caller {
            agent: principal.kind == identity::PrincipalKind::Agent,
            name: principal.name.clone(),
        };
        let record = Record {
            skill: Some(skill.id.to_owned()),
            deadline: meta.deadline,
            ..new_record(principal.id.to_string(), caller, None)
        };
        let deadline = Instant::now() + self.allowance(&record, skill.id);
        let cancel = CancellationToken::new();
        let context = Context::new(
            context::Work::new(&record, &self.access, deadline),
            None,
            cancel.clone(),
            self.plane.clone(),
        );
        match supervise(prepared(context), deadline, cancel).await {
            Ok(output) => Ok(output.unwrap_or_default()),
            Err(error) => {
                self.refuse(principal, DELIVERY_SKILL);
                Err(Fault::from(&error))
            }
        }
    }
}

/// Skill, input, whether the run changes the world, and the run.
type Prepared = (Option<String>, Map<String, Value>, bool, registry::Run);

fn taken(kind: KeyKind) -> Fault {
    match kind {
        KeyKind::Call => Fault::new(
            Kind::IdempotencyConflict,
            "idempotency_key was used with another input",
        )
        .with("field", "idempotency_key"),
        KeyKind::Message => Fault::field(
            "message.messageId",
            "an id that is new, or the very same message again",
            "the id of another message",
        ),
    }
}

fn unavailable(error: store::StoreError) -> Fault {
    Fault::from(&SkillError::unavailable("store", error))
}

/// A caller's word, short enough for a message.
pub(crate) fn clip(text: &str) -> &str {
    text.char_indices()
        .nth(64)
        .map_or(text, |(end, _)| &text[..end])
}
