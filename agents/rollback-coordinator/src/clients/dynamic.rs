//! Objects of any kind, for what a rollback takes back beside the workload itself.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use cluster::{
    Cluster, ClusterError, Options, Patch,
    kube::{
        self, Api, Client,
        api::{DeleteParams, ListParams, PostParams},
        core::{ApiResource, DynamicObject, GroupVersionKind},
        discovery::{self, Scope},
    },
};
use serde_json::Value;
use shared::SkillError;

use crate::domain::helm::{Object, ObjectId};

/// Field manager of this agent's writes.
pub const MANAGER: &str = "rollback-coordinator";

/// One object of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Which.
    pub id: ObjectId,
    /// Version of its API group.
    pub version: String,
}

impl Place {
    /// An object by its `group/version`, its kind, and its namespace and name.
    pub fn new(api_version: &str, kind: &str, (namespace, name): (&str, &str)) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self {
            id: ObjectId {
                group: group.into(),
                kind: kind.into(),
                namespace: namespace.into(),
                name: name.into(),
            },
            version: version.into(),
        }
    }

    /// How audit records name it.
    pub fn resource(&self) -> String {
        let ObjectId {
            kind,
            namespace,
            name,
            ..
        } = &self.id;
        format!("{}s/{namespace}/{name}", kind.to_lowercase())
    }

    fn gvk(&self) -> GroupVersionKind {
        GroupVersionKind::gvk(&self.id.group, &self.version, &self.id.kind)
    }
}

impl From<&Object> for Place {
    fn from(object: &Object) -> Self {
        Self {
            id: object.id.clone(),
            version: object.version.clone(),
        }
    }
}

/// A change of one object.
#[derive(Debug, Clone, PartialEq)]
pub enum Write {
    /// Makes it.
    Create(Value),
    /// Changes what was read under a version.
    Patch {
        /// The change.
        patch: Patch,
        /// The version that was read; without one whatever is there is changed.
        seen: Option<String>,
    },
    /// Takes it away, with what it owns.
    Delete {
        /// The version that was read.
        seen: Option<String>,
    },
}

impl Write {
    /// The action's name in audit records.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Create(_) => "kubernetes.create",
            Self::Patch { .. } => "kubernetes.patch",
            Self::Delete { .. } => "kubernetes.delete",
        }
    }
}

/// Who writes, and whether the server only checks it.
#[derive(Debug, Clone, Copy)]
pub struct Hand {
    /// Who is named in `managedFields`.
    pub manager: &'static str,
    /// Whether nothing is kept.
    pub dry_run: bool,
}

/// What came of a write.
#[derive(Debug, Clone, PartialEq)]
pub enum Written {
    /// It is done; the object as the server has it, or `Null` after a deletion.
    Done(Value),
    /// Somebody else wrote in between, it exists already, or it is gone.
    Conflict,
}

/// Reads and writes objects of any kind.
#[async_trait::async_trait]
pub trait DynamicObjects: std::fmt::Debug + Send + Sync + 'static {
    /// An object, if it is there. A kind that the cluster does not have has no objects.
    async fn get(&self, place: &Place) -> Result<Option<Value>, SkillError>;
    /// All objects of a place's kind in its namespace with some labels (`a=b,c=d`, or all when empty).
    async fn list(&self, place: &Place, labels: &str) -> Result<Vec<Value>, SkillError>;
    /// Changes one object.
    async fn write(&self, place: &Place, write: &Write, hand: Hand) -> Result<Written, SkillError>;
}

/// [`DynamicObjects`] of a real or embedded cluster.
#[derive(Debug)]
pub struct KubeDynamicObjects {
    cluster: Cluster,
    kinds: Mutex<HashMap<GroupVersionKind, Option<ApiResource>>>,
}

impl KubeDynamicObjects {
    /// Objects of a cluster. Nobody is called before the first use.
    pub fn new(cluster: Cluster) -> Self {
        Self {
            cluster,
            kinds: Mutex::default(),
        }
    }

    async fn client(&self) -> Result<Client, SkillError> {
        self.cluster.client().await.map_err(super::kubernetes_error)
    }

    /// How the cluster calls a kind; `None` when it does not have it.
    async fn resource(&self, place: &Place) -> Result<Option<ApiResource>, SkillError> {
        let gvk = place.gvk();
        let known = |kinds: &Mutex<HashMap<_, Option<ApiResource>>>| {
            let kinds = kinds.lock().unwrap_or_else(PoisonError::into_inner);
            kinds.get(&gvk).cloned()
        };
        if let Some(found) = known(&self.kinds) {
            return Ok(found);
        }
        let found = match discovery::pinned_kind(&self.client().await?, &gvk).await {
            Ok((_, capabilities)) if capabilities.scope == Scope::Cluster => {
                return Err(SkillError::failed(format!(
                    "{} belongs to no namespace, so this agent may not touch it",
                    place.id
                )));
            }
            Ok((resource, _)) => Some(resource),
            Err(kube::Error::Discovery(_)) => return Ok(None),
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(None),
            Err(error) => return Err(failed(place, error)),
        };
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.insert(gvk, found.clone());
        Ok(found)
    }

