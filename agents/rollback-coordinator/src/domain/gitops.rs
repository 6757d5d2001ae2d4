//! Who brings a workload from Git, how each of them is paused, and when Git holds what a rollback restored.
//!
//! Argo CD: `spec.syncPolicy.automated.enabled: false`, or the annotation `skip-reconcile` where that field is not known
//! yet. What created the Application (an app of apps, an `ApplicationSet`) would switch it on again, so it is paused too, up to
//! the root. Flux: `spec.suspend: true` on the Kustomization or `HelmRelease` and on what applies those.

use serde_json::{Value, json};

use super::hold::{Hold, ObjectRef, Purpose, text};

/// Annotation in which Argo CD names the Application of an object.
const TRACKING: &str = "/metadata/annotations/argocd.argoproj.io~1tracking-id";
/// Label in which Argo CD named it before, and Helm names a release.
const INSTANCE: &str = "/metadata/labels/app.kubernetes.io~1instance";
/// Annotation that makes Argo CD leave an Application alone.
const SKIP_RECONCILE: &str = "/metadata/annotations/argocd.argoproj.io~1skip-reconcile";
/// Switch of Argo CD's automated sync.
const ENABLED: &str = "/spec/syncPolicy/automated/enabled";

/// A kind of GitOps object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manager {
    /// Argo CD's Application.
    Application,
    /// What generates Applications.
    ApplicationSet,
    /// Flux's Kustomization.
    Kustomization,
    /// Flux's Helm release.
    HelmRelease,
}

/// What an object says about who brings it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its kind.
    pub manager: Manager,
    /// Its namespace, when the object tells.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Whether the mark can mean nothing else. A label that Helm uses too proves nothing alone.
    pub certain: bool,
}

