//! Finding who would undo or disturb a rollback.

use std::{collections::BTreeSet, sync::Arc};

use serde_json::Value;
use shared::{Context, SkillError};

use crate::{
    clients::Objects,
    domain::{
        freeze::FREEZERS,
        gitops::{Manager, Owner, brings, owners},
        guards::Objection,
        hold::{Hold, ObjectRef},
    },
};

/// Most managers above one another; more are a mistake.
const MAX_DEPTH: usize = 16;

/// Who has to be kept still, and who cannot be reached.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// Holds in the order in which they are taken: from the root down, then what writes the same fields.
    pub holds: Vec<Hold>,
    /// Who cannot be held.
    pub objections: Vec<Objection>,
}

/// Looks for everybody who has to be kept still while a workload goes back. `stops` says whether it is scaled to zero.
///
/// # Errors
/// When the cluster does not answer, or refuses an answer that the search needs.
pub async fn find(
    context: &Context,
    objects: &Arc<dyn Objects>,
    namespaces: &[String],
    (workload, stops): (&ObjectRef, bool),
) -> Result<Found, SkillError> {
    let mut found = Found::default();
    if let Some(live) = objects.get(workload).await? {
        let search = Search {
            context,
            objects,
            namespaces,
            workload,
        };
        search.managers(&live, &mut found).await?;
    }
    for freezer in FREEZERS {
        let like = freezer.object(&workload.namespace, "");
        let target = (workload.kind.as_str(), workload.name.as_str());
        let all = objects.list(&like).await?;
        let holds = all
            .iter()
            .filter_map(|live| freezer.hold(live, target, stops));
        found.holds.extend(holds);
    }
    Ok(found)
}

struct Search<'a> {
    context: &'a Context,
    objects: &'a Arc<dyn Objects>,
    namespaces: &'a [String],
    workload: &'a ObjectRef,
}

impl Search<'_> {
    async fn managers(&self, live: &Value, found: &mut Found) -> Result<(), SkillError> {
        let mut seen = BTreeSet::new();
        let mut level: Vec<(Owner, bool)> = owners(live)
            .into_iter()
            .map(|owner| (owner, true))
            .collect();
        let mut holds = Vec::new();
        for _ in 0..MAX_DEPTH {
            let mut above = Vec::new();
            for (owner, leaf) in level {
                let (live, unreachable) = self.look_up(&owner, leaf).await?;
                found.objections.extend(unreachable);
                for object in live {
                    let hold = owner.manager.hold(&object, leaf);
                    if seen.insert(object.pointer("/metadata/uid").map(Value::to_string)) {
                        holds.extend(hold);
                        above.extend(owners(&object).into_iter().map(|owner| (owner, false)));
                    }
                }
            }
            if above.is_empty() {
                break;
            }
            level = above;
        }
        holds.reverse();
        found.holds.append(&mut holds);
        Ok(())
    }

    /// The objects that an owner's mark may mean, or why nobody can look.
    async fn look_up(
        &self,
        owner: &Owner,
        leaf: bool,
    ) -> Result<(Vec<Value>, Option<Objection>), SkillError> {
        let unreachable = |namespace: &str| {
            let (_, kind, _) = owner.manager.names();
            Objection::Unreachable {
                manager: format!("{kind} {namespace}{}", owner.name),
            }
        };
        if let Some(namespace) = &owner.namespace {
            if self.context.check_target(namespace).is_err() {
                return Ok((Vec::new(), Some(unreachable(&format!("{namespace}/")))));
            }
            let object = owner.manager.object(namespace, &owner.name);
            return Ok((self.objects.get(&object).await?.into_iter().collect(), None));
        }
        let mut all = Vec::new();
        for namespace in self.namespaces {
            let object = owner.manager.object(namespace, &owner.name);
            all.extend(self.objects.get(&object).await?);
        }
        let workload = self.workload;
        let names = (
            workload.kind.as_str(),
            workload.namespace.as_str(),
            workload.name.as_str(),
        );
        if !owner.certain {
            all.retain(|application| leaf && brings(application, names));
            return Ok((all, None));
        }
        let objection = all.is_empty().then(|| unreachable(""));
        Ok((
            all,
            objection.filter(|_| owner.manager == Manager::Application),
        ))
    }
}
