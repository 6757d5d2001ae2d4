//! Changes of a workload: each says when it is in force, so that it can be repeated after a crash.

use serde_json::{Value, json};

use super::workload::Workload;

/// A change of a workload.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Pauses the rollout.
    Pause,
    /// Takes all pods away. One ReplicaSet alone would not stay at zero: a paused Deployment still scales the only
    /// ReplicaSet with pods, and the newest one when none has any.
    Stop,
    /// Resumes the rollout with as many pods as before.
    Resume {
        /// Pods before the stop.
        replicas: u32,
    },
    /// Puts a template back and resumes the rollout, as `kubectl rollout undo` does.
    Restore {
        /// The template.
        template: Value,
        /// Pods before the stop; absent when nothing was stopped.
        replicas: Option<u32>,
    },
}

impl Change {
    /// Whether there is nothing left to do.
    pub fn is_in_force(&self, workload: &Workload) -> bool {
        match self {
            Self::Pause => workload.paused,
            Self::Stop => workload.replicas == 0,
            Self::Resume { replicas } => !workload.paused && runs(workload, *replicas),
            Self::Restore { template, replicas } => {
                let back = replicas.is_none_or(|replicas| runs(workload, replicas));
                !workload.paused && back && workload.template == *template
            }
        }
    }

    /// The change as JSON Patch operations. `add` replaces a member that is there.
    pub fn operations(&self, workload: &Workload) -> Vec<Value> {
        match self {
            Self::Pause => vec![set("paused", &json!(true))],
            Self::Stop => vec![set("replicas", &json!(0))],
            Self::Resume { replicas } => resume(workload, Some(*replicas)),
            Self::Restore { template, replicas } => {
                let mut operations = vec![set("template", template)];
                operations.extend(resume(workload, *replicas));
                operations
            }
        }
    }

    /// A fixed word for logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Stop => "stop",
            Self::Resume { .. } => "resume",
            Self::Restore { .. } => "restore",
        }
    }
}

/// Whether pods are wanted again. A number that somebody chose since then stays.
fn runs(workload: &Workload, replicas: u32) -> bool {
    workload.replicas > 0 || replicas == 0
}

fn resume(workload: &Workload, replicas: Option<u32>) -> Vec<Value> {
    let paused = workload.paused.then(|| set("paused", &json!(false)));
    let stopped = replicas.filter(|replicas| !runs(workload, *replicas));
    let replicas = stopped.map(|replicas| set("replicas", &json!(replicas)));
    paused.into_iter().chain(replicas).collect()
}

fn set(member: &str, value: &Value) -> Value {
    json!({"op": "add", "path": format!("/spec/{member}"), "value": value})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Kind, Rollout, WorkloadId};

    fn web(replicas: u32, paused: bool) -> Workload {
        Workload {
            id: WorkloadId {
                namespace: "shop".into(),
                kind: Kind::Deployment,
                name: "web".into(),
            },
            resource_version: "7".into(),
            uid: "u".into(),
            replicas,
            paused,
            rollout: Rollout::default(),
            template: json!({"spec": "bad"}),
            annotations: json!({}),
            revisions: Vec::new(),
        }
    }

    /// Carries the operations out, with the semantics of RFC 6902 for members of `spec`.
    fn applied(change: &Change, mut workload: Workload) -> Workload {
        for operation in change.operations(&workload.clone()) {
            assert_eq!(operation["op"], "add");
            let value = operation["value"].clone();
            match operation["path"].as_str().unwrap() {
                "/spec/paused" => workload.paused = value.as_bool().unwrap(),
                "/spec/replicas" => workload.replicas = serde_json::from_value(value).unwrap(),
                "/spec/template" => workload.template = value,
                other => panic!("{other}"),
            }
        }
        workload
    }

    #[test]
    fn every_change_is_in_force_after_its_operations_whatever_was_before() {
        let template = json!({"spec": "good"});
        let changes = [
            Change::Pause,
            Change::Stop,
            Change::Resume { replicas: 3 },
            Change::Restore {
                template: template.clone(),
                replicas: Some(3),
            },
            Change::Restore {
                template,
                replicas: None,
            },
        ];
        for change in changes {
            for before in [web(3, false), web(3, true), web(0, true), web(0, false)] {
                let after = applied(&change, before.clone());
                assert!(change.is_in_force(&after), "{change:?} of {before:?}");
                assert_eq!(
                    applied(&change, after.clone()),
                    after,
                    "again changes nothing"
                );
            }
        }
    }

    #[test]
    fn what_was_never_stopped_keeps_its_size() {
        let restore = Change::Restore {
            template: json!({}),
            replicas: None,
        };
        assert_eq!(applied(&restore, web(0, false)).replicas, 0);
        let resume = Change::Resume { replicas: 3 };
        assert_eq!(
            applied(&resume, web(5, true)).replicas,
            5,
            "somebody scaled it in between"
        );
    }
}