impl Manager {
    /// Group and version, kind, and the resource in URLs.
    pub fn names(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Application => ("argoproj.io/v1alpha1", "Application", "applications"),
            Self::ApplicationSet => ("argoproj.io/v1alpha1", "ApplicationSet", "applicationsets"),
            Self::Kustomization => (
                "kustomize.toolkit.fluxcd.io/v1",
                "Kustomization",
                "kustomizations",
            ),
            Self::HelmRelease => ("helm.toolkit.fluxcd.io/v2", "HelmRelease", "helmreleases"),
        }
    }

    /// An object of this kind.
    pub fn object(self, namespace: &str, name: &str) -> ObjectRef {
        let (api_version, kind, plural) = self.names();
        ObjectRef {
            api_version: api_version.into(),
            kind: kind.into(),
            plural: plural.into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    /// The fields that pause an object; none when it does nothing by itself.
    fn pause(self, live: &Value) -> Vec<(String, Value)> {
        let field = |path: &str, value| vec![(path.to_owned(), value)];
        match self {
            // Without `automated`, a sync is somebody's own deed.
            Self::Application if live.pointer("/spec/syncPolicy/automated").is_none() => Vec::new(),
            Self::Application => field(ENABLED, json!(false)),
            Self::ApplicationSet => {
                field("/spec/syncPolicy/applicationsSync", json!("create-only"))
            }
            Self::Kustomization | Self::HelmRelease => field("/spec/suspend", json!(true)),
        }
    }

    /// The hold that pauses an object; `None` when it needs none: it does nothing by itself, or its owner paused it.
    pub fn hold(self, live: &Value, leaf: bool) -> Option<Hold> {
        let object = self.object(
            text(live, "/metadata/namespace")?,
            text(live, "/metadata/name")?,
        );
        let fields = self.pause(live);
        let mut hold = Hold::of((object, live), Purpose::Gitops, fields);
        let paused = |field: &super::hold::Field| field.before.as_ref() == Some(&field.during);
        if hold.fields.iter().all(paused) {
            return None;
        }
        hold.git = leaf.then(|| self.revision(live).unwrap_or_default());
        Some(hold)
    }

    /// The revision of Git that an object has brought.
    pub fn revision(self, live: &Value) -> Option<String> {
        match self {
            Self::Application => {
                let several = live.pointer("/status/sync/revisions").map(Value::to_string);
                text(live, "/status/sync/revision")
                    .filter(|revision| !revision.is_empty())
                    .map(str::to_owned)
                    .or(several)
            }
            Self::ApplicationSet => None,
            Self::Kustomization | Self::HelmRelease => text(live, "/status/lastAppliedRevision")
                .or_else(|| text(live, "/status/lastAttemptedRevision"))
                .map(str::to_owned),
        }
    }

    fn of(object: &ObjectRef) -> Option<Self> {
        [
            Self::Application,
            Self::ApplicationSet,
            Self::Kustomization,
            Self::HelmRelease,
        ]
        .into_iter()
        .find(|one| one.names().1 == object.kind)
    }
}

/// The same pause for an Application whose Argo CD does not know the switch.
pub fn fallback(hold: &Hold, live: &Value) -> Option<Hold> {
    let known =
        hold.object.kind == "Application" && hold.fields.iter().any(|field| field.path == ENABLED);
    known.then(|| Hold {
        git: hold.git.clone(),
        ..Hold::of(
            (hold.object.clone(), live),
            Purpose::Gitops,
            [(SKIP_RECONCILE.to_owned(), json!("true"))],
        )
    })
}

/// Who brings an object, as it says itself.
pub fn owners(live: &Value) -> Vec<Owner> {
    let mut owners: Vec<Owner> = Vec::new();
    if let Some(tracking) = text(live, TRACKING) {
        owners.extend(tracked(tracking));
    } else if let Some(name) = text(live, INSTANCE) {
        owners.push(Owner {
            manager: Manager::Application,
            namespace: None,
            name: name.to_owned(),
            certain: false,
        });
    }
    let flux = [
        (Manager::Kustomization, "kustomize"),
        (Manager::HelmRelease, "helm"),
    ];
    for (manager, word) in flux {
        let label = |part: &str| {
            text(
                live,
                &format!("/metadata/labels/{word}.toolkit.fluxcd.io~1{part}"),
            )
        };
        if let (Some(name), Some(namespace)) = (label("name"), label("namespace")) {
            owners.push(Owner {
                manager,
                namespace: Some(namespace.to_owned()),
                name: name.to_owned(),
                certain: true,
            });
        }
    }
    owners.extend(generator(live));
    owners
}

/// `APP:GROUP/KIND:NAMESPACE/NAME`, or `NAMESPACE_APP:...` for an Application outside Argo CD's own namespace.
fn tracked(tracking: &str) -> Option<Owner> {
    let application = tracking.split(':').next()?;
    let (namespace, name) = match application.split_once('_') {
        Some((namespace, name)) => (Some(namespace.to_owned()), name),
        None => (None, application),
    };
    (!name.is_empty()).then(|| Owner {
        manager: Manager::Application,
        namespace,
        name: name.to_owned(),
        certain: true,
    })
}

/// The `ApplicationSet` that generated an Application.
fn generator(live: &Value) -> Option<Owner> {
    let references = live.pointer("/metadata/ownerReferences")?.as_array()?;
    let set = references
        .iter()
        .find(|reference| text(reference, "/kind") == Some("ApplicationSet"))?;
    Some(Owner {
        manager: Manager::ApplicationSet,
        namespace: text(live, "/metadata/namespace").map(str::to_owned),
        name: text(set, "/name")?.to_owned(),
        certain: true,
    })
}

/// Whether an Application lists an object among what it brings: the proof that a label alone is not.
pub fn brings(application: &Value, (kind, namespace, name): (&str, &str, &str)) -> bool {
    resource(application, (kind, namespace, name)).is_some()
}

fn resource<'a>(
    application: &'a Value,
    (kind, namespace, name): (&str, &str, &str),
) -> Option<&'a Value> {
    let resources = application.pointer("/status/resources")?.as_array()?;
    resources.iter().find(|one| {
        text(one, "/kind") == Some(kind)
            && text(one, "/namespace") == Some(namespace)
            && text(one, "/name") == Some(name)
    })
}

