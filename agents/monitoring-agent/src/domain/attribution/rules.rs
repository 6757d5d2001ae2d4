//! The rules, in their order. Each looks at one kind of cause and says why it holds.

use std::collections::{BTreeSet, HashSet};

use super::{Attribution, Cause, Mark, scene::Scene};
use crate::domain::{
    Reason,
    health::Seen,
    messages::{Homeless, MountFault, Reference, Refusal, WaitFault},
    template::Field,
    thresholds::{CONFIG_APART_MS, CONFIG_WINDOW_MS, SHARED_WINDOW_MS},
    trigger::{Trigger, View},
};

type Rule = fn(&Scene<'_>) -> Option<Cause>;

/// In the order in which they are asked.
pub(super) const RULES: [Rule; 13] = [
    refused,
    homeless,
    node,
    sandbox,
    missing,
    storage,
    registry,
    shared,
    configuration,
    load,
    requests,
    controller,
    release,
];

/// Its controller cannot make pods.
fn refused(scene: &Scene<'_>) -> Option<Cause> {
    let (refusal, _) = scene.view.refusal.as_ref()?;
    if scene.trigger != Trigger::CreationRefused && !scene.bad.is_empty() {
        return None;
    }
    let because = refusal.describe();
    let namespace = scene.namespace();
    let more = || {
        let names = ["cpu", "memory", "ephemeral-storage"];
        names.iter().any(|name| scene.asks_more(name))
    };
    match refusal {
        Refusal::Quota(name) => {
            let subject = format!("resourcequota/{namespace}/{name}");
            let release = more().then(|| {
                scene.blames(format!(
                    "{because}, and the release asks for more than before"
                ))
            });
            release
                .flatten()
                .or_else(|| Some(Cause::new(Attribution::Quota, subject, because)))
        }
        Refusal::Webhook => {
            let subject = "admission-webhook".to_owned();
            Some(Cause::new(Attribution::Dependency, subject, because))
        }
        Refusal::Missing(reference) => Some(gone(scene, reference)),
        Refusal::Denied | Refusal::Other => {
            let release = (!scene.changed.is_empty())
                .then(|| scene.blames(format!("{because}, and those before them were made")));
            let subject = format!("admission/{namespace}");
            release.flatten().or_else(|| {
                let because = format!("{because}, and no release changed them");
                Some(Cause::new(Attribution::Configuration, subject, because))
            })
        }
    }
}

/// The scheduler finds no node for any bad pod.
fn homeless(scene: &Scene<'_>) -> Option<Cause> {
    if !scene.all(Reason::Unschedulable) {
        return None;
    }
    let mut why = Homeless::default();
    for homeless in scene.bad.iter().filter_map(|s| s.pod.homeless.as_ref()) {
        why.placement |= homeless.placement;
        why.claims |= homeless.claims;
        why.resources.extend(homeless.resources.iter().cloned());
    }
    if why.placement
        && scene.changed(Field::Placement)
        && let Some(cause) = scene.blames("no node fits the placement that the release changed")
    {
        return Some(cause);
    }
    if let Some(resource) = why.resources.iter().find(|name| too_much(scene, name)) {
        let because = format!("no node has room for the {resource} that the release asks for now");
        if let Some(cause) = scene.blames(because) {
            return Some(cause);
        }
    }
    if why.claims && why.resources.is_empty() {
        let released = scene.changed(Field::Volumes) || scene.changed(Field::References);
        let release = released.then(|| scene.blames("a claim that the release added is not bound"));
        return release.flatten().or_else(|| {
            let subject = format!("storage/{}", scene.namespace());
            let because = "a claim of the pods has no volume that they can reach";
            Some(Cause::new(Attribution::Dependency, subject, because))
        });
    }
    let subject = "capacity".to_owned();
    let because = "the scheduler finds no node for the pods";
    Some(Cause::new(Attribution::Capacity, subject, because))
}

/// The release asks for more than any node has, or for more than before while nobody else lacks room.
fn too_much(scene: &Scene<'_>, resource: &str) -> bool {
    let current = scene.view.current.map(|revision| &revision.template);
    let amount = current.and_then(|template| template.requests.get(resource));
    let fits = amount.is_none_or(|a| scene.view.around.fits_a_node(resource, *a));
    let lacking = |mark: &Mark| mark.reason == Some(Reason::Unschedulable);
    scene.asks_more(resource) && (!fits || !scene.view.elsewhere().any(lacking))
}

/// The bad pods' nodes say themselves that they are not well.
fn node(scene: &Scene<'_>) -> Option<Cause> {
    let around = scene.view.around;
    if !scene.placed() {
        return None;
    }
    if scene.nodes.iter().all(|node| around.is_out(node)) {
        return Some(node_cause(scene));
    }
    let pressed = scene.nodes.iter().all(|n| !around.troubles(n).is_empty());
    let own_doing = scene.suspect && scene.only_current_bad() && !scene.well_elsewhere();
    (pressed && !own_doing).then(|| node_cause(scene))
}

fn node_cause(scene: &Scene<'_>) -> Cause {
    let troubles: BTreeSet<&str> = scene
        .nodes
        .iter()
        .flat_map(|node| scene.view.around.troubles(node))
        .map(crate::domain::NodeTrouble::as_str)
        .collect();
    let troubles: Vec<&str> = troubles.into_iter().collect();
    let nodes: Vec<&str> = scene.nodes.iter().copied().collect();
    let because = format!(
        "all bad pods are on {}, which report {}",
        nodes.join(", "),
        troubles.join(", ")
    );
    Cause::new(Attribution::Node, scene.node_subject(), because)
}

/// No sandbox can be made: never the doing of a template.
fn sandbox(scene: &Scene<'_>) -> Option<Cause> {
    if !scene.all(Reason::Sandbox) {
        return None;
    }
    Some(if scene.nodes.len() == 1 {
        let because = "its node cannot make sandboxes for pods";
        Cause::new(Attribution::Node, scene.node_subject(), because)
    } else {
        let because = "several nodes cannot make sandboxes for pods";
        Cause::new(Attribution::Dependency, "pod-network".to_owned(), because)
    })
}

/// The missing object that all bad pods wait for, when they do.
fn missing(scene: &Scene<'_>) -> Option<Cause> {
    let mut waits = scene.bad.iter().map(|seen| waits_for(scene.view, seen));
    let first = waits.next()??;
    waits
        .all(|reference| reference == Some(first))
        .then(|| gone(scene, first))
}

fn waits_for<'a>(view: &View<'a>, seen: &Seen<'a>) -> Option<&'a Reference> {
    let faults = seen.pod.containers.iter().map(|c| c.fault.as_ref());
    let container = faults.flatten().find_map(|fault| match fault {
        WaitFault::Missing(reference) => Some(reference),
        WaitFault::Registry => None,
    });
    container.or_else(|| match view.mount_fault(seen)? {
        MountFault::Missing(reference) => Some(reference),
        MountFault::Storage => None,
    })
}

/// Something is not there: the release's doing when only the release needs it.
fn gone(scene: &Scene<'_>, reference: &Reference) -> Cause {
    let needed_before = scene
        .view
        .before
        .is_some_and(|before| before.template.needs.contains(reference));
    let release = (!needed_before).then(|| {
        scene.blames(format!(
            "{reference} is not there as the release needs it, and the revision before does not"
        ))
    });
    release.flatten().unwrap_or_else(|| {
        let kind = reference.kind.as_str().to_ascii_lowercase();
        let subject = format!("{kind}/{}/{}", scene.namespace(), reference.name);
        let because = format!("{reference} is gone or incomplete, without a rollout");
        Cause::new(Attribution::Configuration, subject, because)
    })
}

/// Volumes do not mount although nothing is missing.
fn storage(scene: &Scene<'_>) -> Option<Cause> {
    if !scene.all(Reason::Mount) {
        return None;
    }
    let release = scene
        .changed(Field::Volumes)
        .then(|| scene.blames("a volume that the release changed does not mount"));
    release.flatten().or_else(|| {
        let subject = format!("storage/{}", scene.namespace());
        let because = "volumes do not mount, and no release changed them";
        Some(Cause::new(Attribution::Dependency, subject, because))
    })
}

/// Images cannot be had although the release is not to blame.
fn registry(scene: &Scene<'_>) -> Option<Cause> {
    if !scene.all(Reason::ImagePull) {
        return None;
    }
    let down = |seen: &&Seen<'_>| {
        let containers = seen.pod.containers.iter();
        containers
            .filter_map(|container| container.fault.as_ref())
            .any(|fault| *fault == WaitFault::Registry)
    };
    let subject = "registry".to_owned();
    if scene.bad.iter().all(down) {
        let because = "the registry does not answer, or turns everybody away";
        return Some(Cause::new(Attribution::Dependency, subject, because));
    }
    let before = scene.view.before.map(|before| &before.template.images);
    let known = before.is_some_and(|b| !b.is_empty()) && !scene.changed(Field::Images);
    known.then(|| {
        let because = "an image cannot be had that the revision before runs too";
        Cause::new(Attribution::Dependency, subject, because)
    })
}

