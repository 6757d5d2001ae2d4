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
    /// API group of the workload.
    pub group: &'a str,
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
    fn id(&self) -> ObjectId {
        ObjectId {
            group: self.group.to_owned(),
            kind: self.kind.to_owned(),
            namespace: self.namespace.to_owned(),
            name: self.name.to_owned(),
        }
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
    /// The workload that is rolled back.
    pub workload: ObjectId,
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
    let all = others(last, target, &member.id())?;
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
        workload: member.id(),
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
    let id = member.id();
    let object = objects.iter().find(|object| object.id == id)?;
    let manifest = object.body.pointer("/spec/template")?;
    fit(manifest, template)
}

/// Annotations of others, whether it was never in force, and how old it is: the smallest is the best.
type Rank = (u32, bool, std::cmp::Reverse<u64>);

/// The revision whose manifest holds the target's pod template: best the one without anything added to it, then one
/// that was in force, then the newest.
fn matching<'a>(
    history: &'a [Record],
    member: &Member<'_>,
) -> Result<Option<&'a Record>, ReleaseRefusal> {
    let mut best: Option<(Rank, &Record)> = None;
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
    workload: &ObjectId,
) -> Result<Vec<Difference>, ManifestError> {
    let before = objects(from.manifest(), &workload.namespace)?;
    let mut all = differences(before, objects(to.manifest(), &workload.namespace)?);
    all.retain(|one| one.id() != Some(workload));
    Ok(all)
}

/// The workload as the two revisions have it.
///
/// # Errors
/// When a manifest cannot be read.
pub fn workload(
    from: &Record,
    to: &Record,
    workload: &ObjectId,
) -> Result<Difference, ManifestError> {
    let find = |record: &Record| -> Result<Option<Object>, ManifestError> {
        let objects = objects(record.manifest(), &workload.namespace)?;
        Ok(objects.into_iter().find(|object| object.id == *workload))
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
mod tests;