    async fn api(&self, place: &Place) -> Result<Option<Api<DynamicObject>>, SkillError> {
        let Some(resource) = self.resource(place).await? else {
            return Ok(None);
        };
        let client = self.client().await?;
        Ok(Some(Api::namespaced_with(
            client,
            &place.id.namespace,
            &resource,
        )))
    }
}

/// What the server said, without its sentence about a Secret: that may hold a part of it.
fn failed(place: &Place, error: kube::Error) -> SkillError {
    match error {
        kube::Error::Api(status) if matches!(status.code, 401 | 403) => SkillError::Denied(
            format!("not allowed to change {}: {}", place.id, status.message),
        ),
        kube::Error::Api(status) if place.id.kind == "Secret" => SkillError::failed(format!(
            "the API server refuses {}: {}",
            place.id, status.reason
        )),
        kube::Error::Api(status) => SkillError::failed(format!(
            "the API server refuses {}: {}",
            place.id, status.message
        )),
        other => SkillError::unavailable("kubernetes", other),
    }
}

fn patched(place: &Place, error: ClusterError) -> Result<Written, SkillError> {
    match error {
        ClusterError::Conflict { .. } | ClusterError::NotFound { .. } => Ok(Written::Conflict),
        ClusterError::Invalid { .. } if place.id.kind == "Secret" => Err(SkillError::failed(
            format!("the API server refuses {}: Invalid", place.id),
        )),
        error => Err(super::kubernetes_error(error)),
    }
}

fn settled<T: serde::Serialize>(
    place: &Place,
    result: Result<T, kube::Error>,
) -> Result<Written, SkillError> {
    match result {
        Ok(object) => Ok(Written::Done(
            serde_json::to_value(object).unwrap_or_default(),
        )),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(Written::Conflict),
        Err(error) => Err(failed(place, error)),
    }
}

#[async_trait::async_trait]
impl DynamicObjects for KubeDynamicObjects {
    async fn get(&self, place: &Place) -> Result<Option<Value>, SkillError> {
        let Some(api) = self.api(place).await? else {
            return Ok(None);
        };
        let found = api.get_opt(&place.id.name).await;
        let found = found.map_err(|error| failed(place, error))?;
        Ok(found.map(|object| serde_json::to_value(object).unwrap_or_default()))
    }

    async fn list(&self, place: &Place, labels: &str) -> Result<Vec<Value>, SkillError> {
        let Some(api) = self.api(place).await? else {
            return Ok(Vec::new());
        };
        let found = match api.list(&ListParams::default().labels(labels)).await {
            Ok(found) => found,
            // Defined, but not served yet or not any more.
            Err(kube::Error::Api(status)) if status.code == 404 => return Ok(Vec::new()),
            Err(error) => return Err(failed(place, error)),
        };
        let objects = found.items.into_iter();
        Ok(objects
            .map(|object| serde_json::to_value(object).unwrap_or_default())
            .collect())
    }

    async fn write(&self, place: &Place, write: &Write, hand: Hand) -> Result<Written, SkillError> {
        let (Some(resource), Some(api)) = (self.resource(place).await?, self.api(place).await?)
        else {
            return Err(SkillError::failed(format!(
                "the cluster does not have the kind of {}",
                place.id
            )));
        };
        let name = &place.id.name;
        match write {
            Write::Create(object) => {
                let params = PostParams {
                    dry_run: hand.dry_run,
                    field_manager: Some(hand.manager.into()),
                };
                let object = serde_json::from_value(object.clone())
                    .map_err(|_| SkillError::failed(format!("{} is no object", place.id)))?;
                settled(place, api.create(&params, &object).await)
            }
            Write::Patch { patch, seen } => {
                let options = Options {
                    dry_run: hand.dry_run,
                    resource_version: seen.clone(),
                    field_manager: Some(hand.manager.into()),
                };
                let at = (Some(place.id.namespace.as_str()), name.as_str());
                let done = self
                    .cluster
                    .patch_dynamic(&resource, at, patch, &options)
                    .await;
                done.map_or_else(
                    |error| patched(place, error),
                    |object| settled(place, Ok(object)),
                )
            }
            Write::Delete { seen } => {
                let mut params = DeleteParams::background();
                params.dry_run = hand.dry_run;
                params.preconditions = seen.clone().map(|version| kube::api::Preconditions {
                    resource_version: Some(version),
                    uid: None,
                });
                let done = api.delete(name, &params).await;
                settled(place, done.map(|_| Value::Null))
            }
        }
    }
}