/// Others that nobody released are in trouble too, or the old revision is.
fn shared(scene: &Scene<'_>) -> Option<Cause> {
    let sick = |mark: &&&Mark| {
        let node = mark.node.as_ref();
        node.is_some_and(|node| scene.view.around.is_out(node))
    };
    let others = scene.others();
    let shared: Vec<_> = others.iter().filter(|mark| !sick(mark)).collect();
    if !shared.is_empty() {
        let here = |node: Option<&str>| node.is_some_and(|node| scene.nodes.contains(node));
        let same = scene.nodes.len() == 1
            && scene.placed()
            && shared.iter().all(|mark| here(mark.node.as_deref()));
        if same && scene.well_elsewhere() {
            let because = "pods of other workloads on the same node are bad too, and sisters elsewhere are well";
            return Some(Cause::new(Attribution::Node, scene.node_subject(), because));
        }
        let names: HashSet<_> = shared.iter().map(|mark| &mark.key).collect();
        let because = format!(
            "pods of {} other workloads, which nobody released, turned bad too",
            names.len()
        );
        return Some(Cause::new(
            Attribution::Dependency,
            "shared-dependency".to_owned(),
            because,
        ));
    }
    let both = scene.current_bad() && scene.bad.iter().any(|seen| !seen.current);
    let quiet = configuration(scene).is_none() && load(scene).is_none();
    (both && quiet).then(|| {
        let because = "pods of the revision before turned bad too";
        Cause::new(Attribution::Dependency, None, because)
    })
}

