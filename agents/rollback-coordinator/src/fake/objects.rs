//! Objects of other controllers in memory, with the optimistic lock of a cluster.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use serde_json::{Value, json};
use shared::SkillError;

use super::{World, web_id};
use crate::{
    clients::Objects,
    domain::hold::{ObjectRef, tests::merge},
    guard,
};

/// Objects by their names, and the writes that they saw in order.
#[derive(Debug, Default)]
pub(crate) struct MemoryObjects {
    all: Mutex<BTreeMap<String, Value>>,
    versions: AtomicUsize,
    pub(crate) writes: Mutex<Vec<String>>,
    /// Fields that a schema does not know: they vanish from what is written.
    pub(crate) pruned: Mutex<Vec<&'static str>>,
    /// Objects whose writes fail.
    pub(crate) broken: Mutex<Vec<String>>,
    /// What else happens with every write.
    meanwhile: Mutex<Option<Meanwhile>>,
}

/// Something that happens meanwhile.
struct Meanwhile(Box<dyn Fn() + Send + Sync>);

impl std::fmt::Debug for Meanwhile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Meanwhile")
    }
}

impl MemoryObjects {
    /// Does something with every write.
    pub(crate) fn on_write(&self, happens: impl Fn() + Send + Sync + 'static) {
        *self.meanwhile.lock().unwrap() = Some(Meanwhile(Box::new(happens)));
    }

    /// Puts an object there.
    pub(crate) fn put(&self, object: &ObjectRef, body: Value) {
        let mut body = body;
        let metadata = json!({"namespace": object.namespace, "name": object.name, "uid": format!("uid-{object}")});
        merge(&mut body, &json!({"metadata": metadata}));
        self.store(object, body);
    }

    /// An object as it is.
    pub(crate) fn at(&self, object: &ObjectRef) -> Option<Value> {
        self.all.lock().unwrap().get(&object.to_string()).cloned()
    }

    /// Somebody else changes an object.
    pub(crate) fn edit(&self, object: &ObjectRef, patch: &Value) {
        let mut body = self.at(object).unwrap();
        merge(&mut body, patch);
        self.store(object, body);
    }

    pub(crate) fn delete(&self, object: &ObjectRef) {
        self.all.lock().unwrap().remove(&object.to_string());
    }

    fn store(&self, object: &ObjectRef, mut body: Value) -> Value {
        let version = self.versions.fetch_add(1, Ordering::SeqCst) + 1;
        body["metadata"]["resourceVersion"] = json!(version.to_string());
        for pointer in self.pruned.lock().unwrap().iter() {
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            if let Some(members) = body.pointer_mut(parent).and_then(Value::as_object_mut) {
                members.remove(name);
            }
        }
        let mut all = self.all.lock().unwrap();
        all.insert(object.to_string(), body.clone());
        body
    }

    #[expect(clippy::unwrap_in_result, reason = "a poisoned lock ends the test")]
    fn note(&self, object: &ObjectRef) -> Result<(), SkillError> {
        let name = object.to_string();
        if self.broken.lock().unwrap().contains(&name) {
            return Err(SkillError::unavailable("kubernetes", "no answer"));
        }
        if let Some(Meanwhile(happens)) = &*self.meanwhile.lock().unwrap() {
            happens();
        }
        self.writes.lock().unwrap().push(name);
        Ok(())
    }
}

#[async_trait::async_trait]
impl Objects for MemoryObjects {
    async fn list(&self, like: &ObjectRef) -> Result<Vec<Value>, SkillError> {
        let prefix = format!("{}/{}/", like.plural, like.namespace);
        let all = self.all.lock().unwrap();
        let found = all.iter().filter(|(name, _)| name.starts_with(&prefix));
        Ok(found.map(|(_, body)| body.clone()).collect())
    }

    async fn get(&self, object: &ObjectRef) -> Result<Option<Value>, SkillError> {
        Ok(self.at(object))
    }

    async fn create_lease(&self, lease: &ObjectRef, body: &Value) -> Result<bool, SkillError> {
        if self.at(lease).is_some() {
            return Ok(false);
        }
        self.note(lease)?;
        self.put(lease, body.clone());
        Ok(true)
    }

    async fn merge(
        &self,
        object: &ObjectRef,
        version: &str,
        patch: &Value,
    ) -> Result<Option<Value>, SkillError> {
        let Some(mut body) = self.at(object) else {
            return Ok(None);
        };
        if body["metadata"]["resourceVersion"] != version {
            return Ok(None);
        }
        self.note(object)?;
        merge(&mut body, patch);
        Ok(Some(self.store(object, body)))
    }
}

/// The workload of the world among them, as another reader sees it.
#[async_trait::async_trait]
impl Objects for World {
    async fn list(&self, like: &ObjectRef) -> Result<Vec<Value>, SkillError> {
        self.objects.list(like).await
    }

    async fn get(&self, object: &ObjectRef) -> Result<Option<Value>, SkillError> {
        if *object != guard::object(&web_id()) {
            return self.objects.get(object).await;
        }
        let web = self.web();
        Ok(Some(json!({
            "metadata": {"namespace": web.id.namespace, "name": web.id.name, "uid": web.uid,
                "resourceVersion": web.resource_version, "annotations": web.annotations},
            "spec": {"replicas": web.replicas, "template": web.template},
        })))
    }

    async fn create_lease(&self, lease: &ObjectRef, body: &Value) -> Result<bool, SkillError> {
        self.objects.create_lease(lease, body).await
    }

    async fn merge(
        &self,
        object: &ObjectRef,
        version: &str,
        patch: &Value,
    ) -> Result<Option<Value>, SkillError> {
        if *object != guard::object(&web_id()) {
            return self.objects.merge(object, version, patch).await;
        }
        {
            let mut web = self.web.lock().unwrap();
            if web.resource_version != version {
                return Ok(None);
            }
            let annotations = &patch["metadata"]["annotations"];
            assert!(
                annotations.is_object(),
                "only the template's saga writes more"
            );
            merge(&mut web.annotations, annotations);
            web.resource_version.push('a');
        }
        self.get(object).await
    }
}
