//! What a call goes through: access, limits, decoding, task, audit, run, outcome.

use std::{collections::BTreeMap, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::{FutureExt, future::BoxFuture};
use identity::Principal;
use serde_json::{Map, Value};
use store::Store;
use time::OffsetDateTime;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, field};

use crate::{
    Context, Effect, SkillError,
    a2a::{
        fault::{Fault, Kind},
        types::{Artifact, Message, Part, Task, TaskState},
    },
    access::{Access, RateLimits},
    backplane::Plane,
    context::Work,
    digest,
    readiness::Readiness,
    registry::{DELIVERY_SKILL, Registered, Registry},
    tasks::{Caller, Created, IdempotencyKey, Record, Tasks, parse_time},
    telemetry::{Chain, metrics::Metrics, traces},
    trail::{Fact, Trail},
};

/// A skill that says nothing gets this long.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a cancelled or late run may take to stop by itself before it is dropped.
const GRACE: Duration = Duration::from_secs(2);
/// Longest idempotency key.
const MAX_KEY: usize = 128;

/// One call of a skill.
#[derive(Debug)]
pub struct Call {
    /// Who calls.
    pub principal: Principal,
    /// The skill.
    pub skill: String,
    /// Its input, without `_meta`.
    pub input: Map<String, Value>,
    /// Per-call settings.
    pub meta: Meta,
    /// The conversation, when the caller has one.
    pub context_id: Option<String>,
    /// The message that asked for it.
    pub message: Option<Message>,
    /// The task to continue (it was `input-required`).
    pub continues: Option<Record>,
}

/// `_meta` of a call.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// Answer with the task as soon as it exists.
    #[serde(default, rename = "async")]
    pub detached: bool,
    /// RFC 3339 time after which the caller does not wait.
    pub deadline: Option<String>,
    /// External caller at the head of the chain; taken from agents only.
    pub on_behalf_of: Option<String>,
}

impl Meta {
    /// Takes `_meta` off an input.
    ///
    /// # Errors
    /// `InvalidParams` with the wrong field.
    pub fn take(input: &mut Map<String, Value>) -> Result<Self, Fault> {
        let meta = match input.remove("_meta") {
            None => return Ok(Self::default()),
            Some(Value::Object(meta)) => meta,
            Some(_) => return Err(Fault::field("_meta", "an object", "another type")),
        };
        let meta: Self = crate::registry::decode(meta).map_err(|error| match &error {
            SkillError::Rejected {
                field,
                expected,
                got,
            } => Fault::field(&format!("_meta.{field}"), expected, got),
            _ => Fault::from(&error),
        })?;
        match &meta.deadline {
            Some(deadline) if parse_time(deadline).is_none() => Err(Fault::field(
                "_meta.deadline",
                "an RFC 3339 time",
                "another text",
            )),
            _ => Ok(meta),
        }
    }
}

/// Runs skills as tasks.
#[derive(Debug)]
pub struct Engine {
    /// The agent's name.
    pub name: String,
    /// Its skills.
    pub registry: Registry,
    /// Its tasks.
    pub tasks: Tasks,
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
}

impl Engine {
    /// Starts a call; the receiver follows its task.
    ///
    /// # Errors
    /// Why no task was made.
    pub async fn start(
        self: &Arc<Self>,
        call: Call,
    ) -> Result<watch::Receiver<Arc<Record>>, Fault> {
        if self.readiness.is_draining() {
            return Err(Fault::new(Kind::Overloaded, "the agent is draining"));
        }
        let skill = self.admit(&call.principal, &call.skill)?;
        let mutates = mutates(skill, &call.input)?;
        let prepared = skill
            .prepare(call.input.clone())
            .map_err(|e| Fault::from(&e))?;
        let permit = self.slots.clone().try_acquire_owned().map_err(|_| {
            Fault::new(
                Kind::Overloaded,
                "the agent is at its limit of concurrent runs",
            )
        })?;
        let (record, key) = self.record_of(call, mutates);
        let commit = match self.tasks.create(&record, key).await.map_err(unavailable)? {
            Created::New(commit) => commit,
            Created::Same(task_id) => return self.attach(&task_id).await,
            Created::Other => {
                return Err(Fault::new(
                    Kind::IdempotencyConflict,
                    "idempotency_key was used with another input",
                )
                .with("field", "idempotency_key"));
            }
        };
        let run = Run {
            record,
            prepared,
            permit,
            commit: Some(commit),
            span: Span::current(),
        };
        Ok(self.launch(run))
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
        self.rates.check(&principal.name)?;
        self.metrics
            .observe_request(&principal.name, &self.name, "ok");
        Ok(skill)
    }

