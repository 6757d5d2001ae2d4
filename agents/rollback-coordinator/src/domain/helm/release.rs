//! The decision for a workload that Helm brought in: which revision of the release it goes back to, and what else
//! goes with it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    manifest::{Action, Difference, ManifestError, Object, ObjectId, differences, objects},
    matching::fit,
    record::{Record, Status},
};

/// Annotation that names the release of an object.
pub const RELEASE_ANNOTATION: &str = "meta.helm.sh/release-name";
/// Annotation that names the namespace of that release's records.
pub const RELEASE_NAMESPACE_ANNOTATION: &str = "meta.helm.sh/release-namespace";
/// Events whose hooks Helm runs in a rollback.
const EVENTS: [&str; 2] = ["pre-rollback", "post-rollback"];

/// The workload that is rolled back, as its release knows it.
#[derive(Debug, Clone)]
pub struct Member<'a> {
    /// Name of the release.
    pub release: &'a str,
    /// Namespace of the workload.
    pub namespace: &'a str,
    /// Kind of the workload.
    pub kind: &'a str,
    /// Name of the workload.
    pub name: &'a str,
    /// Pod template of the bad revision.
    pub from: &'a Value,
    /// Pod template of the target.
    pub to: &'a Value,
}

impl Member<'_> {
    fn is(&self, id: &ObjectId) -> bool {
        id.group == "apps"
            && id.kind == self.kind
            && id.name == self.name
            && id.namespace == self.namespace
    }

    fn find<'a>(&self, objects: &'a [Object]) -> Option<&'a Object> {
        objects.iter().find(|object| self.is(&object.id))
    }
}

/// One object of the release that goes back with the workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlannedObject {
    /// Which.
    pub object: ObjectId,
    /// What happens to it.
    pub action: Action,
    /// Paths of what changes. Values are never shown, since some are secret.
    pub fields: Vec<String>,
}

/// What a rollback does to a Helm release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleasePlan {
    /// Name of the release.
    pub release: String,
    /// Its namespace.
    pub namespace: String,
    /// Its last revision, the bad one.
    pub from_revision: u64,
    /// The revision it goes back to.
    pub to_revision: u64,
    /// The revision that will stand for the rollback in Helm's history.
    pub new_revision: u64,
    /// Whether Helm applies this release on the server.
    pub server_side: bool,
    /// Status of the last revision when a Helm operation runs or was killed; the rollback ends it.
    pub interrupted: Option<String>,
    /// The other objects that go back too.
    pub objects: Vec<PlannedObject>,
}

impl ReleasePlan {
    /// What the plan means, in sentences.
    pub fn reasons(&self) -> Vec<String> {
        let Self {
            release,
            from_revision,
            to_revision,
            new_revision,
            ..
        } = self;
        let mut reasons = vec![format!(
            "Helm release {release} goes from revision {from_revision} back to {to_revision}, as revision {new_revision}"
        )];
        reasons.extend(self.interrupted.as_ref().map(|status| {
            format!("revision {from_revision} of the release is {status}; it is recorded as failed, so that Helm can go on")
        }));
        if !self.objects.is_empty() {
            let names: Vec<_> = self
                .objects
                .iter()
                .map(|one| one.object.to_string())
                .collect();
            reasons.push(format!("with it go {}", names.join(", ")));
        }
        reasons
    }
}

/// Why a release is not rolled back.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseRefusal {
    /// There is nothing to go back to.
    #[error("Helm release {0} has no records in the namespace, so Helm could not be told")]
    NoRecords(String),
    /// The target came into force without Helm.
    #[error(
        "no revision of Helm release {0} has the target's pod template, so Helm would be told a lie"
    )]
    UnknownTemplate(String),
    /// The target is Helm's last word; what is in force came from somebody else.
    #[error(
        "revision {revision} of Helm release {release} has the target's pod template and is the last one; run helm upgrade"
    )]
    LastAlready {
        /// The release.
        release: String,
        /// Its last revision.
        revision: u64,
    },
    /// Helm would run something that this agent does not.
    #[error(
        "revision {revision} of Helm release {release} has rollback hooks ({hooks}), which this agent does not run; use helm rollback"
    )]
    Hooks {
        /// The release.
        release: String,
        /// The target revision.
        revision: u64,
        /// Their names.
        hooks: String,
    },
    /// Something else of the release is not in the workload's namespace.
    #[error(
        "{object} of Helm release {release} differs and is in namespace {namespace}, not in the workload's; use helm rollback"
    )]
    OtherNamespace {
        /// The release.
        release: String,
        /// The object.
        object: String,
        /// Its namespace.
        namespace: String,
    },
    /// It is being removed.
    #[error("Helm release {0} is being uninstalled")]
    Uninstalled(String),
    /// A manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

