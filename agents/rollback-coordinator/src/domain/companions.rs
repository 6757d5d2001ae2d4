//! What goes back beside the workload itself, and the steps that it adds to a plan.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    config::ConfigChange,
    helm::ReleasePlan,
    plan::{Plan, Step},
    traffic::Shift,
};

/// Pod template annotation that makes new pods of an old revision, so that they read their environment again. Its value
/// names the content.
pub const RESTART_ANNOTATION: &str = "ossa.io/restored-configuration";

/// What goes back beside the workload.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Companions {
    /// The Helm release that brought the workload in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<ReleasePlan>,
    /// `ConfigMaps` and Secrets whose content the target ran with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub configuration: Vec<ConfigChange>,
    /// Traffic that leaves the bad version first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Shift>,
    /// Whether pods of the target run already and have to read their environment again; the value of the annotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<String>,
}

impl Companions {
    /// Whether the workload goes back alone.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn steps(&self) -> Vec<Step> {
        let release = self.release.is_some();
        let config = !self.configuration.is_empty();
        [
            (Step::ClaimRelease, release),
            (Step::ShiftTraffic, self.traffic.is_some()),
            (Step::RestoreConfiguration, config),
            (Step::RestoreObjects, release),
            (Step::RecordRelease, release),
        ]
        .into_iter()
        .filter_map(|(step, wanted)| wanted.then_some(step))
        .collect()
    }
}

impl Plan {
    /// The plan with what goes back beside the workload, and why.
    #[must_use]
    pub fn accompanied(mut self, companions: Companions, reasons: Vec<String>) -> Self {
        self.steps.extend(companions.steps());
        self.steps.sort();
        self.reasons.extend(reasons);
        self.companions = companions;
        self
    }
}

/// The target's template as it comes back: marked when its pods have to read their environment again.
pub fn target_template(template: &Value, companions: &Companions) -> Value {
    let mut template = template.clone();
    let Some(content) = &companions.restart else {
        return template;
    };
    if template
        .pointer("/metadata/annotations")
        .is_none_or(Value::is_null)
        && let Some(metadata) = template.get_mut("metadata").and_then(Value::as_object_mut)
    {
        metadata.insert("annotations".into(), Value::Object(serde_json::Map::new()));
    }
    let annotations = template.pointer_mut("/metadata/annotations");
    if let Some(annotations) = annotations.and_then(Value::as_object_mut) {
        annotations.insert(RESTART_ANNOTATION.into(), content.clone().into());
    }
    template
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::config::{ConfigKind, Reference};

    fn change() -> ConfigChange {
        ConfigChange {
            reference: Reference {
                kind: ConfigKind::Secret,
                name: "s".into(),
                optional: false,
                in_environment: true,
            },
            from: None,
            to: "a".into(),
            added: Vec::new(),
            removed: Vec::new(),
            changed: Vec::new(),
        }
    }

    #[test]
    fn configuration_comes_back_before_the_template_and_nothing_else_is_added() {
        let configuration = Companions {
            configuration: vec![change()],
            ..Companions::default()
        };
        assert_eq!(configuration.steps(), [Step::RestoreConfiguration]);
        assert!(Companions::default().steps().is_empty());
        assert!(Step::RollBackDatabase < Step::RestoreConfiguration);
        assert!(Step::RestoreConfiguration < Step::RestoreTemplate);
        assert!(Step::Lock < Step::ClaimRelease && Step::ClaimRelease < Step::PauseRollout);
        assert!(Step::Verify < Step::RecordRelease && Step::RecordRelease < Step::Release);
    }
}
