//! The stages that kwok plays: what moves a simulated pod from one status to the next, and when.
//!
//! Conditions and delays are jq programs over the pod. A condition that no longer holds cancels its stage; the delay
//! counts from the last change of the pod.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::volumes;

/// The status that all stages of a pod write, given the variables of one.
const POD_STATUS: &str = include_str!("../../simulation/pod-status.tpl");
/// The status of a node.
const NODE_STATUS: &str = include_str!("../../simulation/node-status.tpl");

/// Words of the conditions and delays.
const WORDS: &str = r#"
def note($key): .metadata.annotations["kubelet.mesh/" + $key];
def fault: note("fault") // "";
def is($faults): fault as $fault | any($faults[]; . == $fault);
def seconds($key; $default): (note($key) // "" | tonumber?) // $default;
def target: (note("container") // .spec.containers[0].name) as $name
  | [.status.containerStatuses[]? | select(.name == $name)][0];
def waits($reason): target.state.waiting.reason == $reason;
def created: waits("ContainerCreating");
def runs: target.state.running != null;
def ended: target.state.terminated != null;
def restarts: target.restartCount // 0;
def never: .spec.restartPolicy == "Never";
def start: seconds("start-seconds"; 1);
def back_off: seconds("back-off-seconds"; 10);
"#;

/// Longest delay between restarts, as a kubelet's: 300 s.
const LONGEST_BACK_OFF: &str = "300";

/// Variables of the status, before those of a stage.
const DEFAULTS: &str = r#"{{ $phase := "Running" }}{{ $started := true }}{{ $run := true }}{{ $passed := true }}{{ $readiness := "true" }}
{{ $reason := "" }}{{ $message := "" }}{{ $exit := "" }}{{ $exitReason := "" }}{{ $all := false }}
"#;

/// One step in the life of a pod.
struct Stage {
    name: &'static str,
    when: &'static str,
    /// Seconds.
    delay: &'static str,
    /// Type, reason and message.
    events: &'static [[&'static str; 3]],
    variables: &'static str,
}

const POD_STAGES: [Stage; 13] = [
    Stage {
        name: "create",
        when: "(.status.containerStatuses // []) == []",
        delay: "0",
        events: &[],
        variables: r#"{{ $phase = "Pending" }}{{ $started = false }}{{ $run = false }}"#,
    },
    Stage {
        name: "pull",
        when: r#"(created and is(["image-pull"])) or waits("ImagePullBackOff")"#,
        delay: "if created then start else back_off end",
        events: &[[
            "Warning",
            "Failed",
            "Failed to pull image: the registry does not know this tag",
        ]],
        variables: r#"{{ $phase = "Pending" }}{{ $run = false }}{{ $reason = "ErrImagePull" }}
{{ $message = "the registry does not know this tag" }}"#,
    },
    Stage {
        name: "pull-back-off",
        when: r#"waits("ErrImagePull")"#,
        delay: "back_off",
        events: &[["Normal", "BackOff", "Back-off pulling image"]],
        variables: r#"{{ $phase = "Pending" }}{{ $run = false }}{{ $reason = "ImagePullBackOff" }}
{{ $message = "Back-off pulling image" }}"#,
    },
    Stage {
        name: "config-error",
        when: r#"created and is(["config-error"])"#,
        delay: "start",
        events: &[[
            "Warning",
            "Failed",
            "Error: configmap \"settings\" not found",
        ]],
        variables: r#"{{ $phase = "Pending" }}{{ $run = false }}{{ $reason = "CreateContainerConfigError" }}
{{ $message = "configmap \"settings\" not found" }}"#,
    },
    Stage {
        name: "start",
        when: r#"created and is(["", "crash-loop", "out-of-memory", "liveness", "unready"])"#,
        delay: "start",
        events: &[["Normal", "Started", "Container started"]],
        variables: r#"{{ if has (default "" (index (default dict .metadata.annotations) "kubelet.mesh/fault")) (list "crash-loop" "out-of-memory") }}
{{ $readiness = "probe" }}{{ end }}"#,
    },
    Stage {
        name: "start-unready",
        when: r#"created and is(["slow-start", "never-ready"])"#,
        delay: "start",
        events: &[
            ["Normal", "Started", "Container started"],
            ["Warning", "Unhealthy", "Readiness probe failed"],
        ],
        variables: r#"{{ $readiness = "false" }}
{{ $passed = ne (index .metadata.annotations "kubelet.mesh/fault") "slow-start" }}"#,
    },
    Stage {
        name: "ready",
        when: r#"runs and is(["slow-start"]) and (target.ready | not)"#,
        delay: r#"seconds("after-seconds"; 5)"#,
        events: &[],
        variables: "",
    },
    Stage {
        name: "exit",
        when: r#"runs and is(["crash-loop", "out-of-memory"])"#,
        delay: r#"seconds("after-seconds"; 0.05)"#,
        events: &[],
        variables: r#"{{ $run = false }}{{ $exit = "1" }}{{ $exitReason = "Error" }}
{{ if eq (index .metadata.annotations "kubelet.mesh/fault") "out-of-memory" }}{{ $exit = "137" }}{{ $exitReason = "OOMKilled" }}{{ end }}
{{ if eq .spec.restartPolicy "Never" }}{{ $phase = "Failed" }}{{ $all = true }}{{ end }}"#,
    },
    Stage {
        name: "kill",
        when: r#"runs and is(["liveness"])"#,
        delay: r#"seconds("after-seconds"; 10)"#,
        events: &[
            ["Warning", "Unhealthy", "Liveness probe failed"],
            [
                "Normal",
                "Killing",
                "Container failed liveness probe, will be restarted",
            ],
        ],
        variables: r#"{{ $run = false }}{{ $exit = "137" }}{{ $exitReason = "Error" }}
{{ if eq .spec.restartPolicy "Never" }}{{ $phase = "Failed" }}{{ $all = true }}{{ end }}"#,
    },
    Stage {
        name: "crash-back-off",
        when: "ended and (never | not) and restarts >= 1",
        delay: "0",
        events: &[["Warning", "BackOff", "Back-off restarting failed container"]],
        variables: r#"{{ $run = false }}{{ $reason = "CrashLoopBackOff" }}{{ $message = "back-off restarting failed container" }}"#,
    },
    Stage {
        name: "restart",
        when: r#"(ended and (never | not) and restarts == 0) or waits("CrashLoopBackOff")"#,
        delay: "if ended then 0 else ([back_off * pow(2; restarts - 1), LONGEST_BACK_OFF] | min) end",
        events: &[["Normal", "Started", "Container started"]],
        variables: r#"{{ if ne (index .metadata.annotations "kubelet.mesh/fault") "liveness" }}{{ $readiness = "probe" }}{{ end }}"#,
    },
    Stage {
        name: "unready",
        when: r#"runs and is(["unready"]) and target.ready"#,
        delay: r#"seconds("after-seconds"; 10)"#,
        events: &[["Warning", "Unhealthy", "Readiness probe failed"]],
        variables: r#"{{ $readiness = "false" }}"#,
    },
    Stage {
        name: "complete",
        when: r#"runs and is([""]) and .spec.restartPolicy != "Always""#,
        delay: r#"seconds("after-seconds"; 0.1)"#,
        events: &[],
        variables: r#"{{ $phase = "Succeeded" }}{{ $run = false }}{{ $all = true }}{{ $exit = "0" }}{{ $exitReason = "Completed" }}"#,
    },
];

