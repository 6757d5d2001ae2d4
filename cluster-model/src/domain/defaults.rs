//! The values that the API server fills in, so far as controllers and clients look at them.

use serde_json::{Value, json};

use super::kind::Kind;
use super::object::{set_default, text};

/// Fills in what an object of this kind leaves out.
pub fn fill_in(kind: &Kind, object: &mut Value) {
    match kind.kind {
        "Deployment" => {
            set_default(object, "/spec/replicas", 1);
            set_default(object, "/spec/revisionHistoryLimit", 10);
            set_default(object, "/spec/progressDeadlineSeconds", 600);
            set_default(object, "/spec/strategy/type", "RollingUpdate");
            if text(object, "/spec/strategy/type") == "RollingUpdate" {
                set_default(object, "/spec/strategy/rollingUpdate/maxSurge", "25%");
                set_default(object, "/spec/strategy/rollingUpdate/maxUnavailable", "25%");
            }
        }
        "ReplicaSet" => set_default(object, "/spec/replicas", 1),
        "StatefulSet" => {
            set_default(object, "/spec/replicas", 1);
            set_default(object, "/spec/revisionHistoryLimit", 10);
            set_default(object, "/spec/podManagementPolicy", "OrderedReady");
            set_default(object, "/spec/updateStrategy/type", "RollingUpdate");
        }
        "DaemonSet" => {
            set_default(object, "/spec/revisionHistoryLimit", 10);
            set_default(object, "/spec/updateStrategy/type", "RollingUpdate");
        }
        "Pod" => pod_spec(object.get_mut("spec")),
        "Service" => service(object),
        "HorizontalPodAutoscaler" => set_default(object, "/spec/minReplicas", 1),
        "Secret" => set_default(object, "/type", "Opaque"),
        "Namespace" => set_default(object, "/spec/finalizers", json!(["kubernetes"])),
        _ => {}
    }
    if object.pointer("/spec/template/spec").is_some() {
        pod_spec(object.pointer_mut("/spec/template/spec"));
    }
}

fn pod_spec(spec: Option<&mut Value>) {
    let Some(spec) = spec else { return };
    set_default(spec, "/restartPolicy", "Always");
    set_default(spec, "/dnsPolicy", "ClusterFirst");
    set_default(spec, "/schedulerName", "default-scheduler");
    set_default(spec, "/terminationGracePeriodSeconds", 30);
    set_default(spec, "/securityContext", json!({}));
    for list in ["containers", "initContainers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut);
        containers.into_iter().flatten().for_each(container);
    }
}

fn container(container: &mut Value) {
    let image = text(container, "/image");
    let tag = image.rsplit('/').next().unwrap_or_default();
    let fixed = image.contains('@') || (tag.contains(':') && !tag.ends_with(":latest"));
    let pull = if fixed { "IfNotPresent" } else { "Always" };
    set_default(container, "/imagePullPolicy", pull);
    set_default(container, "/resources", json!({}));
    set_default(container, "/terminationMessagePath", "/dev/termination-log");
    set_default(container, "/terminationMessagePolicy", "File");
    let ports = container.get_mut("ports").and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        set_default(port, "/protocol", "TCP");
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).filter(|probe| probe.is_object()) {
            set_default(probe, "/timeoutSeconds", 1);
            set_default(probe, "/periodSeconds", 10);
            set_default(probe, "/successThreshold", 1);
            set_default(probe, "/failureThreshold", 3);
            if probe.get("httpGet").is_some() {
                set_default(probe, "/httpGet/scheme", "HTTP");
                set_default(probe, "/httpGet/path", "/");
            }
        }
    }
}

fn service(object: &mut Value) {
    set_default(object, "/spec/type", "ClusterIP");
    set_default(object, "/spec/sessionAffinity", "None");
    let ports = object
        .pointer_mut("/spec/ports")
        .and_then(Value::as_array_mut);
    for port in ports.into_iter().flatten() {
        set_default(port, "/protocol", "TCP");
        let number = port.get("port").cloned().unwrap_or_default();
        set_default(port, "/targetPort", number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::kind::DEPLOYMENTS;

    #[test]
    fn fills_in_a_deployment_as_the_api_server_does_and_changes_nothing_twice() {
        let mut object = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "a", "image": "registry:5000/web", "ports": [{"containerPort": 80}]},
            {"name": "b", "image": "web:1.2"}]}}}});
        fill_in(&DEPLOYMENTS, &mut object);
        assert_eq!(object["spec"]["replicas"], 1);
        assert_eq!(
            object["spec"]["strategy"]["rollingUpdate"]["maxSurge"],
            "25%"
        );
        let containers = &object["spec"]["template"]["spec"]["containers"];
        assert_eq!(containers[0]["imagePullPolicy"], "Always");
        assert_eq!(containers[0]["ports"][0]["protocol"], "TCP");
        assert_eq!(containers[1]["imagePullPolicy"], "IfNotPresent");
        let once = object.clone();
        fill_in(&DEPLOYMENTS, &mut object);
        assert_eq!(object, once);
    }

    #[test]
    fn gives_a_recreate_strategy_no_rolling_parameters() {
        let mut object = json!({"spec": {"strategy": {"type": "Recreate"}}});
        fill_in(&DEPLOYMENTS, &mut object);
        assert_eq!(object["spec"]["strategy"], json!({"type": "Recreate"}));
    }
}