    /// Counts and records a refusal.
    pub fn refuse(&self, principal: &Principal, action: &str) {
        self.metrics
            .observe_request(&principal.name, &self.name, "denied");
        self.trail.refused(principal, clip(action));
    }

    fn record_of(&self, call: Call, mutates: bool) -> (Record, Option<IdempotencyKey>) {
        let Call {
            principal,
            skill,
            input,
            meta,
            context_id,
            message,
            continues,
        } = call;
        let owner = principal.id.to_string();
        let input_digest = digest::of_json(&input);
        let key = mutates
            .then(|| input.get("idempotency_key").and_then(Value::as_str))
            .flatten();
        let key = key.map(|key| IdempotencyKey::new(&owner, &skill, key, &input_digest));
        let agent = principal.kind == identity::PrincipalKind::Agent;
        let on_behalf_of = if agent {
            meta.on_behalf_of
        } else {
            Some(principal.name.clone())
        };
        let mut record = continues.unwrap_or_else(|| {
            new_record(
                owner,
                Caller {
                    agent,
                    name: principal.name,
                },
                context_id,
            )
        });
        let context = (record.task.context_id.clone(), record.task.id.clone());
        record.task.history.extend(message.map(|message| Message {
            context_id: Some(context.0),
            task_id: Some(context.1),
            ..message
        }));
        record
            .task
            .metadata
            .insert("skill".into(), Value::String(skill.clone()));
        let record = Record {
            on_behalf_of,
            skill: Some(skill),
            input,
            input_digest,
            mutates,
            deadline: meta.deadline,
            traceparent: traces::traceparent(&Span::current()),
            ..record
        };
        (entered(record, TaskState::Working, None), key)
    }

    async fn attach(&self, task_id: &str) -> Result<watch::Receiver<Arc<Record>>, Fault> {
        if let Some(receiver) = self.tasks.follow(task_id) {
            return Ok(receiver);
        }
        let record = self.tasks.get(task_id).await.map_err(unavailable)?;
        let record = record.ok_or_else(|| {
            Fault::new(
                Kind::TaskNotFound,
                "the task of this idempotency_key was evicted",
            )
            .with("field", "idempotency_key")
        })?;
        Ok(watch::channel(Arc::new(record)).1)
    }

