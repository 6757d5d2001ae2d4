//! Takes a Helm release back with its workload, as `helm rollback` would, so that Helm agrees with the cluster.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use cluster::Patch;
use serde_json::{Value, json};
use shared::{Context, SkillError, ToolCall};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    clients::dynamic::{DynamicObjects, Hand, Place, Write, Written},
    domain::helm::{
        Action, Difference, End, Member, Object, Record, ReleasePlan, fields,
        merge::{merge_patch, three_way},
        record::{CLAIM_ANNOTATION, RECORD_TYPE},
        release::{self, ended},
    },
    handover::hand_back,
};

/// Tries of a write that somebody else's write got in the way of.
const ATTEMPTS: u32 = 5;
/// Annotation by which a chart keeps an object that leaves it.
const POLICY: &str = "/metadata/annotations/helm.sh~1resource-policy";

/// Takes releases back.
#[derive(Debug, Clone)]
pub struct Releases(pub Arc<dyn DynamicObjects>);

/// A record with the Secret that it came from.
#[derive(Debug, Clone)]
struct Kept {
    record: Record,
    seen: Option<String>,
}

fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> SkillError {
    SkillError::failed_with("cannot read the records of the Helm release", error)
}

fn record_place(namespace: &str, name: &str) -> Place {
    Place::new("v1", "Secret", (namespace, name))
}

fn text<'a>(object: &'a Value, pointer: &str) -> Option<&'a str> {
    object.pointer(pointer)?.as_str()
}

fn version(object: &Value) -> Option<String> {
    text(object, "/metadata/resourceVersion").map(str::to_owned)
}

fn kept(secret: &Value) -> Result<Kept, SkillError> {
    let labels: BTreeMap<String, String> = secret
        .pointer("/metadata/labels")
        .and_then(|labels| serde_json::from_value(labels.clone()).ok())
        .unwrap_or_default();
    let data = text(secret, "/data/release").unwrap_or_default();
    let data = STANDARD.decode(data).map_err(unreadable)?;
    Ok(Kept {
        record: Record::read(&labels, &data).map_err(unreadable)?,
        seen: version(secret),
    })
}

impl Releases {
    /// What a rollback of a workload does to its release, and that this agent may do it.
    ///
    /// # Errors
    /// Why there must be no rollback.
    pub async fn plan(
        &self,
        context: &Context,
        member: &Member<'_>,
    ) -> Result<Option<ReleasePlan>, SkillError> {
        let call = ToolCall::read(
            "kubernetes.list",
            [format!("secrets/{}/{}", member.namespace, member.release)],
        );
        let history = context
            .tool(call, self.history(member.namespace, member.release))
            .await?;
        let records: Vec<Record> = history.into_iter().map(|kept| kept.record).collect();
        let refused = |refusal: release::ReleaseRefusal| {
            SkillError::failed(format!("no rollback: {refusal}"))
        };
        let Some(plan) = release::plan(&records, member).map_err(refused)? else {
            return Ok(None);
        };
        let (from, to) = pair(&records, &plan)?;
        let all = release::others(from, to, &plan.workload).map_err(unreadable)?;
        for one in all {
            self.bring(context, &plan, &one, true).await?;
        }
        Ok(Some(plan))
    }

    async fn history(&self, namespace: &str, release: &str) -> Result<Vec<Kept>, SkillError> {
        let labels = format!("owner=helm,name={release}");
        let secrets = self
            .0
            .list(&record_place(namespace, "any"), &labels)
            .await?;
        let records = secrets
            .iter()
            .filter(|secret| text(secret, "/type").is_none_or(|kind| kind == RECORD_TYPE));
        records.map(kept).collect()
    }

    async fn records(&self, plan: &ReleasePlan) -> Result<Vec<Record>, SkillError> {
        let history = self.history(&plan.namespace, &plan.release).await?;
        Ok(history.into_iter().map(|kept| kept.record).collect())
    }

    /// Writes the record that Helm begins a rollback with. From here on Helm refuses to work on the release; if Helm
    /// was faster, there is no rollback.
    ///
    /// # Errors
    /// `Failed` when the release moved on since the plan.
    pub async fn claim(
        &self,
        context: &Context,
        plan: &ReleasePlan,
        rollback_id: &str,
    ) -> Result<(), SkillError> {
        let records = self.records(plan).await?;
        let (from, to) = pair(&records, plan)?;
        let now = OffsetDateTime::now_utc();
        let stamp = now.format(&Rfc3339).unwrap_or_default();
        let record = Record::rollback(from, to, &stamp);
        let secret = record
            .secret(rollback_id, now.unix_timestamp())
            .map_err(unreadable)?;
        let place = record_place(&plan.namespace, &record.key());
        match self
            .write(context, &place, &Write::Create(secret), fields::HELM)
            .await?
        {
            Written::Done(_) => Ok(()),
            Written::Conflict if self.is_claimed(&place, rollback_id).await? => Ok(()),
            Written::Conflict => Err(SkillError::failed(format!(
                "Helm wrote revision {} of release {} in between",
                plan.new_revision, plan.release
            ))),
        }
    }