/// Whether Git holds what was restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Git {
    /// It does.
    Holds,
    /// It does not yet, and what is missing.
    Waits(String),
}

/// Whether Git holds what was restored, by what the paused object reports. `restored` says whether the workload still has
/// the restored template: what is compared is the live object.
pub fn git_holds(hold: &Hold, live: &Value, workload: (&str, &str, &str), restored: bool) -> Git {
    let waits = |why: String| Git::Waits(format!("{}: {why}", hold.object));
    let (Some(manager), Some(before)) = (Manager::of(&hold.object), &hold.git) else {
        return Git::Holds;
    };
    let now = manager.revision(live).unwrap_or_default();
    if now == *before {
        return waits(format!("it still is at Git revision {before:?}"));
    }
    if !restored {
        return waits("the workload does not have the restored template".into());
    }
    if manager != Manager::Application {
        // It has applied the new revision, and the template is still the restored one.
        return Git::Holds;
    }
    match resource(live, workload).and_then(|one| text(one, "/status")) {
        Some("Synced") => Git::Holds,
        Some(status) => waits(format!(
            "Git revision {now:?} differs from what was restored ({status})"
        )),
        None => waits("it does not say whether the workload is as Git has it".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::hold::tests::merge;

    const WEB: (&str, &str, &str) = ("Deployment", "shop", "web");

    fn application(status: &str, revision: &str) -> Value {
        json!({"metadata": {"namespace": "argocd", "name": "shop", "uid": "u"},
            "spec": {"syncPolicy": {"automated": {"selfHeal": true}}},
            "status": {"sync": {"revision": revision}, "resources": [
                {"group": "apps", "kind": "Deployment", "namespace": "shop", "name": "web", "status": status}]}})
    }

    #[test]
    fn an_object_names_who_brings_it() {
        for (metadata, expected) in [
            (
                json!({"annotations": {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/web"}}),
                (Manager::Application, None, "shop", true),
            ),
            (
                json!({"annotations": {"argocd.argoproj.io/tracking-id": "team_shop:apps/Deployment:shop/web"}}),
                (Manager::Application, Some("team"), "shop", true),
            ),
            (
                json!({"labels": {"app.kubernetes.io/instance": "shop"}}),
                (Manager::Application, None, "shop", false),
            ),
            (
                json!({"labels": {"kustomize.toolkit.fluxcd.io/name": "apps", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}}),
                (Manager::Kustomization, Some("flux-system"), "apps", true),
            ),
            (
                json!({"labels": {"helm.toolkit.fluxcd.io/name": "web", "helm.toolkit.fluxcd.io/namespace": "shop"}}),
                (Manager::HelmRelease, Some("shop"), "web", true),
            ),
            (
                json!({"namespace": "argocd", "ownerReferences": [{"kind": "ApplicationSet", "name": "all"}]}),
                (Manager::ApplicationSet, Some("argocd"), "all", true),
            ),
        ] {
            let found = owners(&json!({"metadata": metadata}));
            let found: Vec<_> = found
                .iter()
                .map(|one| {
                    (
                        one.manager,
                        one.namespace.as_deref(),
                        one.name.as_str(),
                        one.certain,
                    )
                })
                .collect();
            assert_eq!(found, [expected], "{metadata}");
        }
        assert_eq!(owners(&json!({"metadata": {"labels": {"app": "web"}}})), []);
        assert!(brings(&application("Synced", "1"), WEB));
        assert!(!brings(
            &application("Synced", "1"),
            ("Deployment", "shop", "api")
        ));
    }

    #[test]
    fn each_is_paused_by_its_own_switch_and_only_where_it_acts_by_itself() {
        let app = application("Synced", "bad");
        let hold = Manager::Application.hold(&app, true).unwrap();
        assert_eq!(hold.git.as_deref(), Some("bad"));
        assert_eq!(
            hold.take("one", 3)["spec"],
            json!({"syncPolicy": {"automated": {"enabled": false}}})
        );
        let mut by_hand = app.clone();
        by_hand["spec"] = json!({});
        assert_eq!(Manager::Application.hold(&by_hand, true), None);
        let mut paused = app.clone();
        paused["spec"]["syncPolicy"]["automated"]["enabled"] = json!(false);
        assert_eq!(
            Manager::Application.hold(&paused, true),
            None,
            "its owner paused it"
        );
        merge(&mut paused, &hold.take("another", 3));
        let taken = Manager::Application.hold(&paused, true).unwrap();
        assert_eq!(taken.fields[0].before, None, "another rollback paused it");
        let flux =
            json!({"metadata": {"namespace": "shop", "name": "web", "uid": "u"}, "spec": {}});
        for manager in [Manager::Kustomization, Manager::HelmRelease] {
            let hold = manager.hold(&flux, false).unwrap();
            assert_eq!(hold.take("one", 3)["spec"], json!({"suspend": true}));
            assert_eq!(hold.git, None, "a parent");
        }
        let set = Manager::ApplicationSet.hold(&flux, false).unwrap();
        assert_eq!(
            set.take("one", 3)["spec"],
            json!({"syncPolicy": {"applicationsSync": "create-only"}})
        );
    }

    #[test]
    fn an_older_argo_cd_is_told_by_annotation() {
        let app = application("Synced", "bad");
        let hold = Manager::Application.hold(&app, true).unwrap();
        let other = fallback(&hold, &app).unwrap();
        assert_eq!(
            other.take("one", 3)["metadata"]["annotations"]["argocd.argoproj.io/skip-reconcile"],
            "true"
        );
        assert_eq!(other.git, hold.git);
        assert_eq!(fallback(&other, &app), None, "there is no third way");
    }

    #[test]
    fn git_holds_the_good_revision_when_it_moved_and_the_workload_is_as_it_says() {
        let hold = Manager::Application
            .hold(&application("Synced", "bad"), true)
            .unwrap();
        let ask = |status, revision, restored| {
            git_holds(&hold, &application(status, revision), WEB, restored)
        };
        assert_eq!(ask("Synced", "good", true), Git::Holds);
        for (status, revision, restored, why) in [
            ("OutOfSync", "bad", true, "still is at Git revision \"bad\""),
            // The restored template is compared with the bad revision of an application that was synced by hand.
            ("Synced", "bad", true, "still is at Git revision \"bad\""),
            ("OutOfSync", "worse", true, "differs from what was restored"),
            (
                "Synced",
                "good",
                false,
                "does not have the restored template",
            ),
        ] {
            let Git::Waits(found) = ask(status, revision, restored) else {
                panic!("{status} {revision}")
            };
            assert!(
                found.starts_with("applications/argocd/shop: ") && found.contains(why),
                "{found}"
            );
        }
    }

    #[test]
    fn flux_holds_it_when_it_applied_another_revision_and_the_template_stayed() {
        let live = |revision: &str| {
            json!({"metadata": {"namespace": "flux-system", "name": "apps", "uid": "u"}, "spec": {},
                "status": {"lastAppliedRevision": revision}})
        };
        let hold = Manager::Kustomization
            .hold(&live("main@sha1:bad"), true)
            .unwrap();
        let ask = |revision, restored| git_holds(&hold, &live(revision), WEB, restored);
        assert_eq!(ask("main@sha1:good", true), Git::Holds);
        assert!(matches!(ask("main@sha1:good", false), Git::Waits(_)));
        assert!(matches!(ask("main@sha1:bad", true), Git::Waits(_)));
    }
}
