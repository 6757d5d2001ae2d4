//! Brings manifests into the cluster.

use anyhow::Context as _;
use kube::{
    Api, Client,
    api::{Patch, PatchParams},
    core::{DynamicObject, GroupVersionKind, TypeMeta},
    discovery::{self, Scope},
};
use serde_json::Value;

use crate::ControlPlane;

/// Who is named in `managedFields`.
const MANAGER: &str = "test";

impl ControlPlane {
    /// Applies the objects of a YAML text as the administrator, in the order of the text, and returns what the server
    /// made of them.
    ///
    /// # Errors
    /// What the server says about the first object that it refuses.
    pub async fn apply(&self, yaml: &str) -> anyhow::Result<Vec<DynamicObject>> {
        self.apply_some(yaml, |_| true).await
    }

    /// Applies those objects of a YAML text whose kind is wanted.
    ///
    /// # Errors
    /// As [`ControlPlane::apply`].
    pub async fn apply_some(
        &self,
        yaml: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> anyhow::Result<Vec<DynamicObject>> {
        let client = self.client().await?;
        let documents: Vec<Value> = serde_saphyr::from_multiple(yaml)?;
        let mut applied = Vec::new();
        for document in documents.into_iter().filter(|one| !one.is_null()) {
            let object: DynamicObject = serde_json::from_value(document)?;
            let types = object.types.clone().context("an object without kind")?;
            if wanted(&types.kind) {
                applied.push(apply_one(&client, &types, &object).await?);
            }
        }
        Ok(applied)
    }

    /// Makes a namespace.
    ///
    /// # Errors
    /// What the server says when it refuses.
    pub async fn namespace(&self, name: &str) -> anyhow::Result<()> {
        let yaml = format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}");
        self.apply(&yaml).await.map(drop)
    }
}

async fn apply_one(
    client: &Client,
    types: &TypeMeta,
    object: &DynamicObject,
) -> anyhow::Result<DynamicObject> {
    let kind = GroupVersionKind::try_from(types)?;
    let (resource, capabilities) = discovery::pinned_kind(client, &kind).await?;
    let api: Api<DynamicObject> = match (&capabilities.scope, &object.metadata.namespace) {
        (Scope::Cluster, _) => Api::all_with(client.clone(), &resource),
        (Scope::Namespaced, Some(namespace)) => {
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
        (Scope::Namespaced, None) => Api::default_namespaced_with(client.clone(), &resource),
    };
    let name = object
        .metadata
        .name
        .clone()
        .context("an object without name")?;
    let params = PatchParams::apply(MANAGER).force();
    api.patch(&name, &params, &Patch::Apply(object))
        .await
        .with_context(|| format!("cannot apply {} {name}", types.kind))
}
