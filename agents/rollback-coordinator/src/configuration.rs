//! Keeps the `ConfigMaps` and Secrets that healthy revisions run with, and puts them back.

mod restore;

pub use restore::Planned;

use std::sync::Arc;

use cluster::Patch;
use serde_json::{Value, json};
use shared::{Context, SkillError, ToolCall, digest};
use store::{Entry, Write as Put};

use crate::{
    clients::dynamic::{DynamicObjects, Hand, MANAGER, Place, Write, Written},
    domain::{
        Revision, Workload,
        config::{self, COPY_LABEL, ConfigKind, Kept, MAX_BYTES, MAX_REFERENCES, Owner, Reference},
    },
    history::History,
};

/// What revisions were kept with.
const COLLECTION: &str = "kept_configuration";
/// Label of a copy of what a rollback replaces, with the rollback's id.
const ROLLBACK_LABEL: &str = "ossa.io/rollback-id";
/// Tries of a write that somebody else's write got in the way of.
const ATTEMPTS: u32 = 5;

/// Keeps and restores configuration.
#[derive(Debug, Clone)]
pub struct Configuration {
    /// The cluster.
    pub objects: Arc<dyn DynamicObjects>,
    /// The agent's memory: hashes only.
    pub history: History,
}

fn key(workload: &Workload, revision: &Revision) -> String {
    format!("{}/{}", workload.uid, revision.name)
}

fn place(reference: &Reference, namespace: &str) -> Place {
    Place::new("v1", reference.kind.word(), (namespace, &reference.name))
}

fn copy_place(reference: &Reference, namespace: &str, hash: &str) -> Place {
    let name = config::copy_name(reference, hash);
    Place::new("v1", reference.kind.word(), (namespace, &name))
}

fn owner(workload: &Workload) -> Owner {
    let (group, version) = workload.id.kind.api();
    Owner {
        api_version: format!("{group}/{version}"),
        kind: workload.id.kind.as_str().into(),
        name: workload.id.name.clone(),
        uid: workload.uid.clone(),
    }
}

fn version(object: &Value) -> Option<String> {
    let found = object.pointer("/metadata/resourceVersion")?.as_str()?;
    Some(found.to_owned())
}

fn hash(object: &Value) -> String {
    digest::of_json(&config::content(object))
}

impl Configuration {
    async fn write(
        &self,
        context: &Context,
        place: &Place,
        write: &Write,
    ) -> Result<Written, SkillError> {
        let call = ToolCall::write(write.action(), [place.resource()]);
        let hand = Hand {
            manager: MANAGER,
            dry_run: false,
        };
        context
            .tool(call, self.objects.write(place, write, hand))
            .await
    }

    async fn kept(&self, key: &str) -> Result<Option<Vec<Kept>>, SkillError> {
        let found = self.history.0.get(COLLECTION, key).await;
        let found = found.map_err(|e| SkillError::unavailable("store", e))?;
        Ok(found.and_then(|entry| serde_json::from_slice(&entry.body).ok()))
    }

    /// Keeps what the newest revision of a workload runs with, once, when all its pods are ready.
    ///
    /// # Errors
    /// When the cluster or the store does not answer.
    pub async fn keep(&self, context: &Context, workload: &Workload) -> Result<(), SkillError> {
        let Some(revision) = workload.current().filter(|revision| {
            !workload.paused && workload.replicas > 0 && revision.ready >= workload.replicas
        }) else {
            return Ok(());
        };
        let key = key(workload, revision);
        let references = config::references(&revision.template);
        if references.is_empty() || self.kept(&key).await?.is_some() {
            return Ok(());
        }
        let found = self.found(&references, &workload.id.namespace).await?;
        let bytes: usize = found
            .iter()
            .flatten()
            .map(|object| config::size(&config::content(object)))
            .sum();
        if references.len() > MAX_REFERENCES || bytes > MAX_BYTES {
            tracing::warn!(workload = %workload.id, bytes, "the configuration is too large to be kept");
            return Ok(());
        }
        let mut kept = Vec::new();
        for (reference, object) in references.into_iter().zip(found) {
            let hash = object.as_ref().map(hash);
            if let (Some(object), Some(hash)) = (&object, &hash) {
                self.copy(context, &reference, (object, hash), (workload, None))
                    .await?;
            }
            kept.push(Kept { reference, hash });
        }
        self.remember(key, &kept).await?;
        self.prune(context, workload).await
    }