/// The configuration of kwok.
pub(crate) fn render() -> serde_json::Result<String> {
    let pods = POD_STAGES.iter().map(pod_stage);
    let nodes = [
        node_stage("node-ready", "NotIn", r#"!= "not-ready""#, true),
        node_stage("node-not-ready", "In", r#"== "not-ready""#, false),
    ];
    let mut text = String::new();
    let all = pods.chain([deletion()]).chain(nodes);
    for stage in all.chain(volumes::stages()) {
        let document = serde_json::to_string(&stage)?;
        // A write to a string does not fail.
        writeln!(text, "---\n{document}").ok();
    }
    Ok(text)
}

fn pod_stage(stage: &Stage) -> Value {
    let alive = r#".metadata.deletionTimestamp == null and (.status.phase == "Pending" or .status.phase == "Running")"#;
    let events = stage.events.iter().map(
        |[kind, reason, message]| json!({"event": {"type": kind, "reason": reason, "message": message}}),
    );
    let template = format!("{DEFAULTS}{}\n{POD_STATUS}", stage.variables);
    let patch = json!({"patch": {"subresource": "status", "root": "status", "template": template}});
    let steps: Vec<Value> = std::iter::once(patch).chain(events).collect();
    document(
        &format!("pod-{}", stage.name),
        "Pod",
        &json!({
            "selector": {"matchExpressions": [holds(&format!("({alive}) and ({})", stage.when))]},
            "delay": delay(stage.delay),
            "immediateNextStage": true,
            "steps": steps,
        }),
    )
}

/// The end of a pod's processes, at once where none runs.
fn deletion() -> Value {
    document(
        "pod-delete",
        "Pod",
        &json!({
            "selector": {"matchExpressions": [holds(".metadata.deletionTimestamp != null")]},
            "delay": delay(
                r#"if any(.status.containerStatuses[]?; .state.running != null) then seconds("stop-seconds"; 0.3) else 0 end"#
            ),
            "steps": [{"delete": true}],
        }),
    )
}

/// A stage of nodes whose condition Ready is (`In`) or is not (`NotIn`) true and whose fault compares so.
fn node_stage(name: &str, operator: &str, fault: &str, ready: bool) -> Value {
    let template = format!("{{{{ $ready := {ready} }}}}\n{NODE_STATUS}");
    let is_ready = json!({"key": ".status.conditions[]? | select(.type == \"Ready\") | .status",
        "operator": operator, "values": ["True"]});
    document(
        name,
        "Node",
        &json!({
            "selector": {"matchExpressions": [{"jq": is_ready}, holds(&format!("fault {fault}"))]},
            "steps": [{"patch": {"subresource": "status", "root": "status", "template": template}}],
        }),
    )
}

/// A stage of resources of a kind.
pub(crate) fn document(name: &str, kind: &str, spec: &Value) -> Value {
    let mut spec = spec.clone();
    if let Some(fields) = spec.as_object_mut() {
        let resource = json!({"apiGroup": "v1", "kind": kind});
        fields.insert("resourceRef".into(), resource);
    }
    json!({
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": name},
        "spec": spec,
    })
}

/// Selects the objects of which a jq condition is true.
pub(crate) fn holds(condition: &str) -> Value {
    json!({"jq": {"key": program(condition), "operator": "In", "values": ["true"]}})
}

fn delay(seconds: &str) -> Value {
    let expression = program(&format!("{seconds} | tostring + \"s\""));
    json!({"durationMilliseconds": 0, "durationFrom": {"jq": {"expression": expression}}})
}

fn program(expression: &str) -> String {
    let words = WORDS.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("{words} {expression}").replace("LONGEST_BACK_OFF", LONGEST_BACK_OFF)
}
