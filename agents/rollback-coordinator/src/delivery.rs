//! What GitLab learns of a rollback: a deployment of what was brought back, recorded once.

use shared::{Context, SkillError};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    clients::Pipelines,
    domain::{
        Environment, Journal, Origin, Recording,
        delivery::{Build, Delivered, deliveries},
        plan::Images,
    },
    guard::Guard,
    history::History,
};

/// What is known of the bad revision and of the target.
pub fn builds(images: &Images, origin: &Origin) -> (Build, Build) {
    let build = |images: &[String], created: Option<&String>| Build {
        images: images.to_vec(),
        created: created.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok()),
    };
    (
        build(&images.from, origin.from_created.as_ref()),
        build(&images.to, origin.to_created.as_ref()),
    )
}

/// Records a deployment of what a rollback brought back; doing it again is fine.
///
/// # Errors
/// When GitLab or the store does not answer; then it is still owed.
pub async fn record(
    context: &Context,
    (guard, history): (&Guard, &History),
    journal: &mut Journal,
) -> Result<(), SkillError> {
    let (Some(pipelines), Some(environment)) = (&guard.pipelines, journal.plan.environment.clone())
    else {
        return Ok(());
    };
    if journal
        .recording
        .as_ref()
        .is_some_and(Recording::is_settled)
    {
        return Ok(());
    }
    let place = (pipelines, &environment);
    match put_down(context, place, (history, journal)).await {
        // GitLab will not take it the next time either.
        Err(SkillError::Denied(because)) => {
            tracing::warn!(because, "GitLab does not take the deployment");
            journal.recording = Some(Recording::Nothing { because });
            history.keep_record(journal).await
        }
        done => done,
    }
}

async fn put_down(
    context: &Context,
    place: (&Pipelines, &Environment),
    (history, journal): (&History, &mut Journal),
) -> Result<(), SkillError> {
    let (pipelines, environment) = place;
    let all = pipelines.deployments(context, environment).await?;
    if journal.recording.is_none() {
        let intended = intend(context, place, (&all, journal)).await?;
        journal.recording = Some(intended);
        // Before the call: what was the last deployment tells ours again.
        history.keep_record(journal).await?;
    }
    if let Some(done) = carry_out(context, place, (&all, journal)).await? {
        journal.recording = Some(done);
        history.keep_record(journal).await?;
    }
    Ok(())
}

/// What is to be recorded, by what was deployed before.
async fn intend(
    context: &Context,
    (pipelines, environment): (&Pipelines, &Environment),
    (all, journal): (&[Delivered], &Journal),
) -> Result<Recording, SkillError> {
    let (from, to) = builds(&journal.plan.images, &journal.origin);
    let Some(found) = deliveries(all, (&from, &to)) else {
        return Ok(Recording::Nothing {
            because: "GitLab knows no good deployment of what was brought back".into(),
        });
    };
    let tag = if let Some(job) = &found.good.job {
        job.tag
    } else {
        let git_ref = (environment, found.good.git_ref.as_str());
        pipelines.is_tag(context, git_ref).await?
    };
    Ok(Recording::Intended {
        sha: found.good.sha.clone(),
        git_ref: found.good.git_ref.clone(),
        tag,
        after: all.iter().map(|one| one.id).max().unwrap_or_default(),
        left: found.bad.map(|bad| bad.sha.clone()),
    })
}

/// Records what is intended, unless it stands there already.
async fn carry_out(
    context: &Context,
    (pipelines, environment): (&Pipelines, &Environment),
    (all, journal): (&[Delivered], &Journal),
) -> Result<Option<Recording>, SkillError> {
    let Some(Recording::Intended {
        sha,
        git_ref,
        tag,
        after,
        left,
    }) = &journal.recording
    else {
        return Ok(None);
    };
    let ours = |one: &&Delivered| one.id > *after && one.sha == *sha && one.job.is_none();
    let deployment = if let Some(found) = all.iter().find(ours) {
        found.id
    } else {
        let new = (sha.as_str(), git_ref.as_str(), *tag);
        pipelines.record(context, environment, new).await?
    };
    Ok(Some(Recording::Recorded {
        deployment,
        sha: sha.clone(),
        left: left.clone(),
    }))
}
