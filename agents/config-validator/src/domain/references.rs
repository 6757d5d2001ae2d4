//! How the given objects refer to each other. What is missing may exist in the cluster, so all of it is advice.

use std::collections::{HashMap, HashSet};

use super::{
    finding::{Finding, Findings},
    object::Object,
    pod_security::Pod,
    rules,
    yaml::{Cursor, Node},
};

/// Whether labels satisfy a selector: `matchLabels` and `matchExpressions`, or a plain map of labels.
pub fn selects(selector: &Node, labels: Option<&Node>) -> bool {
    let label = |key: &str| labels.and_then(|l| l.get(key)).and_then(Node::as_str);
    let all = |map: &Node| {
        map.entries()
            .iter()
            .all(|e| label(&e.key) == e.value.as_str() && e.value.as_str().is_some())
    };
    let plain = selector.get("matchLabels").is_none() && selector.get("matchExpressions").is_none();
    if plain {
        return all(selector);
    }
    let expression = |e: &Node| {
        let Some(value) = e.get("key").and_then(Node::as_str).map(label) else {
            return false;
        };
        let listed = || {
            e.get("values").is_some_and(|v| {
                v.items()
                    .iter()
                    .any(|item| item.as_str().is_some() && item.as_str() == value)
            })
        };
        match e.get("operator").and_then(Node::as_str) {
            Some("In") => value.is_some() && listed(),
            Some("NotIn") => !listed(),
            Some("Exists") => value.is_some(),
            Some("DoesNotExist") => value.is_none(),
            _ => false,
        }
    };
    selector.get("matchLabels").is_none_or(all)
        && selector
            .get("matchExpressions")
            .is_none_or(|list| list.items().iter().all(expression))
}

