//! What a call goes through: access, limits, decoding, task, audit, run, outcome.

mod call;
mod record;
mod run;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use identity::Principal;
use serde_json::{Map, Value};
use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::Span;

pub(crate) use call::{Call, Meta};
pub(crate) use record::new_record;

use crate::{
    Context, SkillError,
    a2a::fault::{Fault, Kind},
    access::{Access, RateLimits},
    backplane::Plane,
    context::Work,
    readiness::Readiness,
    registry::{DELIVERY_SKILL, Registered, Registry},
    tasks::{Caller, Created, Record, Tasks},
    telemetry::metrics::Metrics,
    trail::Trail,
};
use call::mutates;
use record::record_of;
use run::{Run, supervise};

/// Time between two looks at a task that another process runs.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

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
        let detached = call.meta.detached;
        let (record, key) = record_of(call, mutates);
        let commit = match self.tasks.create(&record, key).await.map_err(unavailable)? {
            Created::New(commit) => commit,
            Created::Same(task_id) => {
                // Nothing runs for this call, so it gives its place back while it waits.
                drop(permit);
                let wait = (!detached).then(|| self.allowance(&record, skill.id));
                return self.attach(&task_id, wait).await;
            }
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

    /// Follows the task that has the idempotency key already. It may run here, be on its way from the store to its
    /// run, or run in another process; whoever waits gets its end, never a state in between.
    async fn attach(
        &self,
        task_id: &str,
        wait: Option<Duration>,
    ) -> Result<watch::Receiver<Arc<Record>>, Fault> {
        let until = Instant::now() + wait.unwrap_or_default();
        loop {
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
            if record.state().is_settled() || wait.is_none() {
                return Ok(watch::channel(Arc::new(record)).1);
            }
            if Instant::now() >= until {
                let fault = Fault::from(&SkillError::DeadlineExceeded);
                return Err(fault.with("task_id", task_id));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
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