/// Decides what a rollback of a workload does to its release; `None` when what is in force did not come from Helm's
/// last revision, so that Helm's record is no worse afterwards.
///
/// # Errors
/// Why there must be no rollback.
pub fn plan(
    history: &[Record],
    member: &Member<'_>,
) -> Result<Option<ReleasePlan>, ReleaseRefusal> {
    let release = member.release.to_owned();
    let last = last(history).ok_or_else(|| ReleaseRefusal::NoRecords(release.clone()))?;
    if last.status() == Status::Gone {
        return Err(ReleaseRefusal::Uninstalled(release));
    }
    let current = objects(last.manifest(), member.namespace)?;
    let fits_current = template_fit(&current, member, member.from).is_some();
    let Some(target) = matching(history, member)? else {
        return if fits_current {
            Err(ReleaseRefusal::UnknownTemplate(release))
        } else {
            Ok(None)
        };
    };
    if target.version == last.version {
        let revision = last.version;
        return Err(ReleaseRefusal::LastAlready { release, revision });
    }
    check_hooks(member, target)?;
    let all = others(last, target, member)?;
    for id in all.iter().filter_map(Difference::id) {
        if id.namespace != member.namespace {
            let (object, namespace) = (id.to_string(), id.namespace.clone());
            return Err(ReleaseRefusal::OtherNamespace {
                release,
                object,
                namespace,
            });
        }
    }
    let planned = |one: &Difference| {
        let (object, action, fields) = (one.id()?.clone(), one.action(), one.fields());
        Some(PlannedObject {
            object,
            action,
            fields,
        })
    };
    Ok(Some(ReleasePlan {
        release,
        namespace: member.namespace.to_owned(),
        from_revision: last.version,
        to_revision: target.version,
        new_revision: last.version.saturating_add(1),
        server_side: target.is_server_side(),
        interrupted: (last.status() == Status::Pending).then(|| last.status_word().to_owned()),
        objects: all.iter().filter_map(planned).collect(),
    }))
}

fn last(history: &[Record]) -> Option<&Record> {
    history.iter().max_by_key(|record| record.version)
}

fn template_fit(objects: &[Object], member: &Member<'_>, template: &Value) -> Option<u32> {
    let manifest = member.find(objects)?.body.pointer("/spec/template")?;
    fit(manifest, template)
}

/// The revision whose manifest holds the target's pod template: best the one without anything added to it, then one
/// that was in force, then the newest.
fn matching<'a>(
    history: &'a [Record],
    member: &Member<'_>,
) -> Result<Option<&'a Record>, ReleaseRefusal> {
    let mut best: Option<((u32, bool, std::cmp::Reverse<u64>), &Record)> = None;
    for record in history
        .iter()
        .filter(|record| record.status() != Status::Gone)
    {
        let objects = objects(record.manifest(), member.namespace)?;
        if let Some(strangers) = template_fit(&objects, member, member.to) {
            let was_in_force = matches!(record.status(), Status::Deployed | Status::Superseded);
            let rank = (strangers, !was_in_force, std::cmp::Reverse(record.version));
            if best.as_ref().is_none_or(|(known, _)| rank < *known) {
                best = Some((rank, record));
            }
        }
    }
    Ok(best.map(|(_, record)| record))
}