/// Checks all references between the given objects.
pub fn check(objects: &[Object<'_>], findings: &mut Findings) {
    let index = Index::new(objects);
    for object in objects {
        if let Some(pod) = Pod::of(object) {
            index.pod(object, &pod, findings);
        }
        match (object.group(), object.kind) {
            ("", Some("Service")) => index.service(object, findings),
            ("policy", Some("PodDisruptionBudget")) => index.budget(object, findings),
            ("rbac.authorization.k8s.io", Some("RoleBinding" | "ClusterRoleBinding")) => {
                index.binding(object, findings);
            }
            ("autoscaling", Some("HorizontalPodAutoscaler")) => {
                index.one(
                    object,
                    object.root.path(&["spec", "scaleTargetRef"]),
                    findings,
                );
            }
            _ => {}
        }
    }
    port_conflicts(objects, findings);
}

struct Index<'a> {
    names: HashSet<(&'a str, &'a str, &'a str)>,
    pods: Vec<(&'a str, Pod<'a>)>,
}

impl<'a> Index<'a> {
    fn new(objects: &[Object<'a>]) -> Self {
        let names = objects
            .iter()
            .filter_map(|o| Some((o.kind?, o.namespace().unwrap_or_default(), o.name()?)))
            .collect();
        let pods = objects
            .iter()
            .filter_map(|o| Some((o.namespace().unwrap_or_default(), Pod::of(o)?)))
            .collect();
        Self { names, pods }
    }

    fn has(&self, kind: &str, namespace: &str, name: &str) -> bool {
        self.names.contains(&(kind, namespace, name))
    }

    /// Reports a name that no given object has.
    fn need(
        &self,
        object: &Object<'_>,
        kind: &str,
        place: Option<Cursor<'_>>,
        findings: &mut Findings,
    ) {
        let Some(place) = place else { return };
        let Some(name) = place.node().as_str().filter(|n| !n.is_empty()) else {
            return;
        };
        if !self.has(kind, object.namespace().unwrap_or_default(), name) {
            let finding = Finding::at(
                &rules::REFERENCE_MISSING,
                object,
                &place,
                format!("{kind} `{name}` is not among the manifests"),
            );
            findings.push(
                finding
                    .expected(format!("a {kind} of this name in the same namespace"))
                    .got(place.describe()),
            );
        }
    }

    /// A reference with a kind and a name of its own.
    fn one(&self, object: &Object<'_>, reference: Option<Cursor<'_>>, findings: &mut Findings) {
        let Some(reference) = reference else { return };
        if let Some(kind) = reference.text("kind") {
            self.need(object, kind, reference.get("name"), findings);
        }
    }

    fn pod(&self, object: &Object<'_>, pod: &Pod<'_>, findings: &mut Findings) {
        let required = |place: &Cursor<'_>| {
            place.get("optional").and_then(|o| o.node().as_bool()) != Some(true)
        };
        let account = pod
            .spec
            .get("serviceAccountName")
            .filter(|a| a.node().as_str() != Some("default"));
        self.need(object, "ServiceAccount", account, findings);
        for volume in pod.spec.list("volumes") {
            for (field, kind, name) in [
                ("configMap", "ConfigMap", "name"),
                ("secret", "Secret", "secretName"),
                (
                    "persistentVolumeClaim",
                    "PersistentVolumeClaim",
                    "claimName",
                ),
            ] {
                self.need(
                    object,
                    kind,
                    volume.get(field).filter(required).and_then(|v| v.get(name)),
                    findings,
                );
            }
        }
        for container in pod.containers() {
            for source in container.list("envFrom") {
                for (field, kind) in [("configMapRef", "ConfigMap"), ("secretRef", "Secret")] {
                    self.need(
                        object,
                        kind,
                        source
                            .get(field)
                            .filter(required)
                            .and_then(|r| r.get("name")),
                        findings,
                    );
                }
            }
            for variable in container.list("env") {
                for (field, kind) in [("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")]
                {
                    let reference = variable.path(&["valueFrom", field]).filter(required);
                    self.need(
                        object,
                        kind,
                        reference.and_then(|r| r.get("name")),
                        findings,
                    );
                }
            }
        }
    }

    fn binding(&self, object: &Object<'_>, findings: &mut Findings) {
        let role = object.root.get("roleRef");
        let local = role.as_ref().and_then(|r| r.text("kind")) == Some("Role");
        self.one(object, role.filter(|_| local), findings);
        for subject in object
            .root
            .list("subjects")
            .into_iter()
            .filter(|s| s.text("kind") == Some("ServiceAccount"))
        {
            let namespace = subject
                .text("namespace")
                .or_else(|| object.namespace())
                .unwrap_or_default();
            let Some(name) = subject.get("name") else {
                continue;
            };
            let text = name.node().as_str().unwrap_or_default();
            if !self.has("ServiceAccount", namespace, text) {
                let message = format!(
                    "ServiceAccount `{text}` of namespace `{namespace}` is not among the manifests"
                );
                findings.push(
                    Finding::at(&rules::REFERENCE_MISSING, object, &name, message)
                        .got(name.describe()),
                );
            }
        }
    }

    /// Pods that a selector matches in the object's namespace.
    fn matching(&self, object: &Object<'_>, selector: &Node) -> Vec<&Pod<'a>> {
        let namespace = object.namespace().unwrap_or_default();
        let labels = |pod: &Pod<'a>| pod.template.node().path(&["metadata", "labels"]).cloned();
        let pods = self
            .pods
            .iter()
            .filter(|(n, pod)| *n == namespace && selects(selector, labels(pod).as_ref()));
        pods.map(|(_, pod)| pod).collect()
    }

    fn selects_something(
        &self,
        object: &Object<'_>,
        selector: &Cursor<'_>,
        findings: &mut Findings,
    ) -> Vec<&Pod<'a>> {
        let pods = self.matching(object, selector.node());
        if pods.is_empty() {
            let finding = Finding::at(
                &rules::SELECTS_NOTHING,
                object,
                selector,
                "no pod among the manifests has these labels",
            );
            findings.push(finding.expected("the labels of a pod template in the same namespace"));
        }
        pods
    }

    fn budget(&self, object: &Object<'_>, findings: &mut Findings) {
        if let Some(selector) = object.root.path(&["spec", "selector"]) {
            self.selects_something(object, &selector, findings);
        }
    }

    fn service(&self, object: &Object<'_>, findings: &mut Findings) {
        let Some(spec) = object.root.get("spec") else {
            return;
        };
        for protocol in spec
            .list("ports")
            .into_iter()
            .filter_map(|p| p.get("appProtocol"))
        {
            if protocol
                .node()
                .as_str()
                .is_some_and(|p| matches!(p, "http2" | "grpc" | "https" | "h2c"))
            {
                let finding = Finding::at(
                    &rules::MESH_APP_PROTOCOL,
                    object,
                    &protocol,
                    "Istio and Linkerd read this appProtocol differently",
                );
                findings.push(
                    finding
                        .expected("http or kubernetes.io/h2c")
                        .got(protocol.describe()),
                );
            }
        }
        let Some(selector) = spec
            .get("selector")
            .filter(|s| !s.node().entries().is_empty())
        else {
            return;
        };
        let pods = self.selects_something(object, &selector, findings);
        if pods.is_empty() {
            return;
        }
        for target in spec
            .list("ports")
            .into_iter()
            .filter_map(|p| p.get("targetPort"))
        {
            if !pods.iter().any(|pod| has_port(pod, target.node())) {
                let finding = Finding::at(
                    &rules::TARGET_PORT_MISSING,
                    object,
                    &target,
                    "no selected pod declares this port",
                );
                findings.push(
                    finding
                        .expected("a name or number from the containers' ports")
                        .got(target.describe()),
                );
            }
        }
    }
}

fn has_port(pod: &Pod<'_>, target: &Node) -> bool {
    pod.containers()
        .iter()
        .flat_map(|c| c.list("ports"))
        .any(|port| match target.as_str() {
            Some(name) => port.text("name") == Some(name),
            None => port.node().get("containerPort").and_then(Node::as_i64) == target.as_i64(),
        })
}

/// The same port of the same pods under two protocols (IST0137).
fn port_conflicts(objects: &[Object<'_>], findings: &mut Findings) {
    let mut seen: HashMap<(String, String), String> = HashMap::new();
    for object in objects.iter().filter(|o| o.is("", "Service")) {
        let Some(spec) = object.root.get("spec") else {
            continue;
        };
        let Some(selector) = spec
            .get("selector")
            .filter(|s| !s.node().entries().is_empty())
        else {
            continue;
        };
        let pods = format!(
            "{} {}",
            object.namespace().unwrap_or_default(),
            selector.node().to_json()
        );
        for port in spec.list("ports") {
            let Some(target) = port.get("targetPort").or_else(|| port.get("port")) else {
                continue;
            };
            let protocol = protocol(&port);
            let first = seen
                .entry((pods.clone(), target.node().to_json().to_string()))
                .or_insert_with(|| protocol.clone());
            if *first != protocol {
                let message = format!(
                    "another Service gives this port of the same pods protocol {first}, this one {protocol} (IST0137)"
                );
                findings.push(
                    Finding::at(&rules::MESH_PORT_CONFLICT, object, &target, message)
                        .expected(first.clone())
                        .got(protocol),
                );
            }
        }
    }
}

/// As Istio selects it: `appProtocol`, else the port name up to its first `-`, else TCP.
fn protocol(port: &Cursor<'_>) -> String {
    let prefix = port.text("name").and_then(|n| n.split('-').next());
    let word = port
        .text("appProtocol")
        .or(prefix)
        .unwrap_or("tcp")
        .to_ascii_lowercase();
    let known = [
        "http",
        "http2",
        "https",
        "grpc",
        "grpc-web",
        "mongo",
        "mysql",
        "redis",
        "tls",
        "udp",
        "kubernetes.io/h2c",
    ];
    if known.contains(&word.as_str()) {
        word
    } else {
        "tcp".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::yaml::compose;

    fn selected(selector: &str, labels: &str) -> bool {
        let node = |text: &str| compose(text).unwrap().documents.remove(0);
        selects(&node(selector), Some(&node(labels)))
    }

    /// The operators as the Kubernetes manual describes them.
    #[test]
    fn selectors_match_as_documented() {
        let labels = "{app: web, tier: front}";
        for (selector, expected) in [
            ("{app: web}", true),
            ("{app: db}", false),
            ("{matchLabels: {app: web, tier: front}}", true),
            ("{matchLabels: {app: web, zone: a}}", false),
            (
                "{matchExpressions: [{key: tier, operator: In, values: [front, back]}]}",
                true,
            ),
            (
                "{matchExpressions: [{key: tier, operator: NotIn, values: [front]}]}",
                false,
            ),
            (
                "{matchExpressions: [{key: zone, operator: NotIn, values: [a]}]}",
                true,
            ),
            ("{matchExpressions: [{key: zone, operator: Exists}]}", false),
            (
                "{matchLabels: {app: web}, matchExpressions: [{key: zone, operator: DoesNotExist}]}",
                true,
            ),
            (
                "{matchExpressions: [{key: zone, operator: In, values: [a]}]}",
                false,
            ),
        ] {
            assert_eq!(selected(selector, labels), expected, "{selector}");
        }
    }
}
