//! The Pod Security Standards of Kubernetes 1.37, check by check as `k8s.io/pod-security-admission` has them.

mod baseline;
mod restricted;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    finding::{Finding, Findings, Severity},
    object::Object,
    rules::Rule,
    yaml::Cursor,
};

/// How much a pod may do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum PodSecurity {
    /// Everything; violations of both levels are warnings.
    Privileged,
    /// Nothing that leads to known privilege escalations; violations of `restricted` are warnings.
    #[default]
    Baseline,
    /// Current hardening practice.
    Restricted,
}

/// A pod template and its parts.
#[derive(Debug)]
pub struct Pod<'a> {
    /// `metadata` and `spec` together.
    pub template: Cursor<'a>,
    /// The spec.
    pub spec: Cursor<'a>,
}

/// A place that violates a rule, why, and what would be right.
type Violation<'a> = (Cursor<'a>, String, &'static str);

impl<'a> Pod<'a> {
    /// The pod that an object is or makes.
    pub fn of(object: &Object<'a>) -> Option<Self> {
        let template = object.pod_template()?;
        Some(Self {
            spec: template.get("spec")?,
            template,
        })
    }

    /// Init, main and ephemeral containers.
    pub fn containers(&self) -> Vec<Cursor<'a>> {
        ["initContainers", "containers", "ephemeralContainers"]
            .iter()
            .flat_map(|list| self.spec.list(list))
            .collect()
    }

    /// The pod's and the containers' security contexts.
    fn security_contexts(&self) -> Vec<Cursor<'a>> {
        let containers = self.containers();
        std::iter::once(&self.spec)
            .chain(&containers)
            .filter_map(|place| place.get("securityContext"))
            .collect()
    }

    /// A pod in a user namespace of its own.
    fn has_user_namespace(&self) -> bool {
        self.flag(&self.spec, "hostUsers") == Some(false)
    }

    /// A pod for Windows nodes, which the Linux-only checks leave alone.
    fn is_windows(&self) -> bool {
        self.spec.get("os").and_then(|os| os.text("name")) == Some("windows")
    }

    #[expect(clippy::unused_self, reason = "reads as a question to the pod")]
    fn flag(&self, place: &Cursor<'_>, key: &str) -> Option<bool> {
        place.get(key)?.node().as_bool()
    }
}

/// Checks a pod; violations of the enforced level are errors, of higher levels warnings.
pub fn check(object: &Object<'_>, pod: &Pod<'_>, enforced: PodSecurity, findings: &mut Findings) {
    let baseline = baseline::CHECKS
        .iter()
        .map(|check| (PodSecurity::Baseline, check));
    let restricted = restricted::CHECKS
        .iter()
        .map(|check| (PodSecurity::Restricted, check));
    for (level, (rule, check)) in baseline.chain(restricted) {
        let severity = if level <= enforced {
            Severity::Error
        } else {
            Severity::Warning
        };
        for (place, message, expected) in check(pod) {
            let got = place.describe();
            findings.push(
                Finding::at(rule, object, &place, message)
                    .severity(severity)
                    .expected(expected)
                    .got(got),
            );
        }
    }
}

/// A rule and what finds its violations.
type Check = (Rule, for<'a> fn(&Pod<'a>) -> Vec<Violation<'a>>);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::yaml::compose;

    #[derive(Deserialize)]
    struct Fixture {
        level: PodSecurity,
        pass: bool,
        name: String,
        pod: serde_json::Value,
    }

    /// `testdata/pod-security-v1.37.json` are the fixtures that pod-security-admission tests itself with.
    #[test]
    fn agrees_with_the_admission_controller_on_its_own_fixtures() {
        let fixtures: Vec<Fixture> =
            serde_json::from_str(include_str!("../../testdata/pod-security-v1.37.json")).unwrap();
        assert_eq!(fixtures.len(), 148);
        for Fixture {
            level,
            pass,
            name,
            pod,
        } in fixtures
        {
            let composed = compose(&pod.to_string()).unwrap();
            let objects = Object::all_in(&name, 0, &composed.documents[0]);
            let mut findings = Findings::default();
            check(
                &objects[0],
                &Pod::of(&objects[0]).unwrap(),
                level,
                &mut findings,
            );
            assert_eq!(
                findings.counts().error == 0,
                pass,
                "{level:?} {name}: {:?}",
                findings.kept()
            );
        }
    }
}
