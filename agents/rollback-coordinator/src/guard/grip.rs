//! Holding a workload's Lease.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use shared::{Context, SkillError, ToolCall};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::{
    sync::Mutex,
    time::{Instant, sleep},
};

use crate::{
    clients::Objects,
    domain::{
        hold::{ObjectRef, text},
        lease::{Lease, Take, holds, take},
    },
};

/// Tries of a write that somebody else's write got in the way of.
const ATTEMPTS: u32 = 5;

/// A Lease that this run holds under a fencing token.
#[derive(Debug)]
pub struct Grip {
    objects: Arc<dyn Objects>,
    lease: ObjectRef,
    holder: String,
    token: u64,
    duration: Duration,
    renewed: Mutex<Instant>,
}

fn lost(lease: &ObjectRef) -> SkillError {
    SkillError::failed(format!(
        "{lease} was lost to another rollback, so nothing more is written"
    ))
}

impl Grip {
    /// Takes a Lease for a rollback. One that this rollback held before a crash is taken up again, under a higher token.
    ///
    /// # Errors
    /// `Failed` when another rollback holds it, `Unavailable` when the cluster does not answer.
    pub async fn take(
        context: &Context,
        objects: Arc<dyn Objects>,
        lease: ObjectRef,
        (holder, duration): (&str, Duration),
    ) -> Result<Self, SkillError> {
        for _ in 0..ATTEMPTS {
            let live = objects.get(&lease).await?;
            let read = live.as_ref().map(read);
            let spec = |token: u64| spec(holder, token, duration, true);
            let call = ToolCall::write("kubernetes.patch", [lease.to_string()]);
            let token = match (take(read.as_ref(), holder, OffsetDateTime::now_utc()), read) {
                (Take::Busy, read) => {
                    let holder = read.map(|lease| lease.holder).unwrap_or_default();
                    return Err(SkillError::failed(format!(
                        "rollback {holder} holds {lease}"
                    )));
                }
                (Take::Update { token }, Some(read)) => {
                    let patch = spec(token);
                    let merge = objects.merge(&lease, &read.resource_version, &patch);
                    let written = context.tool(call, merge).await?;
                    written.map(|_| token)
                }
                (Take::Create | Take::Update { .. }, _) => {
                    let mut body = spec(1);
                    set_names(&mut body, &lease);
                    let created = context.tool(call, objects.create_lease(&lease, &body));
                    created.await?.then_some(1)
                }
            };
            if let Some(token) = token {
                return Ok(Self {
                    objects,
                    lease,
                    holder: holder.to_owned(),
                    token,
                    duration,
                    renewed: Mutex::new(Instant::now()),
                });
            }
        }
        Err(SkillError::failed(format!("{lease} kept changing")))
    }

    /// The fencing token: it grows with every holder.
    pub fn token(&self) -> u64 {
        self.token
    }

    /// Makes sure that it is still held: to be called before every write.
    ///
    /// # Errors
    /// `Failed` when another rollback has it.
    pub async fn check(&self, context: &Context) -> Result<(), SkillError> {
        let mut renewed = self.renewed.lock().await;
        if renewed.elapsed() < self.duration / 3 {
            return Ok(());
        }
        self.renew(context, self.renewal()).await?;
        *renewed = Instant::now();
        Ok(())
    }

    /// Renews it for as long as it is polled; resolves when it is lost.
    pub async fn keep(&self, context: &Context) -> SkillError {
        let mut failing: Option<Instant> = None;
        loop {
            sleep(self.duration / 3).await;
            match self.check(context).await {
                Ok(()) => failing = None,
                // It may still be ours: its time runs until somebody else takes it, and writes are checked again.
                Err(SkillError::Unavailable { .. })
                    if failing.get_or_insert_with(Instant::now).elapsed() < self.duration => {}
                Err(error) => return error,
            }
        }
    }

    /// Lets it go. One that was lost is left alone.
    ///
    /// # Errors
    /// `Unavailable` when the cluster does not answer; then its time runs out.
    pub async fn release(&self, context: &Context) -> Result<(), SkillError> {
        let free = json!({"spec": {"holderIdentity": "", "renewTime": Value::Null}});
        match self.renew(context, free).await {
            Err(SkillError::Failed { .. }) => Ok(()),
            result => result,
        }
    }

    fn renewal(&self) -> Value {
        spec(&self.holder, self.token, self.duration, false)
    }

    async fn renew(&self, context: &Context, patch: Value) -> Result<(), SkillError> {
        for _ in 0..ATTEMPTS {
            let live = self.objects.get(&self.lease).await?;
            let read = live.as_ref().map(read);
            let Some(read) = read.filter(|read| holds(Some(read), &self.holder, self.token)) else {
                return Err(lost(&self.lease));
            };
            let call = ToolCall::write("kubernetes.patch", [self.lease.to_string()]);
            let merge = self
                .objects
                .merge(&self.lease, &read.resource_version, &patch);
            if context.tool(call, merge).await?.is_some() {
                return Ok(());
            }
        }
        Err(lost(&self.lease))
    }
}

fn read(live: &Value) -> Lease {
    let seconds = live
        .pointer("/spec/leaseDurationSeconds")
        .and_then(Value::as_i64);
    let renewed = text(live, "/spec/renewTime");
    Lease {
        holder: text(live, "/spec/holderIdentity")
            .unwrap_or_default()
            .to_owned(),
        transitions: live
            .pointer("/spec/leaseTransitions")
            .and_then(Value::as_u64)
            .unwrap_or_default(),
        renewed: renewed.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok()),
        duration: time::Duration::seconds(seconds.unwrap_or_default()),
        resource_version: text(live, "/metadata/resourceVersion")
            .unwrap_or_default()
            .to_owned(),
    }
}

fn spec(holder: &str, token: u64, duration: Duration, acquired: bool) -> Value {
    let now = micro_time(OffsetDateTime::now_utc());
    let mut spec = json!({
        "holderIdentity": holder,
        "leaseTransitions": token,
        "leaseDurationSeconds": duration.as_secs().max(1),
        "renewTime": now,
    });
    if acquired && let Some(members) = spec.as_object_mut() {
        members.insert("acquireTime".to_owned(), now.into());
    }
    json!({"spec": spec})
}

/// Kubernetes reads and writes these times with exactly six digits of a second.
fn micro_time(now: OffsetDateTime) -> String {
    let whole = now.replace_nanosecond(0).unwrap_or(now);
    let text = whole.format(&Rfc3339).unwrap_or_default();
    format!(
        "{}.{:06}Z",
        text.trim_end_matches('Z'),
        now.nanosecond() / 1000
    )
}

fn set_names(body: &mut Value, lease: &ObjectRef) {
    if let Some(members) = body.as_object_mut() {
        members.insert("apiVersion".to_owned(), json!(lease.api_version));
        members.insert("kind".to_owned(), json!(lease.kind));
        let metadata = json!({"name": lease.name, "namespace": lease.namespace});
        members.insert("metadata".to_owned(), metadata);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_six_digits() {
        let at = |nanoseconds| {
            let time = OffsetDateTime::from_unix_timestamp_nanos(nanoseconds).unwrap();
            micro_time(time)
        };
        assert_eq!(at(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(1_500_012_345), "1970-01-01T00:00:01.500012Z");
    }
}
