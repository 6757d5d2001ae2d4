//! Takes back what goes beside a workload: its release, its configuration.

use std::sync::Arc;

use serde_json::Value;
use shared::{Context, SkillError, digest};

use crate::{
    clients::DynamicObjects,
    configuration::Configuration,
    domain::{
        Companions, Journal, Revision, Step, Workload,
        helm::{
            End, Member, ReleasePlan,
            release::{RELEASE_ANNOTATION, RELEASE_NAMESPACE_ANNOTATION},
        },
    },
    history::History,
    release::Releases,
    traffic::{Gradual, Traffic},
};

/// Takes back what goes beside a workload.
#[derive(Debug, Clone)]
pub struct Escort {
    releases: Releases,
    configuration: Configuration,
    traffic: Traffic,
}

impl Escort {
    /// An escort in a cluster.
    pub fn new(objects: Arc<dyn DynamicObjects>, history: History) -> Self {
        Self {
            releases: Releases(objects.clone()),
            traffic: Traffic(objects.clone()),
            configuration: Configuration { objects, history },
        }
    }

    /// What goes back beside a workload, and why.
    ///
    /// # Errors
    /// `Failed` with the reason when there must be no rollback.
    pub async fn plan(
        &self,
        context: &Context,
        workload: &Workload,
        (from, to): (&Revision, &Revision),
        gradual: Option<&Gradual>,
    ) -> Result<(Companions, Vec<String>), SkillError> {
        let release = match member(workload, (from, to))? {
            Some(member) => self.releases.plan(context, &member).await?,
            None => None,
        };
        let mut reasons = release.as_ref().map_or_else(Vec::new, ReleasePlan::reasons);
        let configuration = self
            .configuration
            .plan(context, workload, (from, to))
            .await?;
        let mut changes = configuration.changes;
        // What the release brings back itself is the release's.
        changes.retain(|change| {
            let objects = release.iter().flat_map(|plan| &plan.objects);
            let mut objects = objects.map(|one| (one.object.kind.as_str(), &one.object.name));
            let own = (change.reference.kind.word(), &change.reference.name);
            !objects.any(|object| object == own)
        });
        reasons.extend(configuration.reasons);
        let stale = changes.iter().any(|change| change.reference.in_environment);
        let restart = (stale && to.replicas > 0).then(|| {
            let hashes: Vec<&str> = changes.iter().map(|change| change.to.as_str()).collect();
            digest::of_json(&hashes).chars().take(20).collect()
        });
        if restart.is_some() {
            let why = format!(
                "pods of revision {} run already and have to read their environment again",
                to.number
            );
            reasons.push(why);
        }
        let traffic = self.traffic.plan(context, workload, gradual).await?;
        match &traffic {
            Some(shift) => reasons.push(shift.reason()),
            None if gradual.is_some() => reasons.push(
                "no route splits traffic between the bad version and another, so the pods are replaced at once".into(),
            ),
            None => {}
        }
        let companions = Companions {
            traffic,
            release,
            configuration: changes,
            restart,
        };
        Ok((companions, reasons))
    }

    /// Keeps what a healthy revision runs with.
    ///
    /// # Errors
    /// When the cluster or the store does not answer.
    pub async fn keep(&self, context: &Context, workload: &Workload) -> Result<(), SkillError> {
        self.configuration.keep(context, workload).await
    }

    /// Carries out one of the steps that belong to what goes beside.
    ///
    /// # Errors
    /// What failed.
    pub async fn perform(
        &self,
        context: &Context,
        journal: &Journal,
        workload: &Workload,
        step: Step,
    ) -> Result<(), SkillError> {
        let Companions {
            release,
            configuration,
            ..
        } = &journal.plan.companions;
        let id = &journal.rollback_id;
        match (step, release) {
            (Step::RestoreConfiguration, _) => {
                self.configuration
                    .restore(context, workload, configuration, id)
                    .await
            }
            (Step::ShiftTraffic, _) => match &journal.plan.companions.traffic {
                Some(shift) => self.traffic.shift(context, shift).await,
                None => Ok(()),
            },
            (Step::ClaimRelease, Some(plan)) => self.releases.claim(context, plan, id).await,
            (Step::RestoreObjects, Some(plan)) => self.releases.restore_others(context, plan).await,
            (Step::RestoreTemplate, Some(plan)) => {
                let replicas = journal.origin.replicas;
                self.releases
                    .restore_workload(context, plan, replicas)
                    .await
            }
            (Step::RecordRelease, Some(plan)) => {
                self.releases.finish(context, plan, End::Deployed).await
            }
            (Step::Release, _) if !configuration.is_empty() => {
                self.configuration
                    .forget(context, &journal.plan.namespace, id)
                    .await
            }
            _ => Ok(()),
        }
    }

    /// Undoes all steps that were begun, the last one first.
    ///
    /// # Errors
    /// What could not be undone; the rest is undone all the same.
    pub async fn undo(&self, context: &Context, journal: &Journal) -> Result<(), SkillError> {
        let Companions {
            release,
            configuration,
            ..
        } = &journal.plan.companions;
        let begun = |step| journal.has(step) && !journal.is_pending(step);
        let (namespace, id) = (&journal.plan.namespace, &journal.rollback_id);
        let mut undone = Vec::new();
        if let (Some(plan), true) = (release, begun(Step::RestoreObjects)) {
            undone.push(self.releases.undo_others(context, plan).await);
        }
        if begun(Step::RestoreConfiguration) {
            undone.push(
                self.configuration
                    .undo(context, namespace, configuration)
                    .await,
            );
            undone.push(self.configuration.forget(context, namespace, id).await);
        }
        if let (Some(plan), true) = (release, begun(Step::ClaimRelease)) {
            undone.push(self.releases.unclaim(context, plan, id).await);
        }
        if let (Some(shift), true) = (&journal.plan.companions.traffic, begun(Step::ShiftTraffic)) {
            undone.push(self.traffic.restore(context, shift).await);
        }
        undone.into_iter().collect()
    }

    /// Tells Helm that a rollback stands half way.
    ///
    /// # Errors
    /// When the cluster refuses.
    pub async fn fail(
        &self,
        context: &Context,
        journal: &Journal,
        why: &str,
    ) -> Result<(), SkillError> {
        match &journal.plan.companions.release {
            Some(plan) => self.releases.finish(context, plan, End::Failed(why)).await,
            None => Ok(()),
        }
    }
}

/// The workload as a member of the Helm release that its annotations name.
fn member<'a>(
    workload: &'a Workload,
    (from, to): (&'a Revision, &'a Revision),
) -> Result<Option<Member<'a>>, SkillError> {
    let annotation = |name: &str| workload.annotations.get(name).and_then(Value::as_str);
    let Some(release) = annotation(RELEASE_ANNOTATION) else {
        return Ok(None);
    };
    let namespace = workload.id.namespace.as_str();
    let records = annotation(RELEASE_NAMESPACE_ANNOTATION).unwrap_or(namespace);
    if records != namespace {
        return Err(SkillError::failed(format!(
            "no rollback: Helm release {release} keeps its records in namespace {records}; use helm rollback"
        )));
    }
    Ok(Some(Member {
        release,
        namespace,
        group: workload.id.kind.api().0,
        kind: workload.id.kind.as_str(),
        name: &workload.id.name,
        from: &from.template,
        to: &to.template,
    }))
}
