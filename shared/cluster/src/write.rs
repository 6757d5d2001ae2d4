use http::Method;
use http::header::{CONTENT_TYPE, HeaderValue};
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::core::{ApiResource, DynamicObject};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::cluster::{Cluster, action, check_name, escape, request};
use crate::error::ClusterError;

/// Field manager of a write that names none.
const FIELD_MANAGER: &str = "agent-mesh";

/// A change to one object.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// JSON Merge Patch (RFC 7396): objects merge, lists are replaced, `null` removes.
    Merge(Value),
    /// JSON Patch (RFC 6902): the list of operations.
    Json(Vec<Value>),
    /// Kubernetes' strategic merge: lists of containers, ports and the like merge by their key.
    Strategic(Value),
    /// Server-side apply of a whole object; takes over fields of other managers.
    Apply(Value),
}

/// What goes with a write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Lets the server check the write without keeping it.
    pub dry_run: bool,
    /// Refuses the write with [`ClusterError::Conflict`] unless the object still has this version.
    pub resource_version: Option<String>,
    /// Who is named in `managedFields`; `agent-mesh` without one.
    pub field_manager: Option<String>,
}

impl Options {
    fn query(&self, apply: bool) -> String {
        let manager = self.field_manager.as_deref().unwrap_or(FIELD_MANAGER);
        let dry_run = if self.dry_run { "&dryRun=All" } else { "" };
        let force = if apply { "&force=true" } else { "" };
        format!("fieldManager={}{dry_run}{force}", escape(manager))
    }
}

impl Cluster {
    /// Changes one object and returns what the server made of it.
    ///
    /// # Errors
    /// Any of [`ClusterError`]; `Conflict` when `options.resource_version` is no longer true.
    pub async fn patch<K>(
        &self,
        namespace: Option<&str>,
        name: &str,
        patch: &Patch,
        options: &Options,
    ) -> Result<K, ClusterError>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let kind = ApiResource::erase::<K>(&());
        let url = K::url_path(&(), namespace);
        let target = Target::new(&kind, &url, namespace, name);
        self.send_patch(&target, patch, options).await
    }

    /// Changes one object of a kind that is known at run time only.
    ///
    /// # Errors
    /// As [`Cluster::patch`].
    pub async fn patch_dynamic(
        &self,
        kind: &ApiResource,
        (namespace, name): (Option<&str>, &str),
        patch: &Patch,
        options: &Options,
    ) -> Result<DynamicObject, ClusterError> {
        let url = DynamicObject::url_path(kind, namespace);
        let target = Target::new(kind, &url, namespace, name);
        self.send_patch(&target, patch, options).await
    }

    /// Creates one object; it needs `apiVersion`, `kind` and `metadata.name`.
    ///
    /// # Errors
    /// Any of [`ClusterError`]; `Conflict` when it exists already.
    pub async fn create<K>(
        &self,
        namespace: Option<&str>,
        object: &Value,
        options: &Options,
    ) -> Result<K, ClusterError>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        let kind = ApiResource::erase::<K>(&());
        let action = action("create", &kind, namespace, None);
        let live = self.live(&action)?;
        check_name(&action, namespace)?;
        let url = format!("{}?{}", K::url_path(&(), namespace), options.query(false));
        let mut request = request(&action, Method::POST, &url, object.to_string().into())?;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        live.call(&action, &kind.kind, request).await
    }

    /// Deletes one object, and what it owns in the background.
    ///
    /// # Errors
    /// Any of [`ClusterError`]; `NotFound` when there is nothing to delete.
    pub async fn delete<K>(
        &self,
        namespace: Option<&str>,
        name: &str,
        options: &Options,
    ) -> Result<(), ClusterError>
    where
        K: Resource<DynamicType = ()>,
    {
        let kind = ApiResource::erase::<K>(&());
        let url = K::url_path(&(), namespace);
        let target = Target::new(&kind, &url, namespace, name);
        let action = target.action("delete");
        let live = self.live(&action)?;
        target.check(&action)?;
        let body = json!({
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "dryRun": if options.dry_run { json!(["All"]) } else { Value::Null },
            "preconditions": options.resource_version.as_ref().map(|v| json!({"resourceVersion": v})),
        });
        let mut request = request(
            &action,
            Method::DELETE,
            &target.url(),
            body.to_string().into(),
        )?;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        let _answer: Value = live.call(&action, "Status", request).await?;
        Ok(())
    }

    /// Evicts a pod: it is deleted if no disruption budget is broken by it.
    ///
    /// # Errors
    /// As [`Cluster::delete`]; `Unavailable` while a budget allows no disruption.
    pub async fn evict(
        &self,
        namespace: &str,
        name: &str,
        options: &Options,
    ) -> Result<(), ClusterError> {
        let kind = ApiResource::erase::<Pod>(&());
        let url = Pod::url_path(&(), Some(namespace));
        let target = Target::new(&kind, &url, Some(namespace), name);
        let action = target.action("evict");
        let live = self.live(&action)?;
        target.check(&action)?;
        let body = json!({
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": name, "namespace": namespace},
            "deleteOptions": {
                "dryRun": options.dry_run.then_some(["All"]),
                "preconditions": options.resource_version.as_ref().map(|v| json!({"resourceVersion": v})),
            },
        });
        let url = format!("{}/eviction", target.url());
        let mut request = request(&action, Method::POST, &url, body.to_string().into())?;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(CONTENT_TYPE, json);
        let _answer: Value = live.call(&action, "Status", request).await?;
        Ok(())
    }

    async fn send_patch<T: DeserializeOwned>(
        &self,
        target: &Target<'_>,
        patch: &Patch,
        options: &Options,
    ) -> Result<T, ClusterError> {
        let action = target.action("patch");
        let live = self.live(&action)?;
        target.check(&action)?;
        let apply = matches!(patch, Patch::Apply(_));
        let url = format!("{}?{}", target.url(), options.query(apply));
        let (media_type, body) = encode(patch, options.resource_version.as_deref());
        let mut request = request(&action, Method::PATCH, &url, body.to_string().into())?;
        let media_type = HeaderValue::from_static(media_type);
        request.headers_mut().insert(CONTENT_TYPE, media_type);
        live.call(&action, &target.kind.kind, request).await
    }
}