fn check_hooks(member: &Member<'_>, target: &Record) -> Result<(), ReleaseRefusal> {
    let hooks: Vec<&str> = EVENTS
        .iter()
        .flat_map(|event| target.hooks(event))
        .collect();
    if hooks.is_empty() {
        return Ok(());
    }
    Err(ReleaseRefusal::Hooks {
        release: member.release.to_owned(),
        revision: target.version,
        hooks: hooks.join(", "),
    })
}

/// What the two revisions do not have alike, without the workload itself.
///
/// # Errors
/// When a manifest cannot be read.
pub fn others(
    from: &Record,
    to: &Record,
    member: &Member<'_>,
) -> Result<Vec<Difference>, ManifestError> {
    let before = objects(from.manifest(), member.namespace)?;
    let mut all = differences(before, objects(to.manifest(), member.namespace)?);
    all.retain(|one| one.id().is_some_and(|id| !member.is(id)));
    Ok(all)
}

/// The workload as the two revisions have it.
///
/// # Errors
/// When a manifest cannot be read.
pub fn workload(
    from: &Record,
    to: &Record,
    member: &Member<'_>,
) -> Result<Difference, ManifestError> {
    let find = |record: &Record| -> Result<Option<Object>, ManifestError> {
        Ok(member
            .find(&objects(record.manifest(), member.namespace)?)
            .cloned())
    };
    Ok(Difference {
        before: find(from)?,
        after: find(to)?,
    })
}

/// How a release ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End<'a> {
    /// The target is in force.
    Deployed,
    /// The rollback stands half way; a person has to look.
    Failed(&'a str),
}

