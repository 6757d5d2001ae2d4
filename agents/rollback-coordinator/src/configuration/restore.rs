//! Puts configuration back.

use cluster::Patch;
use serde_json::Value;
use shared::{Context, SkillError, ToolCall};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::{ATTEMPTS, Configuration, ROLLBACK_LABEL, copy_place, hash, key, place, version};
use crate::{
    clients::dynamic::{Place, Write, Written},
    domain::{
        Revision, Workload,
        config::{self, COPY_LABEL, ConfigChange, ConfigKind, Kept, Reference, Restore, restore},
    },
    handover::hand_back,
};

/// What a plan says about configuration.
#[derive(Debug, Default)]
pub struct Planned {
    /// What comes back.
    pub changes: Vec<ConfigChange>,
    /// Why, in sentences.
    pub reasons: Vec<String>,
}

impl Configuration {
    /// What has to come back for a revision, compared with what is there now.
    ///
    /// # Errors
    /// When the cluster or the store does not answer.
    pub async fn plan(
        &self,
        context: &Context,
        workload: &Workload,
        (from, to): (&Revision, &Revision),
    ) -> Result<Planned, SkillError> {
        let mut planned = Planned::default();
        let references = config::references(&to.template);
        if references.is_empty() {
            return Ok(planned);
        }
        let Some(kept) = self.kept(&key(workload, to)).await? else {
            let why = format!(
                "the configuration that revision {} ran with was not kept, so it stays as it is",
                to.number
            );
            planned.reasons.push(why);
            return Ok(planned);
        };
        let released = from
            .created
            .as_deref()
            .and_then(|at| OffsetDateTime::parse(at, &Rfc3339).ok());
        let call = ToolCall::read(
            "kubernetes.get",
            references
                .iter()
                .map(|one| place(one, &workload.id.namespace).resource()),
        );
        context
            .tool(call, async {
                for one in &kept {
                    self.plan_one(&workload.id.namespace, one, released, &mut planned)
                        .await?;
                }
                Ok(())
            })
            .await?;
        Ok(planned)
    }

    async fn plan_one(
        &self,
        namespace: &str,
        kept: &Kept,
        released: Option<OffsetDateTime>,
        planned: &mut Planned,
    ) -> Result<(), SkillError> {
        let reference = &kept.reference;
        let live = self.objects.get(&place(reference, namespace)).await?;
        let Some(wanted) = &kept.hash else {
            if live.is_some() {
                planned.reasons.push(format!("{reference} was not there when the target was healthy; it stays, since others may use it"));
            }
            return Ok(());
        };
        let now = live.as_ref().map(hash);
        if now.as_ref() == Some(wanted) {
            return Ok(());
        }
        if live
            .as_ref()
            .zip(released)
            .is_some_and(|(live, released)| config::is_older(live, released))
        {
            planned.reasons.push(format!(
                "{reference} was changed long before the bad release, so it stays"
            ));
            return Ok(());
        }
        let Some(copy) = self
            .objects
            .get(&copy_place(reference, namespace, wanted))
            .await?
        else {
            return Err(SkillError::failed(format!(
                "no rollback: {reference} differs from what the target ran with, and its copy is gone"
            )));
        };
        if hash(&copy) != *wanted {
            return Err(SkillError::failed(format!(
                "no rollback: the copy of {reference} is not what the target ran with"
            )));
        }
        let before = live.as_ref().map(config::content).unwrap_or_default();
        let change = ConfigChange::between(kept, (&before, &config::content(&copy)), now);
        planned
            .reasons
            .extend(change.as_ref().map(ConfigChange::reason));
        planned.changes.extend(change);
        Ok(())
    }

    /// Puts configuration back. What is there is kept first, so that [`Configuration::undo`] can bring it again.
    ///
    /// # Errors
    /// `Failed` when somebody changed it since the plan.
    pub async fn restore(
        &self,
        context: &Context,
        workload: &Workload,
        changes: &[ConfigChange],
        rollback_id: &str,
    ) -> Result<(), SkillError> {
        let namespace = &workload.id.namespace;
        for change in changes {
            let reference = &change.reference;
            if let Some(live) = self.objects.get(&place(reference, namespace)).await? {
                let now = hash(&live);
                if now == change.to {
                    continue;
                }
                if change.from.as_ref() != Some(&now) {
                    return Err(SkillError::failed(format!(
                        "{reference} was changed since the plan"
                    )));
                }
                self.copy(
                    context,
                    reference,
                    (&live, &now),
                    (workload, Some(rollback_id)),
                )
                .await?;
            }
            self.bring(context, namespace, reference, &change.to)
                .await?;
        }
        Ok(())
    }

    /// Takes back [`Configuration::restore`].
    ///
    /// # Errors
    /// When the cluster refuses.
    pub async fn undo(
        &self,
        context: &Context,
        namespace: &str,
        changes: &[ConfigChange],
    ) -> Result<(), SkillError> {
        for change in changes.iter().rev() {
            let place = place(&change.reference, namespace);
            let Some(live) = self.objects.get(&place).await? else {
                continue;
            };
            if hash(&live) != change.to {
                continue;
            }
            match &change.from {
                Some(from) => {
                    self.bring(context, namespace, &change.reference, from)
                        .await?;
                }
                None => drop(
                    self.write(
                        context,
                        &place,
                        &Write::Delete {
                            seen: version(&live),
                        },
                    )
                    .await?,
                ),
            }
        }
        Ok(())
    }

    /// Takes the copies away that only a rollback needed.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub async fn forget(
        &self,
        context: &Context,
        namespace: &str,
        rollback_id: &str,
    ) -> Result<(), SkillError> {
        for kind in [ConfigKind::ConfigMap, ConfigKind::Secret] {
            let all = Place::new("v1", kind.word(), (namespace, "any"));
            let labels = format!(
                "{COPY_LABEL}={},{ROLLBACK_LABEL}={rollback_id}",
                kind.word()
            );
            for copy in self.objects.list(&all, &labels).await? {
                let name = copy
                    .pointer("/metadata/name")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                let place = Place::new("v1", kind.word(), (namespace, name));
                self.write(context, &place, &Write::Delete { seen: None })
                    .await?;
            }
        }
        Ok(())
    }

    /// Brings an object to the content of a copy.
    async fn bring(
        &self,
        context: &Context,
        namespace: &str,
        reference: &Reference,
        hash: &str,
    ) -> Result<(), SkillError> {
        let gone = || SkillError::failed(format!("the copy of {reference} is gone"));
        let copy = self
            .objects
            .get(&copy_place(reference, namespace, hash))
            .await?
            .ok_or_else(gone)?;
        let place = place(reference, namespace);
        for _ in 0..ATTEMPTS {
            let live = self.objects.get(&place).await?;
            let seen = live.as_ref().and_then(version);
            let written = match restore(reference, &copy, live.as_ref()) {
                Restore::Nothing => return hand_back(&*self.objects, context, &place).await,
                Restore::Create(object) => {
                    self.write(context, &place, &Write::Create(object)).await?
                }
                Restore::Patch(patch) => {
                    let write = Write::Patch {
                        patch: Patch::Merge(patch),
                        seen,
                    };
                    self.write(context, &place, &write).await?
                }
                Restore::Replace(object) => match self
                    .write(context, &place, &Write::Delete { seen })
                    .await?
                {
                    Written::Done(_) => self.write(context, &place, &Write::Create(object)).await?,
                    Written::Conflict => Written::Conflict,
                },
            };
            // Once more round: it is looked at whether it is so now, and the fields are given back.
            drop(written);
        }
        Err(SkillError::failed(format!("{reference} kept changing")))
    }
}