    async fn is_claimed(&self, place: &Place, rollback_id: &str) -> Result<bool, SkillError> {
        let secret = self.0.get(place).await?.unwrap_or_default();
        let annotations = secret.pointer("/metadata/annotations");
        let claim = annotations.and_then(|all| all.get(CLAIM_ANNOTATION));
        Ok(claim.is_some_and(|claim| claim == rollback_id))
    }

    /// Takes back [`Releases::claim`]: nothing of the release was changed.
    ///
    /// # Errors
    /// When the cluster does not answer.
    pub async fn unclaim(
        &self,
        context: &Context,
        plan: &ReleasePlan,
        rollback_id: &str,
    ) -> Result<(), SkillError> {
        let name = format!("sh.helm.release.v1.{}.v{}", plan.release, plan.new_revision);
        let place = record_place(&plan.namespace, &name);
        if !self.is_claimed(&place, rollback_id).await? {
            return Ok(());
        }
        let delete = Write::Delete { seen: None };
        self.write(context, &place, &delete, fields::HELM)
            .await
            .map(drop)
    }

    /// Brings the other objects of the release to the target: what is missing is made, what differs is changed. What
    /// only the bad revision has goes at the end, once nothing uses it.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub async fn restore_others(
        &self,
        context: &Context,
        plan: &ReleasePlan,
    ) -> Result<(), SkillError> {
        for one in self.others(plan).await? {
            if one.action() != Action::Remove {
                self.bring(context, plan, &one, false).await?;
            }
        }
        Ok(())
    }

    /// Takes back [`Releases::restore_others`].
    ///
    /// # Errors
    /// When the cluster refuses.
    pub async fn undo_others(
        &self,
        context: &Context,
        plan: &ReleasePlan,
    ) -> Result<(), SkillError> {
        for one in self.others(plan).await?.into_iter().rev() {
            if one.action() != Action::Remove {
                self.bring(context, plan, &one.reversed(), false).await?;
            }
        }
        Ok(())
    }

    async fn others(&self, plan: &ReleasePlan) -> Result<Vec<Difference>, SkillError> {
        let records = self.records(plan).await?;
        let (from, to) = pair(&records, plan)?;
        release::others(from, to, &plan.workload).map_err(unreadable)
    }

    /// Brings the workload itself to the target's manifest, with this many pods if the manifest speaks of them.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub async fn restore_workload(
        &self,
        context: &Context,
        plan: &ReleasePlan,
        replicas: u32,
    ) -> Result<(), SkillError> {
        let records = self.records(plan).await?;
        let (from, to) = pair(&records, plan)?;
        let mut workload = release::workload(from, to, &plan.workload).map_err(unreadable)?;
        let number =
            |object: &Option<Object>| object.as_ref()?.body.pointer("/spec/replicas")?.as_u64();
        let (before, after) = (number(&workload.before), number(&workload.after));
        // Somebody scaled it since Helm brought it in, or this rollback did: that number counts.
        let scaled = before == after || before != Some(u64::from(replicas));
        if let (Some(object), true) = (&mut workload.after, scaled)
            && let Some(place) = object.body.pointer_mut("/spec/replicas")
        {
            *place = json!(replicas);
        }
        self.bring(context, plan, &workload, false).await
    }

    /// Writes down how it ended, takes away what only the bad revision had, and gives Helm the fields back that this
    /// agent wrote.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub async fn finish(
        &self,
        context: &Context,
        plan: &ReleasePlan,
        end: End<'_>,
    ) -> Result<(), SkillError> {
        if end == End::Deployed {
            for one in self.others(plan).await? {
                if one.action() == Action::Remove {
                    self.bring(context, plan, &one, false).await?;
                }
            }
        }
        if plan.server_side {
            let id = plan.workload.clone();
            let version = if id.group == "apps" { "v1" } else { "v1alpha1" }.to_owned();
            hand_back(&*self.0, context, &Place { id, version }).await?;
        }
        for _ in 0..ATTEMPTS {
            let history = self.history(&plan.namespace, &plan.release).await?;
            let records: Vec<Record> = history.iter().map(|one| one.record.clone()).collect();
            let mut all = Vec::new();
            for record in ended(&records, plan, end) {
                all.push(self.update(context, plan, &history, &record).await?);
            }
            if !all.contains(&Written::Conflict) {
                return Ok(());
            }
        }
        Err(SkillError::failed("Helm's records kept changing"))
    }

    async fn update(
        &self,
        context: &Context,
        plan: &ReleasePlan,
        history: &[Kept],
        record: &Record,
    ) -> Result<Written, SkillError> {
        let same = |one: &&Kept| one.record.version == record.version;
        let seen = history.iter().find(same).and_then(|one| one.seen.clone());
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let patch = Patch::Merge(record.update(now).map_err(unreadable)?);
        let place = record_place(&plan.namespace, &record.key());
        self.write(context, &place, &Write::Patch { patch, seen }, fields::HELM)
            .await
    }

    async fn write(
        &self,
        context: &Context,
        place: &Place,
        write: &Write,
        manager: &'static str,
    ) -> Result<Written, SkillError> {
        let call = ToolCall::write(write.action(), [place.resource()]);
        let hand = Hand {
            manager,
            dry_run: false,
        };
        context.tool(call, self.0.write(place, write, hand)).await
    }

    /// Brings one object from one manifest to the other, as Helm does; what is so already stays.
    async fn bring(
        &self,
        context: &Context,
        plan: &ReleasePlan,
        difference: &Difference,
        dry_run: bool,
    ) -> Result<(), SkillError> {
        let Some(object) = difference.after.as_ref().or(difference.before.as_ref()) else {
            return Ok(());
        };
        let place = Place::from(object);
        for _ in 0..ATTEMPTS {
            let live = self.0.get(&place).await?;
            let Some(write) = next_write(plan, difference, live.as_ref()) else {
                return Ok(());
            };
            let hand = Hand {
                manager: fields::HELM,
                dry_run,
            };
            let call = ToolCall::write(write.action(), [place.resource()]);
            let written = if dry_run {
                self.0.write(&place, &write, hand).await?
            } else {
                context
                    .tool(call, self.0.write(&place, &write, hand))
                    .await?
            };
            let again = written == Written::Conflict || is_upgrade(&write) && !dry_run;
            if !again {
                return Ok(());
            }
        }
        Err(SkillError::failed(format!("{} kept changing", place.id)))
    }
}