    async fn remember(&self, key: String, kept: &[Kept]) -> Result<(), SkillError> {
        let entry = Entry {
            key,
            scope: String::new(),
            sort: String::new(),
            version: 0,
            body: serde_json::to_vec(kept).unwrap_or_default(),
        };
        let put = Put::Put {
            collection: COLLECTION,
            entry,
        };
        let done = self.history.0.submit(vec![put]).await;
        done.map_err(|e| SkillError::unavailable("store", e))
    }

    async fn found(
        &self,
        references: &[Reference],
        namespace: &str,
    ) -> Result<Vec<Option<Value>>, SkillError> {
        let mut found = Vec::new();
        for reference in references {
            found.push(self.objects.get(&place(reference, namespace)).await?);
        }
        Ok(found)
    }

    /// Makes a copy, or joins the owners of the one that is there.
    async fn copy(
        &self,
        context: &Context,
        reference: &Reference,
        (object, hash): (&Value, &str),
        (workload, rollback_id): (&Workload, Option<&str>),
    ) -> Result<(), SkillError> {
        let owner = owner(workload);
        let mut copy = config::copy(reference, object, hash, &owner);
        if let (Some(id), Some(labels)) = (
            rollback_id,
            copy.pointer_mut("/metadata/labels")
                .and_then(Value::as_object_mut),
        ) {
            labels.insert(ROLLBACK_LABEL.into(), id.into());
        }
        let place = copy_place(reference, &workload.id.namespace, hash);
        for _ in 0..ATTEMPTS {
            let there = self.objects.get(&place).await?;
            let write = match &there {
                None => Write::Create(copy.clone()),
                Some(there) if owner.owns(there) => return Ok(()),
                Some(there) => {
                    let add = json!({"op": "add", "path": "/metadata/ownerReferences/-", "value": owner.reference()});
                    Write::Patch {
                        patch: Patch::Json(vec![add]),
                        seen: version(there),
                    }
                }
            };
            if self.write(context, &place, &write).await? != Written::Conflict {
                return Ok(());
            }
        }
        Err(SkillError::failed(format!(
            "the copy of {reference} kept changing"
        )))
    }

    /// Takes copies away that no revision of the workload needs any more.
    async fn prune(&self, context: &Context, workload: &Workload) -> Result<(), SkillError> {
        let namespace = &workload.id.namespace;
        let mut needed = Vec::new();
        for revision in &workload.revisions {
            let kept = self
                .kept(&key(workload, revision))
                .await?
                .unwrap_or_default();
            needed.extend(
                kept.into_iter()
                    .filter_map(|one| Some(config::copy_name(&one.reference, &one.hash?))),
            );
        }
        for kind in [ConfigKind::ConfigMap, ConfigKind::Secret] {
            let all = Place::new("v1", kind.word(), (namespace, "any"));
            let labels = format!("{COPY_LABEL}={},!{ROLLBACK_LABEL}", kind.word());
            for copy in self.objects.list(&all, &labels).await? {
                let owners = copy
                    .pointer("/metadata/ownerReferences")
                    .and_then(Value::as_array)
                    .map_or(0, Vec::len);
                let name = copy
                    .pointer("/metadata/name")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                if owners == 1
                    && owner(workload).owns(&copy)
                    && !needed.iter().any(|one| one == name)
                {
                    let place = Place::new("v1", kind.word(), (namespace, name));
                    self.write(
                        context,
                        &place,
                        &Write::Delete {
                            seen: version(&copy),
                        },
                    )
                    .await?;
                }
            }
        }
        Ok(())
    }
}