    /// Takes audit records: no task, no record of its own (a refusal makes one).
    ///
    /// # Errors
    /// Why they were not taken.
    pub async fn deliver(
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
            Work::new(&record, &self.access, deadline),
            None,
            cancel.clone(),
            self.plane.clone(),
        );
        supervise(prepared(context), deadline, cancel)
            .await
            .map_err(|error| {
                self.refuse(principal, DELIVERY_SKILL);
                Fault::from(&error)
            })
    }

    /// Runs a task that an approval, or a restart, set going again.
    pub fn resume(self: &Arc<Self>, record: Record) {
        let Some(skill) = record.skill.as_deref().and_then(|id| self.registry.get(id)) else {
            return;
        };
        let span = traces::resumed(skill.id, record.traceparent.as_deref());
        match skill.prepare(record.input.clone()) {
            Ok(prepared) => {
                let engine = self.clone();
                let slots = self.slots.clone();
                tokio::spawn(async move {
                    let Ok(permit) = slots.acquire_owned().await else {
                        return;
                    };
                    engine.launch(Run {
                        record,
                        prepared,
                        permit,
                        commit: None,
                        span,
                    });
                });
            }
            Err(error) => {
                tracing::error!(task_id = record.task.id, error = %Chain(&error), "cannot resume a task")
            }
        }
    }

    fn launch(self: &Arc<Self>, run: Run) -> watch::Receiver<Arc<Record>> {
        let (cancel, receiver) = self.tasks.track(Arc::new(run.record.clone()));
        let engine = self.clone();
        let span = tracing::info_span!(
            parent: &run.span, "execute_tool", "otel.name" = run.record.skill.as_deref(), "gen_ai.operation.name" = "execute_tool",
            "a2a.task.id" = run.record.task.id, "a2a.task.state" = field::Empty, "error.type" = field::Empty, trace_id = field::Empty,
        );
        if let Some((trace_id, _)) = traces::ids(&span) {
            span.record("trace_id", trace_id);
        }
        tokio::spawn(async move { engine.run(run, cancel).await }.instrument(span));
        receiver
    }

    async fn run(self: Arc<Self>, run: Run, cancel: CancellationToken) {
        let Run {
            record,
            prepared,
            permit,
            commit,
            ..
        } = run;
        let started = Instant::now();
        let skill = record.skill.clone().unwrap_or_default();
        let deadline = started + self.allowance(&record, &skill);
        let work = Work::new(&record, &self.access, deadline);
        let result = match self.intend(&record, &work, commit).await {
            Ok(()) => {
                let context = Context::new(
                    work,
                    record.approval.clone().map(Into::into),
                    cancel.clone(),
                    self.plane.clone(),
                );
                supervise(prepared(context), deadline, cancel).await
            }
            Err(error) => Err(error),
        };
        let trace_id = traces::ids(&Span::current()).map(|(trace, _)| trace);
        let outcome = result.as_ref().map_or_else(SkillError::kind, |_| "ok");
        if let Some(registered) = self.registry.get(&skill) {
            self.metrics.observe_run(
                registered.id,
                outcome,
                started.elapsed(),
                trace_id.as_deref(),
            );
        }
        self.settle(record, result, trace_id.as_deref()).await;
        drop(permit);
    }

    /// How long this run may take: the manifest's limit, cut by the caller's deadline.
    fn allowance(&self, record: &Record, skill: &str) -> Duration {
        let limit = self.timeouts.get(skill).copied().unwrap_or(DEFAULT_TIMEOUT);
        let left = record
            .deadline
            .as_deref()
            .and_then(parse_time)
            .map(|deadline| deadline - OffsetDateTime::now_utc());
        left.map_or(limit, |left| {
            limit.min(left.try_into().unwrap_or(Duration::ZERO))
        })
    }

    /// What must be durable before an effect: the task, and the intent to change something.
    async fn intend(
        &self,
        record: &Record,
        work: &Work,
        commit: Option<store::Commit>,
    ) -> Result<(), SkillError> {
        if !record.mutates {
            return Ok(());
        }
        if let Some(commit) = commit {
            commit
                .await
                .map_err(|e| SkillError::unavailable("store", e))?;
        }
        let fact = Fact::of_run(record, work, "intent", "started", None);
        self.trail
            .append(fact, Vec::new())?
            .await
            .map_err(|e| SkillError::unavailable("store", e))
    }

    async fn settle(
        &self,
        mut record: Record,
        result: Result<Value, SkillError>,
        trace_id: Option<&str>,
    ) {
        let work = Work::new(&record, &self.access, Instant::now());
        let (word, output_digest) = match &result {
            Ok(output) => ("ok", Some(digest::of_json(output))),
            Err(error) => (error.kind(), None),
        };
        conclude(&mut record, result, trace_id);
        let span = Span::current();
        span.record("a2a.task.state", field::debug(record.state()));
        if word != "ok" {
            span.record("error.type", word);
        }
        if record.state().is_terminal()
            && record
                .skill
                .as_deref()
                .and_then(|id| self.registry.get(id))
                .is_some_and(|skill| skill.sensitive)
        {
            redact(&mut record);
        }
        let fact = Fact::of_run(&record, &work, "outcome", word, output_digest);
        let writes = record.writes();
        let written = match self.trail.append(fact, writes.clone()) {
            Ok(commit) => commit.await,
            Err(_full) => self.tasks_store().submit(writes).await,
        };
        if let Err(error) = written {
            tracing::error!(task_id = record.task.id, error = %Chain(&error), "cannot keep the end of a task");
            record.fault = Some(Fault::new(
                Kind::Internal,
                "the outcome could not be stored",
            ));
            record = entered(
                record,
                TaskState::Failed,
                Some("the outcome could not be stored"),
            );
        }
        tracing::info!(
            task_id = record.task.id,
            skill = record.skill.as_deref(),
            outcome = word,
            caller = record.caller.name,
            "task settled"
        );
        self.tasks.show(Arc::new(record));
    }

    fn tasks_store(&self) -> Arc<dyn Store> {
        use crate::context::Backplane as _;
        self.plane.store()
    }
}

struct Run {
    record: Record,
    prepared: Box<dyn FnOnce(Context) -> BoxFuture<'static, Result<Value, SkillError>> + Send>,
    permit: OwnedSemaphorePermit,
    commit: Option<store::Commit>,
    span: Span,
}

