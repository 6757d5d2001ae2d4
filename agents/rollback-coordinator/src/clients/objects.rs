//! Objects of other controllers, and Leases.

use cluster::{
    Cluster, ClusterError, Options, Patch,
    kube::core::{ApiResource, DynamicObject},
};
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::Value;
use shared::SkillError;

use super::kubernetes::error;
use crate::domain::hold::ObjectRef;

/// What a rollback reads of and does to objects that are not workloads.
#[async_trait::async_trait]
pub trait Objects: std::fmt::Debug + Send + Sync + 'static {
    /// The objects of a kind in a namespace; none when the cluster does not know the kind.
    async fn list(&self, like: &ObjectRef) -> Result<Vec<Value>, SkillError>;
    /// An object; `None` when it or its kind is not there.
    async fn get(&self, object: &ObjectRef) -> Result<Option<Value>, SkillError>;
    /// Creates a Lease; `false` when there is one.
    async fn create_lease(&self, lease: &ObjectRef, body: &Value) -> Result<bool, SkillError>;
    /// Merges a patch into an object as it was read; `None` when somebody wrote in between or it is gone.
    async fn merge(
        &self,
        object: &ObjectRef,
        version: &str,
        patch: &Value,
    ) -> Result<Option<Value>, SkillError>;
}

/// [`Objects`] of a real or embedded cluster.
#[derive(Debug, Clone)]
pub struct KubernetesObjects(pub Cluster);

fn resource(object: &ObjectRef) -> ApiResource {
    let (group, version) = object
        .api_version
        .split_once('/')
        .unwrap_or(("", &object.api_version));
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: object.api_version.clone(),
        kind: object.kind.clone(),
        plural: object.plural.clone(),
    }
}

fn value(object: &DynamicObject) -> Result<Value, SkillError> {
    serde_json::to_value(object)
        .map_err(|error| SkillError::failed_with("cannot read an object", error))
}

fn options(version: Option<&str>) -> Options {
    Options {
        resource_version: version.map(str::to_owned),
        field_manager: Some("rollback-coordinator".into()),
        ..Options::default()
    }
}

#[async_trait::async_trait]
impl Objects for KubernetesObjects {
    async fn list(&self, like: &ObjectRef) -> Result<Vec<Value>, SkillError> {
        match self
            .0
            .list_dynamic(&resource(like), Some(&like.namespace))
            .await
        {
            Ok(objects) => objects.iter().map(value).collect(),
            Err(ClusterError::NotFound { .. }) => Ok(Vec::new()),
            Err(problem) => Err(error(problem)),
        }
    }

    async fn get(&self, object: &ObjectRef) -> Result<Option<Value>, SkillError> {
        let found = self
            .0
            .get_dynamic(&resource(object), Some(&object.namespace), &object.name)
            .await
            .map_err(error)?;
        found.as_ref().map(value).transpose()
    }

    async fn create_lease(&self, lease: &ObjectRef, body: &Value) -> Result<bool, SkillError> {
        match self
            .0
            .create::<Lease>(Some(&lease.namespace), body, &options(None))
            .await
        {
            Ok(_) => Ok(true),
            Err(ClusterError::Conflict { .. }) => Ok(false),
            Err(problem) => Err(error(problem)),
        }
    }

    async fn merge(
        &self,
        object: &ObjectRef,
        version: &str,
        patch: &Value,
    ) -> Result<Option<Value>, SkillError> {
        let names = (Some(object.namespace.as_str()), object.name.as_str());
        match self
            .0
            .patch_dynamic(
                &resource(object),
                names,
                &Patch::Merge(patch.clone()),
                &options(Some(version)),
            )
            .await
        {
            Ok(object) => value(&object).map(Some),
            Err(ClusterError::Conflict { .. } | ClusterError::NotFound { .. }) => Ok(None),
            Err(problem) => Err(error(problem)),
        }
    }
}
