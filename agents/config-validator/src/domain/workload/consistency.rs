//! Contradictions inside one object; the API server refuses all of them.

use std::collections::HashSet;

use crate::domain::{
    finding::{Finding, Findings},
    names,
    object::Object,
    pod_security::Pod,
    quantity::Quantity,
    references::selects,
    rules,
    yaml::{Cursor, Value},
};

/// A workload's selector against the labels of its own pods.
pub fn check_selector(object: &Object<'_>, findings: &mut Findings) {
    let in_apps = object.group() == "apps";
    let Some(template) = object.pod_template().filter(|_| in_apps) else {
        return;
    };
    let Some(selector) = object.root.path(&["spec", "selector"]) else {
        return;
    };
    let labels = template.path(&["metadata", "labels"]);
    if !selects(selector.node(), labels.as_ref().map(Cursor::node)) {
        let finding = Finding::at(
            &rules::SELECTOR_MISMATCH,
            object,
            &selector,
            "the selector does not match the labels of the pod template",
        );
        findings.push(finding.expected("a selector that spec.template.metadata.labels match"));
    }
}

/// Ports of a Service.
pub fn check_ports(object: &Object<'_>, findings: &mut Findings) {
    if !object.is("", "Service") {
        return;
    }
    for port in object
        .root
        .get("spec")
        .map(|s| s.list("ports"))
        .unwrap_or_default()
    {
        for key in ["port", "targetPort"] {
            if let Some(place) = port.get(key) {
                number(object, &place, findings);
            }
        }
    }
}

/// Containers, volumes, ports and resources of a pod.
pub fn check_pod(object: &Object<'_>, pod: &Pod<'_>, findings: &mut Findings) {
    let mut names = HashSet::new();
    let volumes = pod.spec.list("volumes");
    let claims = object
        .root
        .get("spec")
        .map(|s| s.list("volumeClaimTemplates"))
        .unwrap_or_default();
    let mut known: HashSet<&str> = volumes.iter().filter_map(|v| v.text("name")).collect();
    known.extend(
        claims
            .iter()
            .filter_map(|c| c.node().path(&["metadata", "name"])?.as_str()),
    );
    for container in pod.containers() {
        if let Some(name) = container
            .get("name")
            .filter(|n| n.node().as_str().is_some_and(|text| !names.insert(text)))
        {
            findings.push(
                Finding::at(
                    &rules::CONTAINER_DUPLICATE,
                    object,
                    &name,
                    "another container has this name",
                )
                .got(name.describe()),
            );
        }
        for mount in ["volumeMounts", "volumeDevices"]
            .iter()
            .flat_map(|list| container.list(list))
        {
            if let Some(name) = mount
                .get("name")
                .filter(|n| n.node().as_str().is_some_and(|text| !known.contains(text)))
            {
                let finding = Finding::at(
                    &rules::VOLUME_MISSING,
                    object,
                    &name,
                    "the pod has no volume of this name",
                );
                findings.push(
                    finding
                        .expected("a name from spec.volumes")
                        .got(name.describe()),
                );
            }
        }
        ports(object, &container, findings);
        resources(object, &container, findings);
    }
}

fn ports(object: &Object<'_>, container: &Cursor<'_>, findings: &mut Findings) {
    let ports = container.list("ports");
    for port in &ports {
        for key in ["containerPort", "hostPort"] {
            if let Some(place) = port
                .get(key)
                .filter(|p| p.node().as_i64() != Some(0) || key == "containerPort")
            {
                number(object, &place, findings);
            }
        }
        if let Some(name) = port.get("name").filter(|n| {
            n.node()
                .as_str()
                .is_some_and(|text| !names::port_name(text))
        }) {
            let finding = Finding::at(&rules::PORT_INVALID, object, &name, "malformed port name");
            findings.push(
                finding
                    .expected("at most 15 lower case letters, digits and single '-', with a letter")
                    .got(name.describe()),
            );
        }
    }
    let named: HashSet<&str> = ports.iter().filter_map(|p| p.text("name")).collect();
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"]
        .iter()
        .filter_map(|key| container.get(key))
    {
        for port in ["httpGet", "tcpSocket"]
            .iter()
            .filter_map(|action| probe.path(&[action, "port"]))
        {
            match port.node().as_str() {
                Some(name) if !named.contains(name) => {
                    let finding = Finding::at(
                        &rules::PROBE_PORT_MISSING,
                        object,
                        &port,
                        "the container has no port of this name",
                    );
                    findings.push(
                        finding
                            .expected("a name from the container's ports")
                            .got(port.describe()),
                    );
                }
                Some(_) => {}
                None => number(object, &port, findings),
            }
        }
    }
}

fn number(object: &Object<'_>, place: &Cursor<'_>, findings: &mut Findings) {
    if place
        .node()
        .as_i64()
        .is_some_and(|port| !(1..=65535).contains(&port))
    {
        let finding = Finding::at(&rules::PORT_INVALID, object, place, "no such port");
        findings.push(finding.expected("1 to 65535").got(place.describe()));
    }
}

fn resources(object: &Object<'_>, container: &Cursor<'_>, findings: &mut Findings) {
    let Some(requests) = container.path(&["resources", "requests"]) else {
        return;
    };
    let Some(limits) = container.path(&["resources", "limits"]) else {
        return;
    };
    for (name, request) in requests.fields() {
        let Some(limit) = limits.get(name) else {
            continue;
        };
        if let (Some(asked), Some(most)) = (amount(&request), amount(&limit))
            && asked > most
        {
            let finding = Finding::at(
                &rules::REQUEST_OVER_LIMIT,
                object,
                &request,
                format!("the request for {name} is above its limit"),
            );
            findings.push(
                finding
                    .expected(format!("at most {}", limit.describe()))
                    .got(request.describe()),
            );
        }
    }
}

fn amount(place: &Cursor<'_>) -> Option<Quantity> {
    match &place.node().value {
        Value::String(text) => Quantity::parse(text),
        Value::Number(number, _) => Quantity::parse(&number.to_string()),
        _ => None,
    }
}
