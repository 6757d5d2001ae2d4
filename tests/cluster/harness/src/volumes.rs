//! Volumes, which exist in the API alone: kwok plays the provisioner, the controller manager binds.

use k8s_openapi::api::storage::v1::StorageClass;
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};

use crate::stages::{document, holds};

/// The class of a claim that names none.
const CLASS: &str = "simulated";

/// A volume for one claim, which the claim's own controller binds to it.
const VOLUME: &str = r#"apiVersion: v1
kind: PersistentVolume
metadata:
  name: {{ printf "pvc-%s" .metadata.uid }}
spec:
  accessModes: {{ toJson .spec.accessModes }}
  capacity:
    storage: {{ .spec.resources.requests.storage | Quote }}
  claimRef:
    apiVersion: v1
    kind: PersistentVolumeClaim
    name: {{ .metadata.name | Quote }}
    namespace: {{ .metadata.namespace | Quote }}
    uid: {{ .metadata.uid | Quote }}
  persistentVolumeReclaimPolicy: Delete
  storageClassName: {{ .spec.storageClassName | Quote }}
  volumeMode: {{ .spec.volumeMode | Quote }}
  hostPath:
    path: {{ printf "/nowhere/%s" .metadata.uid | Quote }}
"#;

/// Makes the class.
pub(crate) async fn create_class(client: &Client) -> anyhow::Result<()> {
    let class = serde_json::from_value(json!({
        "metadata": {
            "name": CLASS,
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
        },
        "provisioner": "kubelet.mesh/simulated",
        "reclaimPolicy": "Delete",
    }))?;
    let classes: Api<StorageClass> = Api::all(client.clone());
    classes.create(&PostParams::default(), &class).await?;
    Ok(())
}

/// A claim gets a volume; a volume that is released goes.
pub(crate) fn stages() -> [Value; 2] {
    let is_ours = format!(".spec.storageClassName == \"{CLASS}\"");
    let asks = ".metadata.deletionTimestamp == null and .spec.volumeName == null";
    let released = r#".metadata.deletionTimestamp == null and .status.phase == "Released""#;
    let stage = |name, kind, when: &str, step: Value| {
        let selector = json!({"matchExpressions": [holds(&format!("{is_ours} and {when}"))]});
        document(name, kind, &json!({"selector": selector, "steps": [step]}))
    };
    [
        stage(
            "claim-provision",
            "PersistentVolumeClaim",
            asks,
            json!({"apply": {"template": VOLUME}}),
        ),
        stage(
            "volume-delete",
            "PersistentVolume",
            released,
            json!({"delete": true}),
        ),
    ]
}
