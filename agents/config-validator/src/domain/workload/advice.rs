//! What the API server accepts and an operator regrets.

use crate::domain::{
    finding::{Finding, Findings},
    object::Object,
    pod_security::Pod,
    rules,
    yaml::Cursor,
};

/// User id of Istio's sidecar; traffic of other processes with it goes past the proxy (IST0144).
const ISTIO_USER: i64 = 1337;

/// Resources, images, probes, account and token of a pod.
pub fn check_pod(object: &Object<'_>, pod: &Pod<'_>, findings: &mut Findings) {
    let long_running = !matches!(object.kind, Some("Job" | "CronJob" | "Pod"));
    for container in pod
        .spec
        .list("initContainers")
        .into_iter()
        .chain(pod.spec.list("containers"))
    {
        image(object, &container, findings);
    }
    for container in pod.spec.list("containers") {
        resources(object, &container, findings);
        if long_running && container.get("readinessProbe").is_none() {
            let finding = Finding::at(
                &rules::READINESS_MISSING,
                object,
                &container,
                "the container counts as ready as soon as it starts",
            );
            findings.push(finding.expected("a readinessProbe"));
        }
    }
    account(object, pod, findings);
    let places = std::iter::once(pod.spec.clone()).chain(pod.containers());
    for user in places
        .filter_map(|p| p.path(&["securityContext", "runAsUser"]))
        .filter(|u| u.node().as_i64() == Some(ISTIO_USER))
    {
        let finding = Finding::at(
            &rules::MESH_RESERVED_USER,
            object,
            &user,
            "user 1337 is the sidecar's: its traffic is not captured (IST0144)",
        );
        findings.push(finding.expected("another user").got(user.describe()));
    }
    annotations(object, findings);
}

fn image(object: &Object<'_>, container: &Cursor<'_>, findings: &mut Findings) {
    let Some(image) = container.get("image") else {
        return;
    };
    let Some(text) = image.node().as_str().filter(|text| !text.contains('@')) else {
        return;
    };
    let name = text.rsplit('/').next().unwrap_or_default();
    if name.split_once(':').is_none_or(|(_, tag)| tag == "latest") {
        let finding = Finding::at(
            &rules::IMAGE_LATEST,
            object,
            &image,
            "which image runs depends on the day it is pulled",
        );
        findings.push(
            finding
                .expected("a tag other than latest, or a digest")
                .got(image.describe()),
        );
    }
}

fn resources(object: &Object<'_>, container: &Cursor<'_>, findings: &mut Findings) {
    const WANTED: [(&str, &str); 3] = [
        ("requests", "cpu"),
        ("requests", "memory"),
        ("limits", "memory"),
    ];
    // A limit without a request is a request too.
    let has = |list: &str, name: &str| container.path(&["resources", list, name]).is_some();
    let missing: Vec<_> = WANTED
        .iter()
        .filter(|(list, name)| !has(list, name) && (*list == "limits" || !has("limits", name)))
        .map(|(list, name)| format!("{list}.{name}"))
        .collect();
    if !missing.is_empty() {
        let place = container
            .get("resources")
            .unwrap_or_else(|| container.clone());
        let finding = Finding::at(
            &rules::RESOURCES_MISSING,
            object,
            &place,
            format!("without {}", missing.join(", ")),
        );
        findings.push(finding.expected("requests for cpu and memory, a limit for memory"));
    }
}

fn account(object: &Object<'_>, pod: &Pod<'_>, findings: &mut Findings) {
    let name = pod.spec.get("serviceAccountName");
    if name
        .as_ref()
        .and_then(|n| n.node().as_str())
        .is_none_or(|n| n.is_empty() || n == "default")
    {
        let place = name.unwrap_or_else(|| pod.spec.clone());
        let finding = Finding::at(
            &rules::DEFAULT_SERVICE_ACCOUNT,
            object,
            &place,
            "runs as the account `default`, with every other such pod of the namespace",
        );
        findings.push(finding.expected("a ServiceAccount of its own"));
    }
    if pod.spec.get("automountServiceAccountToken").is_none() {
        let finding = Finding::at(
            &rules::TOKEN_AUTOMOUNT,
            object,
            &pod.spec,
            "a token for the API is mounted by default",
        );
        findings.push(
            finding
                .expected("automountServiceAccountToken: false, or true where the API is called"),
        );
    }
}

fn annotations(object: &Object<'_>, findings: &mut Findings) {
    const INJECTION: [&str; 3] = [
        "linkerd.io/inject",
        "sidecar.istio.io/inject",
        "proxy.istio.io/config",
    ];
    if object.kind == Some("Pod") {
        return;
    }
    let Some(annotations) = object.root.path(&["metadata", "annotations"]) else {
        return;
    };
    for (key, place) in annotations
        .fields()
        .filter(|(key, _)| INJECTION.contains(key) || key.starts_with("config.linkerd.io/"))
    {
        let message = format!(
            "{key} has no effect on a {}",
            object.kind.unwrap_or("workload")
        );
        findings.push(
            Finding::at(&rules::MESH_ANNOTATION_PLACE, object, &place, message)
                .expected("the annotations of the pod template"),
        );
    }
}

/// Wildcards in a role.
pub fn check_role(object: &Object<'_>, findings: &mut Findings) {
    if object.group() != "rbac.authorization.k8s.io" {
        return;
    }
    for rule in object.root.list("rules") {
        for key in ["verbs", "resources", "apiGroups"] {
            let star = rule
                .list(key)
                .into_iter()
                .find(|item| item.node().as_str() == Some("*"));
            if let Some(star) = star {
                let message = format!("`*` in {key} allows what nobody has thought of yet");
                let finding = Finding::at(&rules::RBAC_WILDCARD, object, &star, message);
                findings.push(
                    finding
                        .expected(format!("the {key} that are needed, by name"))
                        .got("\"*\""),
                );
            }
        }
    }
}
