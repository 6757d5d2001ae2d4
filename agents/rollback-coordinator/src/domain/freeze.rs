//! Controllers that would write the same fields as a rollback, and what keeps each of them still.
//!
//! A `HorizontalPodAutoscaler` needs no hold: it lets a workload that is scaled to zero alone, by its own rule
//! (`ScalingDisabled`), and goes on when pods are wanted again.

use serde_json::{Value, json};

use super::hold::{Hold, ObjectRef, Purpose, text};

/// A kind of controller's object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freezer {
    /// Group and version.
    pub api_version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// The resource in URLs.
    pub plural: &'static str,
    target: &'static str,
    when: When,
    path: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// It writes the number of pods, which only a stop of the writers changes too.
    Stopping,
    /// It acts on every change of the template, or evicts pods.
    Always,
}

/// What may write the same fields: KEDA scales up from zero, Flagger takes a restored template for a new release, and the
/// vertical autoscaler evicts pods that have just come back.
pub const FREEZERS: [Freezer; 3] = [
    Freezer {
        api_version: "keda.sh/v1alpha1",
        kind: "ScaledObject",
        plural: "scaledobjects",
        target: "/spec/scaleTargetRef",
        when: When::Stopping,
        path: "/metadata/annotations/autoscaling.keda.sh~1paused",
    },
    Freezer {
        api_version: "autoscaling.k8s.io/v1",
        kind: "VerticalPodAutoscaler",
        plural: "verticalpodautoscalers",
        target: "/spec/targetRef",
        when: When::Always,
        path: "/spec/updatePolicy/updateMode",
    },
    Freezer {
        api_version: "flagger.app/v1beta1",
        kind: "Canary",
        plural: "canaries",
        target: "/spec/targetRef",
        when: When::Always,
        path: "/spec/suspend",
    },
];

impl Freezer {
    /// An object of this kind.
    pub fn object(&self, namespace: &str, name: &str) -> ObjectRef {
        ObjectRef {
            api_version: self.api_version.into(),
            kind: self.kind.into(),
            plural: self.plural.into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    fn during(&self) -> Value {
        match self.kind {
            "ScaledObject" => json!("true"),
            "VerticalPodAutoscaler" => json!("Off"),
            _ => json!(true),
        }
    }

    /// The hold of an object, when it acts on the workload in a way that would disturb the rollback.
    pub fn hold(&self, live: &Value, (kind, name): (&str, &str), stops: bool) -> Option<Hold> {
        let wanted = self.when == When::Always || stops;
        let target = live.pointer(self.target)?;
        let is_ours = target.get("name").and_then(Value::as_str) == Some(name)
            // KEDA's default; the others name it.
            && target.get("kind").and_then(Value::as_str).unwrap_or("Deployment") == kind;
        // Resources for new pods only: it evicts nothing.
        let harmless = matches!(
            text(live, "/spec/updatePolicy/updateMode"),
            Some("Off" | "Initial")
        ) && super::hold::holder(live).is_none();
        if !wanted || !is_ours || harmless {
            return None;
        }
        let namespace = text(live, "/metadata/namespace")?;
        let object = self.object(namespace, text(live, "/metadata/name")?);
        let field = (self.path.to_owned(), self.during());
        Some(Hold::of((object, live), Purpose::Freeze, [field]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn freezer(kind: &str) -> Freezer {
        FREEZERS.into_iter().find(|one| one.kind == kind).unwrap()
    }

    fn live(target: &str, kind: Option<&str>) -> Value {
        json!({"metadata": {"namespace": "shop", "name": "web", "uid": "u"},
            "spec": {target: {"name": "web", "kind": kind}, "updatePolicy": {"updateMode": "Auto"}}})
    }

    #[test]
    fn what_scales_is_held_only_while_writers_are_stopped() {
        let keda = freezer("ScaledObject");
        let object = json!({"metadata": {"namespace": "shop", "name": "web", "uid": "u"}, "spec": {"scaleTargetRef": {"name": "web"}}});
        let hold = keda.hold(&object, ("Deployment", "web"), true).unwrap();
        assert_eq!(
            hold.take("one", 3)
                .pointer("/metadata/annotations/autoscaling.keda.sh~1paused"),
            Some(&json!("true"))
        );
        assert_eq!(keda.hold(&object, ("Deployment", "web"), false), None);
        assert_eq!(keda.hold(&object, ("StatefulSet", "web"), true), None);
        assert_eq!(keda.hold(&object, ("Deployment", "api"), true), None);
    }

    #[test]
    fn what_takes_a_restored_template_for_a_release_is_always_held() {
        let canary = freezer("Canary");
        let hold = canary
            .hold(
                &live("targetRef", Some("Deployment")),
                ("Deployment", "web"),
                false,
            )
            .unwrap();
        assert_eq!(hold.object.to_string(), "canaries/shop/web");
        assert_eq!(hold.take("one", 3)["spec"]["suspend"], true);
    }

    #[test]
    fn what_evicts_nothing_is_left_alone() {
        let vertical = freezer("VerticalPodAutoscaler");
        let mut object = live("targetRef", Some("Deployment"));
        let target = ("Deployment", "web");
        let hold = vertical.hold(&object, target, false).unwrap();
        assert_eq!(
            hold.take("one", 3)["spec"]["updatePolicy"]["updateMode"],
            "Off"
        );
        for mode in ["Off", "Initial"] {
            object["spec"]["updatePolicy"]["updateMode"] = json!(mode);
            assert_eq!(vertical.hold(&object, target, false), None, "{mode}");
        }
        // Held by another rollback: it is not its owner's wish, so it is taken over.
        super::super::hold::tests::merge(&mut object, &hold.take("one", 3));
        let next = vertical.hold(&object, target, false).unwrap();
        assert_eq!(next.fields[0].before, Some(json!("Auto")));
    }
}