/// The records that have to be written when a rollback ends: as Helm does it, and an operation that was interrupted
/// is recorded as failed. Records that are right already are left out.
pub fn ended(history: &[Record], plan: &ReleasePlan, end: End<'_>) -> Vec<Record> {
    let change = |record: &Record| -> Option<Record> {
        let (is_new, is_bad) = (
            record.version == plan.new_revision,
            record.version == plan.from_revision,
        );
        let changed = match (end, record.status()) {
            (End::Deployed, _) if is_new => record.clone().with_status("deployed", None),
            (End::Failed(why), _) if is_new => {
                let why = format!("Rollback \"{}\" failed: {why}", plan.release);
                record.clone().with_status("failed", Some(&why))
            }
            (_, Status::Pending) if is_bad => {
                let what = format!("{} was interrupted", record.status_word());
                record.clone().with_status("failed", Some(&what))
            }
            (End::Deployed, Status::Deployed) => record.clone().with_status("superseded", None),
            (End::Failed(_), Status::Deployed) if is_bad => {
                record.clone().with_status("superseded", None)
            }
            _ => return None,
        };
        (changed != *record).then_some(changed)
    };
    // The new one last: until it is deployed Helm sees that something is under way.
    let mut all: Vec<Record> = history.iter().filter_map(change).collect();
    all.sort_by_key(|record| record.version);
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::helm::record::tests::record;

    fn manifest(image: &str, config: Option<&str>) -> String {
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {"template": template(image)},
        });
        let config = config.map(|value| {
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"mode": value}})
        });
        let documents = [config, Some(deployment)].into_iter().flatten();
        documents.map(|one| format!("---\n{one}\n")).collect()
    }

    fn template(image: &str) -> Value {
        json!({"spec": {"containers": [{"name": "app", "image": image}]}})
    }

    fn planned(
        history: &[Record],
        from: &str,
        to: &str,
    ) -> Result<Option<ReleasePlan>, ReleaseRefusal> {
        let (from, to) = (template(from), template(to));
        let member = Member {
            release: "web",
            namespace: "shop",
            kind: "Deployment",
            name: "web",
            from: &from,
            to: &to,
        };
        plan(history, &member)
    }

    fn without_hooks(version: u64, status: &str, manifest: &str) -> Record {
        let mut body =
            serde_json::from_slice::<Value>(&serde_json::to_vec(&json!({})).unwrap()).unwrap();
        body["name"] = "web".into();
        body["version"] = version.into();
        body["manifest"] = manifest.into();
        body["apply_method"] = "ssa".into();
        body["info"] = json!({"status": status});
        let packed =
            base64::Engine::encode(&base64::engine::general_purpose::STANDARD, body.to_string());
        Record::read(&std::collections::BTreeMap::new(), packed.as_bytes()).unwrap()
    }

    #[test]
    fn finds_the_newest_revision_with_the_target_template() {
        let history = [
            without_hooks(1, "superseded", &manifest("web:1", Some("old"))),
            without_hooks(2, "superseded", &manifest("web:1", Some("new"))),
            without_hooks(3, "failed", &manifest("web:1", None)),
            without_hooks(4, "deployed", &manifest("web:2", Some("bad"))),
        ];
        let plan = planned(&history, "web:2", "web:1").unwrap().unwrap();
        assert_eq!(
            (plan.from_revision, plan.to_revision, plan.new_revision),
            (4, 2, 5)
        );
        let objects: Vec<_> = plan
            .objects
            .iter()
            .map(|one| (one.action, one.fields.clone()))
            .collect();
        assert_eq!(objects, [(Action::Change, vec!["data.mode".to_owned()])]);
        assert!(plan.interrupted.is_none());
    }

    #[test]
    fn ends_an_interrupted_upgrade() {
        let history = [
            without_hooks(1, "deployed", &manifest("web:1", None)),
            without_hooks(2, "pending-upgrade", &manifest("web:2", Some("x"))),
        ];
        let plan = planned(&history, "web:2", "web:1").unwrap().unwrap();
        assert_eq!(plan.interrupted.as_deref(), Some("pending-upgrade"));
        assert_eq!(plan.objects[0].action, Action::Remove);
        let new = Record::rollback(&history[1], &history[0], "now");
        let all = [history[0].clone(), history[1].clone(), new];
        let words = |end| -> Vec<(u64, String)> {
            let written = ended(&all, &plan, end);
            written
                .iter()
                .map(|one| (one.version, one.status_word().to_owned()))
                .collect()
        };
        assert_eq!(
            words(End::Deployed),
            [
                (1, "superseded".into()),
                (2, "failed".into()),
                (3, "deployed".into())
            ]
        );
        assert_eq!(
            words(End::Failed("no pod")),
            [(2, "failed".into()), (3, "failed".into())]
        );
        let after: Vec<Record> = ended(&all, &plan, End::Deployed);
        assert!(
            ended(&after, &plan, End::Deployed).is_empty(),
            "again writes nothing"
        );
    }

    #[test]
    fn refuses_what_helm_could_not_be_told() {
        let history = [
            without_hooks(1, "superseded", &manifest("web:1", None)),
            without_hooks(2, "deployed", &manifest("web:2", None)),
        ];
        assert!(matches!(
            planned(&history, "web:2", "web:hand"),
            Err(ReleaseRefusal::UnknownTemplate(_))
        ));
        assert!(matches!(
            planned(&[], "web:2", "web:1"),
            Err(ReleaseRefusal::NoRecords(_))
        ));
        assert!(matches!(
            planned(&history, "web:hand", "web:2"),
            Err(ReleaseRefusal::LastAlready { revision: 2, .. })
        ));
        assert!(
            planned(&history, "web:hand", "web:other")
                .unwrap()
                .is_none(),
            "nothing of it is Helm's"
        );
        let hooks = [
            record(1, "superseded", &manifest("web:1", None)),
            history[1].clone(),
        ];
        assert!(matches!(
            planned(&hooks, "web:2", "web:1"),
            Err(ReleaseRefusal::Hooks { .. })
        ));
        let gone = [
            history[0].clone(),
            without_hooks(2, "uninstalling", &manifest("web:2", None)),
        ];
        assert!(matches!(
            planned(&gone, "web:2", "web:1"),
            Err(ReleaseRefusal::Uninstalled(_))
        ));
        let other = manifest("web:2", Some("x")).replace(
            "\"name\":\"settings\"",
            "\"name\":\"settings\",\"namespace\":\"kube-system\"",
        );
        let other = [history[0].clone(), without_hooks(2, "deployed", &other)];
        assert!(matches!(
            planned(&other, "web:2", "web:1"),
            Err(ReleaseRefusal::OtherNamespace { .. })
        ));
    }
}