/// The records that a plan is about.
fn pair<'a>(
    records: &'a [Record],
    plan: &ReleasePlan,
) -> Result<(&'a Record, &'a Record), SkillError> {
    let find = |version: u64| {
        let found = records.iter().find(|record| record.version == version);
        found.ok_or_else(|| {
            SkillError::failed(format!(
                "revision {version} of Helm release {} is gone",
                plan.release
            ))
        })
    };
    Ok((find(plan.from_revision)?, find(plan.to_revision)?))
}

/// The next write that brings an object from one manifest to the other; `None` when there is nothing left to do.
fn next_write(plan: &ReleasePlan, difference: &Difference, live: Option<&Value>) -> Option<Write> {
    let Some(after) = &difference.after else {
        let live = live.filter(|live| text(live, POLICY) != Some("keep"))?;
        return Some(Write::Delete {
            seen: version(live),
        });
    };
    let body = after.owned_by(&plan.release, &plan.namespace);
    let Some(live) = live else {
        let apply = Write::Patch {
            patch: Patch::Apply(body.clone()),
            seen: None,
        };
        return Some(if plan.server_side {
            apply
        } else {
            Write::Create(body)
        });
    };
    if plan.server_side {
        let managed = live
            .pointer("/metadata/managedFields")
            .cloned()
            .unwrap_or_default();
        let patch =
            fields::upgraded(&managed).map(|fields| Patch::Json(fields::operations(&fields)));
        let seen = patch.as_ref().and_then(|_| version(live));
        let patch = patch.unwrap_or(Patch::Apply(body));
        return Some(Write::Patch { patch, seen });
    }
    let original = difference
        .before
        .as_ref()
        .map(|before| before.owned_by(&plan.release, &plan.namespace));
    let merged = three_way(
        &original.unwrap_or_default(),
        &body,
        live,
        after.is_builtin(),
    );
    let patch = Patch::Merge(merge_patch(live, &merged)?);
    Some(Write::Patch {
        patch,
        seen: version(live),
    })
}

/// Whether a write only prepares the next one.
fn is_upgrade(write: &Write) -> bool {
    matches!(
        write,
        Write::Patch {
            patch: Patch::Json(_),
            ..
        }
    )
}
