//! Roles, bindings and workloads of a cluster.

use std::fmt::Debug;

use async_trait::async_trait;
use cluster::{Cluster, ClusterError};
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment, StatefulSet},
    batch::v1::CronJob,
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use kube::Resource;
use serde::{Serialize, de::DeserializeOwned};
use shared::SkillError;

use crate::domain::rbac::Objects;

/// What was read of a cluster.
#[derive(Debug, Default)]
pub struct ClusterObjects {
    /// Roles, bindings and workloads.
    pub objects: Objects,
    /// Kinds that could not be listed, with the reason.
    pub missing: Vec<String>,
}

/// Where roles and bindings come from.
#[async_trait]
pub trait RbacSource: Debug + Send + Sync + 'static {
    /// Reads the cluster-scoped objects, and those of the namespaces (of all when empty).
    ///
    /// # Errors
    /// When access rules cannot be read: an audit without them would look clean.
    async fn read(&self, namespaces: &[String]) -> Result<ClusterObjects, SkillError>;
}

/// A Kubernetes cluster, or a snapshot of one.
#[derive(Debug, Clone)]
pub struct ClusterRbac {
    cluster: Cluster,
}

impl ClusterRbac {
    /// Reads from `cluster`.
    pub fn new(cluster: Cluster) -> Self {
        Self { cluster }
    }

    async fn list<K>(&self, namespace: Option<&str>, into: &mut Objects) -> Result<(), ClusterError>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Serialize,
    {
        for object in self.cluster.list::<K>(namespace).await? {
            let decode = || ClusterError::Decode {
                action: format!("list {}", K::plural(&())),
                kind: K::kind(&()).into_owned(),
            };
            let value = serde_json::to_value(object).map_err(|_| decode())?;
            into.add(&value).map_err(|_| decode())?;
        }
        Ok(())
    }

    /// Workloads only add to the picture: where they may not be listed, the answer says so.
    async fn workloads<K>(
        &self,
        namespace: Option<&str>,
        into: &mut ClusterObjects,
    ) -> Result<(), SkillError>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned + Serialize,
    {
        match self.list::<K>(namespace, &mut into.objects).await {
            Err(ClusterError::Denied { .. } | ClusterError::NotFound { .. }) => {
                into.missing.push(format!(
                    "{} of {}: not allowed or not served",
                    K::plural(&()),
                    namespace.unwrap_or("all namespaces")
                ));
                Ok(())
            }
            other => other.map_err(skill_error),
        }
    }
}

#[async_trait]
impl RbacSource for ClusterRbac {
    async fn read(&self, namespaces: &[String]) -> Result<ClusterObjects, SkillError> {
        let mut read = ClusterObjects::default();
        self.list::<ClusterRole>(None, &mut read.objects)
            .await
            .map_err(skill_error)?;
        self.list::<ClusterRoleBinding>(None, &mut read.objects)
            .await
            .map_err(skill_error)?;
        let everywhere = namespaces.is_empty().then_some(None);
        for namespace in namespaces
            .iter()
            .map(|namespace| Some(namespace.as_str()))
            .chain(everywhere)
        {
            self.list::<Role>(namespace, &mut read.objects)
                .await
                .map_err(skill_error)?;
            self.list::<RoleBinding>(namespace, &mut read.objects)
                .await
                .map_err(skill_error)?;
            self.workloads::<Deployment>(namespace, &mut read).await?;
            self.workloads::<StatefulSet>(namespace, &mut read).await?;
            self.workloads::<DaemonSet>(namespace, &mut read).await?;
            self.workloads::<CronJob>(namespace, &mut read).await?;
        }
        Ok(read)
    }
}

/// Whose turn it is after a cluster's refusal.
fn skill_error(error: ClusterError) -> SkillError {
    match &error {
        ClusterError::Denied { .. } => SkillError::Denied(error.to_string()),
        error if error.is_retryable() => SkillError::unavailable("kubernetes", error.to_string()),
        _ => SkillError::failed_with("cannot read roles and bindings", error),
    }
}

#[cfg(test)]
mod tests {
    use cluster::{ClusterArgs, ClusterSource};

    use super::*;

    #[tokio::test]
    async fn reads_roles_bindings_and_workloads_of_a_snapshot() {
        let folder = tempfile::tempdir().unwrap();
        let role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: r, namespace: NS}\nrules: [{apiGroups: [''], resources: [secrets], verbs: [get]}]\n";
        let cluster_role = "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: c}\nrules: []\n";
        let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\nspec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: b}}, spec: {containers: [{name: web, image: web}]}}}\n";
        std::fs::write(
            folder.path().join("all.yaml"),
            [
                &role.replace("NS", "shop"),
                &role.replace("NS", "other"),
                cluster_role,
                deployment,
            ]
            .join("---\n"),
        )
        .unwrap();
        let cluster = Cluster::connect(&ClusterArgs {
            cluster: ClusterSource::Snapshot(folder.path().into()),
        })
        .unwrap();
        let source = ClusterRbac::new(cluster);
        let count = async |namespaces: &[&str]| {
            let namespaces: Vec<String> = namespaces.iter().map(ToString::to_string).collect();
            let read = source.read(&namespaces).await.unwrap();
            (read.objects.roles.len(), read.objects.workloads.len())
        };
        assert_eq!(count(&[]).await, (3, 1));
        assert_eq!(count(&["shop"]).await, (2, 1));
        assert_eq!(count(&["other"]).await, (2, 0));
    }
}