/// A `ConfigMap` that the pods need changed, apart from any release, shortly before the trouble.
fn configuration(scene: &Scene<'_>) -> Option<Cause> {
    let template = &scene.view.current?.template;
    let namespace = scene.namespace();
    let (reference, at) = scene.view.around.changed_config(namespace, template)?;
    let apart = at.since(scene.view.change_at) > CONFIG_APART_MS || !scene.view.in_release_window;
    let before = (0..=CONFIG_WINDOW_MS).contains(&scene.began.since(at));
    let release_explains = scene.suspect && scene.old_good && scene.only_current_bad();
    (apart && before && !release_explains).then(|| {
        let subject = format!("configmap/{namespace}/{}", reference.name);
        let because = format!("{reference} changed shortly before, without a rollout");
        Cause::new(Attribution::Configuration, subject, because)
    })
}

/// The autoscaler gave what it may, and it is not enough.
fn load(scene: &Scene<'_>) -> Option<Cause> {
    let (name, since) = scene.view.around.limited(&scene.view.workload.key)?;
    let overload = |seen: &&Seen<'_>| {
        matches!(
            seen.bad(),
            Some(
                Reason::ProbeFailing
                    | Reason::NotReadyInTime
                    | Reason::OutOfMemory
                    | Reason::Restarts
                    | Reason::Crashed
            )
        )
    };
    let busier = scene.view.requests.and_then(|r| r.traffic_ratio);
    let busier = busier.is_some_and(|ratio| ratio >= 1.5);
    let mixed = scene.current_bad() && !scene.only_current_bad();
    let at_rest = scene.trigger == Trigger::AutoscalerAtLimit;
    let earlier = since < scene.view.change_at;
    let not_released = !scene.suspect || earlier || busier || mixed || at_rest;
    let fits = scene.bad.iter().all(overload);
    (fits && not_released && since <= scene.began.plus(SHARED_WINDOW_MS)).then(|| {
        let subject = format!("horizontalpodautoscaler/{}/{name}", scene.namespace());
        let because = format!("autoscaler {name} is at its limit and wants more");
        Cause::new(Attribution::Load, subject, because)
    })
}

/// Pods are well; the requests that they serve are not.
fn requests(scene: &Scene<'_>) -> Option<Cause> {
    let requests = scene.view.requests.filter(|_| scene.bad.is_empty())?;
    let worse = requests.worse_than_before == Some(true);
    let since_change = requests.since >= scene.view.change_at;
    if scene.view.burning_elsewhere {
        let because = "requests to other workloads, which nobody released, fail too";
        let subject = "shared-dependency".to_owned();
        return Some(Cause::new(Attribution::Dependency, subject, because));
    }
    if requests.traffic_ratio.is_some_and(|ratio| ratio >= 2.0) {
        let because = "requests are at least twice as many as before";
        return Some(Cause::new(Attribution::Load, None, because));
    }
    let can = scene.suspect && worse && since_change;
    can.then(|| {
        let because = "requests fail or are slow since the release, significantly more than before";
        Cause::new(Attribution::Release, None, because)
    })
}

/// The controller of the workload does not act.
fn controller(scene: &Scene<'_>) -> Option<Cause> {
    (scene.trigger == Trigger::GenerationLag).then(|| {
        let subject = format!("controller/{}", scene.view.workload.key.kind.plural());
        let because = "the controller has not seen the newest spec";
        Cause::new(Attribution::Dependency, subject, because)
    })
}

/// Nothing else explains it, and the revision is new.
fn release(scene: &Scene<'_>) -> Option<Cause> {
    let given_up = scene.bad.is_empty() && scene.view.workload.deadline_exceeded;
    if !(scene.current_bad() || given_up) {
        return None;
    }
    scene.blames(if scene.old_good {
        "only pods of the new revision are bad, and those of the revision before serve"
    } else {
        "pods of the new revision are bad, and the revision before was healthy"
    })
}