/// Awaits a run within its deadline; panics and dropped runs become errors.
async fn supervise(
    run: BoxFuture<'static, Result<Value, SkillError>>,
    deadline: Instant,
    cancel: CancellationToken,
) -> Result<Value, SkillError> {
    let mut run = AssertUnwindSafe(run).catch_unwind();
    let stopped = async {
        tokio::select! {
            () = tokio::time::sleep_until(deadline) => SkillError::DeadlineExceeded,
            () = cancel.cancelled() => SkillError::Canceled,
        }
    };
    let result = tokio::select! {
        result = &mut run => result,
        why = stopped => {
            cancel.cancel();
            match timeout_at(Instant::now() + GRACE, &mut run).await {
                Ok(Ok(Err(SkillError::Canceled))) | Err(_) => return Err(why),
                Ok(result) => result,
            }
        }
    };
    result.unwrap_or_else(|_panic| {
        Err(SkillError::failed(
            "the skill stopped unexpectedly; the log has the reason",
        ))
    })
}

/// A fresh task of `owner`.
pub(crate) fn new_record(owner: String, caller: Caller, context_id: Option<String>) -> Record {
    let task = Task {
        id: uuid::Uuid::now_v7().to_string(),
        context_id: context_id.unwrap_or_else(|| uuid::Uuid::now_v7().to_string()),
        status: crate::a2a::types::TaskStatus {
            state: TaskState::Submitted,
            message: None,
            timestamp: String::new(),
        },
        artifacts: Vec::new(),
        history: Vec::new(),
        metadata: Map::new(),
    };
    let record = Record {
        task,
        owner,
        caller,
        on_behalf_of: None,
        skill: None,
        input: Map::new(),
        input_digest: String::new(),
        mutates: false,
        plan_digest: None,
        approval: None,
        fault: None,
        deadline: None,
        traceparent: None,
        version: 0,
    };
    entered(record, TaskState::Submitted, None)
}

fn entered(mut record: Record, state: TaskState, say: Option<&str>) -> Record {
    record.enter(state, say);
    record
}

/// Moves the task to where its run left it.
fn conclude(record: &mut Record, result: Result<Value, SkillError>, trace_id: Option<&str>) {
    let error = match result {
        Ok(output) => {
            let artifact = Artifact {
                artifact_id: uuid::Uuid::now_v7().to_string(),
                name: record.skill.clone(),
                parts: vec![Part::json(output)],
                metadata: None,
            };
            record.task.artifacts = vec![artifact];
            record.fault = None;
            return record.enter(TaskState::Completed, None);
        }
        Err(error) => error,
    };
    let state = match &error {
        SkillError::Rejected { .. } | SkillError::Denied(_) => TaskState::Rejected,
        SkillError::ApprovalRequired { plan_digest, .. } => {
            record.plan_digest = Some(plan_digest.clone());
            TaskState::AuthRequired
        }
        SkillError::Canceled => TaskState::Canceled,
        SkillError::Unavailable { .. }
        | SkillError::Failed { .. }
        | SkillError::DeadlineExceeded => TaskState::Failed,
    };
    let fault = Fault::from(&error).with("task_id", &record.task.id);
    let fault = trace_id.map_or_else(
        || fault.clone(),
        |trace_id| fault.clone().with("trace_id", trace_id),
    );
    record.enter(state, Some(fault.message()));
    record.fault = Some(fault);
}

/// Drops the input of a task whose skill takes secrets.
fn redact(record: &mut Record) {
    record.input.clear();
    for part in record
        .task
        .history
        .iter_mut()
        .flat_map(|message| &mut message.parts)
    {
        let note = format!("removed; the input had SHA-256 {}", record.input_digest);
        *part = Part::text(note);
    }
}

/// Whether this call changes the world, by the rules for mutating skills.
fn mutates(skill: &Registered, input: &Map<String, Value>) -> Result<bool, Fault> {
    if skill.effect == Effect::Read || input.get("dry_run") != Some(&Value::Bool(false)) {
        return Ok(false);
    }
    match input.get("idempotency_key") {
        Some(Value::String(key)) if (1..=MAX_KEY).contains(&key.len()) => Ok(true),
        Some(Value::String(key)) => Err(Fault::field(
            "idempotency_key",
            "1 to 128 characters",
            &format!("{} characters", key.len()),
        )),
        Some(_) => Err(Fault::field("idempotency_key", "a string", "another type")),
        None => Err(Fault::field(
            "idempotency_key",
            "a value (required when dry_run is false)",
            "nothing",
        )),
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
