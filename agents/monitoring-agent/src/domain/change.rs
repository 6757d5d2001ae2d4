//! The change that an incident is linked to.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{At, Revision, template::Field, trigger::View};

/// The last change of a workload's pods.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// When its revision became current.
    pub at: At,
    /// The revision.
    pub revision: Option<u64>,
    /// Name of the `ReplicaSet` or `ControllerRevision` that holds it.
    pub name: Option<String>,
    /// The revision before.
    pub previous: Option<u64>,
    /// Parts of the pod template that differ from the revision before.
    pub fields: BTreeSet<Field>,
    /// Images that differ.
    pub images: Vec<ImageChange>,
    /// Where it comes from: `ossa.io/traceparent`, annotations of GitLab, Helm and Argo CD, Helm's labels.
    pub origin: BTreeMap<String, String>,
}

/// The change of one image.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageChange {
    /// The container.
    pub container: String,
    /// Its image before; none when the container is new.
    pub from: Option<String>,
    /// Its image now; none when the container is gone.
    pub to: Option<String>,
}

impl Change {
    /// The last change of the workload in view.
    pub fn of(view: &View<'_>) -> Self {
        let (current, before) = (view.current, view.before);
        let fields = match (current, before) {
            (Some(current), Some(before)) => current.template.changed_since(&before.template),
            _ => BTreeSet::new(),
        };
        Self {
            at: view.change_at,
            revision: view.revision(),
            name: current.map(|revision| revision.name.clone()),
            previous: before.map(|revision| revision.number),
            fields,
            images: images(current, before),
            origin: view.workload.origin.clone(),
        }
    }

    /// The change in one sentence.
    pub fn describe(&self) -> String {
        let number = |number: Option<u64>| number.map_or_else(|| "?".into(), |n| n.to_string());
        let mut text = format!("revision {}", number(self.revision));
        if self.previous.is_some() {
            text = format!("{text} after {}", number(self.previous));
        }
        for ImageChange {
            container,
            from,
            to,
        } in &self.images
        {
            let (from, to) = (
                from.as_deref().unwrap_or("nothing"),
                to.as_deref().unwrap_or("nothing"),
            );
            text = format!("{text}, image of {container} from {from} to {to}");
        }
        text
    }
}

fn images(current: Option<&Revision>, before: Option<&Revision>) -> Vec<ImageChange> {
    let (Some(current), Some(before)) = (current, before) else {
        return Vec::new();
    };
    let (new, old) = (&current.template.images, &before.template.images);
    let names: BTreeSet<&String> = new.keys().chain(old.keys()).collect();
    names
        .into_iter()
        .filter(|name| new.get(*name) != old.get(*name))
        .map(|name| ImageChange {
            container: name.clone(),
            from: old.get(name).cloned(),
            to: new.get(name).cloned(),
        })
        .collect()
}
