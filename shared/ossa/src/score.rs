//! Conformance profiles: which features a manifest has, and what share of the points that is.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Document;

/// A conformance profile, as OSSA's JSON files write it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// For example `baseline`.
    pub id: String,
    /// For people.
    pub name: Option<String>,
    /// The profile this one builds on. Its features are repeated in the file, so nothing is looked up.
    pub extends: Option<String>,
    /// What must be there.
    pub required: Features,
    /// What may be there.
    #[serde(default)]
    pub optional: Features,
    /// Thresholds.
    pub scoring: Thresholds,
}

impl Profile {
    /// The standard's three profiles: `baseline`, `enterprise`, `gitlab-kagent` (v0.3.5).
    pub fn standard() -> [Self; 3] {
        let owned = |features: &[&str]| {
            features
                .iter()
                .map(|feature| (*feature).to_owned())
                .collect()
        };
        let profile =
            |id: &str, (required, weight): (usize, f64), pass_threshold, warn_threshold| Self {
                id: id.into(),
                name: None,
                extends: None,
                required: Features {
                    features: owned(REQUIRED.get(..required).unwrap_or(&REQUIRED)),
                    weight,
                },
                optional: Features {
                    features: owned(&OPTIONAL),
                    weight: 100.0 - weight,
                },
                scoring: Thresholds {
                    pass_threshold,
                    warn_threshold,
                },
            };
        let mut baseline = profile("baseline", (4, 100.0), 100.0, 80.0);
        baseline.optional.features = owned(&["metadata.labels", "metadata.annotations"]);
        [
            baseline,
            profile("enterprise", (8, 70.0), 85.0, 70.0),
            profile("gitlab-kagent", (11, 80.0), 90.0, 75.0),
        ]
    }
}

/// What the standard's profiles require: baseline the first four, enterprise eight, gitlab-kagent all.
const REQUIRED: [&str; 11] = [
    "metadata.name",
    "metadata.version",
    "spec.identity.id",
    "spec.role",
    "spec.completion",
    "spec.checkpointing",
    "spec.monitoring",
    "spec.security",
    "spec.extensions.kagent",
    "spec.extensions.kagent.kubernetes.namespace",
    "spec.extensions.kagent.kubernetes.resourceLimits",
];

/// What enterprise and gitlab-kagent reward.
const OPTIONAL: [&str; 3] = [
    "spec.extensions.moe",
    "spec.extensions.feedback_loops",
    "spec.extensions.bat",
];

/// A group of features and what they weigh together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Features {
    /// Dotted paths; a feature is there when its value is not null.
    #[serde(default)]
    pub features: Vec<String>,
    /// Points for all of them.
    #[serde(default)]
    pub weight: f64,
}

/// Points that decide.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Thresholds {
    /// From here on it passes.
    pub pass_threshold: f64,
    /// From here on it only warns.
    #[serde(default)]
    pub warn_threshold: f64,
}

/// How a score stands against the thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// At least the pass threshold.
    Pass,
    /// At least the warn threshold.
    Warn,
    /// Below both.
    Fail,
}

/// The result of one document against one profile.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    /// The profile.
    pub profile: String,
    /// Points, rounded to two digits.
    pub points: f64,
    /// The most there are: both weights.
    pub of: f64,
    /// Against the thresholds.
    pub standing: Standing,
    /// Required features that are missing.
    pub missing_required: Vec<String>,
    /// Optional features that are missing.
    pub missing_optional: Vec<String>,
}

/// Scores a document: `required present / required * weight + optional present / optional * weight`.
pub fn score(profile: &Profile, document: &Document) -> Score {
    let missing_required = missing(&profile.required, document.root());
    let missing_optional = missing(&profile.optional, document.root());
    let points =
        points(&profile.required, &missing_required) + points(&profile.optional, &missing_optional);
    let points = (points * 100.0).round() / 100.0;
    let standing = match profile.scoring {
        Thresholds { pass_threshold, .. } if points >= pass_threshold => Standing::Pass,
        Thresholds { warn_threshold, .. } if points >= warn_threshold => Standing::Warn,
        Thresholds { .. } => Standing::Fail,
    };
    let of = profile.required.weight + profile.optional.weight;
    Score {
        profile: profile.id.clone(),
        points,
        of,
        standing,
        missing_required,
        missing_optional,
    }
}

fn missing(group: &Features, root: &Value) -> Vec<String> {
    group
        .features
        .iter()
        .filter(|feature| !is_present(root, feature))
        .cloned()
        .collect()
}

fn is_present(root: &Value, feature: &str) -> bool {
    let value = feature
        .split('.')
        .try_fold(root, |value, key| value.get(key));
    value.is_some_and(|value| !value.is_null())
}

/// An empty group gives all its points.
#[expect(
    clippy::cast_precision_loss,
    reason = "a profile has a handful of features"
)]
fn points(group: &Features, missing: &[String]) -> f64 {
    if group.features.is_empty() {
        return group.weight;
    }
    let present = group.features.len() - missing.len();
    present as f64 / group.features.len() as f64 * group.weight
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile() -> Profile {
        serde_json::from_str(
            r#"{"id": "p", "required": {"features": ["metadata.name", "spec.role", "spec.x"], "weight": 70},
                "optional": {"features": ["spec.y", "spec.z"], "weight": 30},
                "scoring": {"pass_threshold": 80, "warn_threshold": 60}}"#,
        )
        .unwrap()
    }

    fn scored(text: &str) -> Score {
        score(&profile(), &Document::parse(text).unwrap())
    }

    #[test]
    fn adds_the_shares_of_both_groups() {
        let full = scored("metadata: {name: a}\nspec: {role: r, x: {}, y: false, z: 0}");
        assert_eq!((full.points, full.standing), (100.0, Standing::Pass));
        let part = scored("metadata: {name: a}\nspec: {role: r, y: 1, z: null}");
        assert!((part.points - 61.67).abs() < 1e-9); // 70 * 2/3 + 30 * 1/2
        assert_eq!(part.standing, Standing::Warn);
        assert_eq!(part.missing_required, ["spec.x"]);
        assert_eq!(part.missing_optional, ["spec.z"]);
        assert_eq!(scored("metadata: name").standing, Standing::Fail);
    }
}