struct Target<'a> {
    kind: &'a ApiResource,
    collection: &'a str,
    namespace: Option<&'a str>,
    name: &'a str,
}

impl<'a> Target<'a> {
    fn new(
        kind: &'a ApiResource,
        collection: &'a str,
        namespace: Option<&'a str>,
        name: &'a str,
    ) -> Self {
        Self {
            kind,
            collection,
            namespace,
            name,
        }
    }

    fn action(&self, verb: &str) -> String {
        action(verb, self.kind, self.namespace, Some(self.name))
    }

    fn url(&self) -> String {
        format!("{}/{}", self.collection, self.name)
    }

    fn check(&self, action: &str) -> Result<(), ClusterError> {
        check_name(action, self.namespace)?;
        check_name(action, Some(self.name))
    }
}

/// The media type and body of a patch, with the version that it depends on.
///
/// In a JSON Patch the version is written, not tested: a failed `test` is 422 Invalid, a stale
/// `metadata.resourceVersion` is 409 Conflict, which callers can tell from a wrong patch.
fn encode(patch: &Patch, version: Option<&str>) -> (&'static str, Value) {
    let with_version = |body: &Value| {
        let mut body = body.clone();
        if let (Some(version), Some(object)) = (version, body.as_object_mut()) {
            let metadata = object.entry("metadata").or_insert_with(|| json!({}));
            if let Some(metadata) = metadata.as_object_mut() {
                metadata.insert("resourceVersion".to_owned(), version.into());
            }
        }
        body
    };
    match patch {
        Patch::Merge(body) => ("application/merge-patch+json", with_version(body)),
        Patch::Strategic(body) => ("application/strategic-merge-patch+json", with_version(body)),
        Patch::Apply(body) => ("application/apply-patch+yaml", with_version(body)),
        Patch::Json(operations) => {
            let first = version.map(|version| {
                json!({"op": "replace", "path": "/metadata/resourceVersion", "value": version})
            });
            let operations = first.into_iter().chain(operations.iter().cloned());
            ("application/json-patch+json", operations.collect())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_the_expected_version_to_every_kind_of_patch() {
        let body = json!({"spec": {"replicas": 2}});
        for patch in [
            Patch::Merge(body.clone()),
            Patch::Strategic(body.clone()),
            Patch::Apply(body.clone()),
        ] {
            let (_, encoded) = encode(&patch, Some("7"));
            let expected = json!({"metadata": {"resourceVersion": "7"}, "spec": {"replicas": 2}});
            assert_eq!(encoded, expected);
        }
        let operation = json!({"op": "remove", "path": "/spec/paused"});
        let (media_type, encoded) = encode(&Patch::Json(vec![operation.clone()]), Some("7"));
        assert_eq!(media_type, "application/json-patch+json");
        assert_eq!(encoded[0]["value"], "7");
        assert_eq!(encoded[1], operation);
    }

    #[test]
    fn leaves_a_patch_without_an_expected_version_alone() {
        let body = json!({"spec": {"replicas": 2}});
        let (media_type, encoded) = encode(&Patch::Merge(body.clone()), None);
        assert_eq!(
            (media_type, encoded),
            ("application/merge-patch+json", body)
        );
    }

    #[test]
    fn asks_for_a_dry_run_in_the_query() {
        let options = Options {
            dry_run: true,
            field_manager: Some("saga 1".to_owned()),
            ..Options::default()
        };
        assert_eq!(options.query(false), "fieldManager=saga%201&dryRun=All");
        assert_eq!(
            Options::default().query(true),
            "fieldManager=agent-mesh&force=true"
        );
    }
}
