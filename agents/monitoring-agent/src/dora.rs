//! DORA metrics of what is stored: gathering for the skill and for the gauges, and the upkeep of the log.

use std::time::Duration;

use shared::SkillError;
use tokio_util::sync::CancellationToken;

use crate::{
    archive::{Archive, CLUSTER},
    domain::dora::{
        Definition, Interval, Project, Question, Report,
        assign::assign,
        clock::{DAY, Ms},
        measure::Tally,
    },
    metrics::Gauges,
    watch::now,
};

/// Days that the gauges look back.
pub const GAUGE_DAYS: i64 = 30;
/// The tier that is measured unless another one is named.
pub const TIER: &str = "production";
/// How often the gauges are set.
const GAUGES_EVERY: Duration = Duration::from_mins(5);
/// How long the log waits for more before it is folded.
const FOLD_EVERY: Duration = Duration::from_secs(5);
/// How often old segments are removed.
const PRUNE_EVERY: Duration = Duration::from_hours(1);

/// Measures one project, by its path or a namespace of the cluster as `cluster/NAMESPACE`, or all of them.
///
/// # Errors
/// `Rejected` when there is no such project; otherwise when the store does not answer.
pub async fn measure(
    archive: &Archive,
    project: Option<&str>,
    question: &Question,
) -> Result<Report, SkillError> {
    let reader = archive.read().await?;
    let projects = reader.projects().await?;
    let cluster = assign(reader.facts(CLUSTER).await?, &projects);
    let wanted = |name: &str| project.is_none_or(|project| project == name);
    let mut tally = Tally::default();
    let mut measured = 0;
    let mut in_cluster = cluster.projects;
    for (id, name) in projects {
        let own = in_cluster.remove(&id);
        if !wanted(&name) {
            continue;
        }
        let mut facts = reader.facts(id).await?;
        facts.absorb(own.unwrap_or_default());
        tally = add(tally, Project { name, facts }, question.clone()).await?;
        measured += 1;
    }
    for (namespace, facts) in cluster.namespaces {
        let name = format!("cluster/{namespace}");
        if wanted(&name) {
            tally = add(tally, Project { name, facts }, question.clone()).await?;
            measured += 1;
        }
    }
    if project.is_some() && measured == 0 {
        let expected = "the path of a project of which events came in, or cluster/NAMESPACE";
        return Err(SkillError::rejected(
            "project",
            expected,
            "an unknown project",
        ));
    }
    Ok(tally.report(question))
}

/// Counts a project on a thread that may be busy for a while.
async fn add(mut tally: Tally, project: Project, question: Question) -> Result<Tally, SkillError> {
    let work = move || {
        tally.add(&project, &question);
        tally
    };
    let counted = tokio::task::spawn_blocking(work).await;
    counted.map_err(|error| SkillError::failed_with("cannot measure a project", error))
}

/// Sets the gauges until shutdown.
///
/// # Errors
/// When the store does not answer; the runtime starts the loop again.
pub async fn show(archive: Archive, gauges: Gauges) -> anyhow::Result<()> {
    let to = now().millis();
    for definition in Definition::ALL {
        let question = Question {
            from: to - GAUGE_DAYS * DAY,
            to,
            tier: TIER.to_owned(),
            definition,
            interval: Interval::All,
        };
        gauges.set(&measure(&archive, None, &question).await?);
    }
    Ok(())
}

/// How often [`show`] runs.
pub const fn gauges_every() -> Duration {
    GAUGES_EVERY
}

/// Folds the log and removes its old parts until shutdown.
///
/// # Errors
/// When the store does not answer; the runtime starts the loop again.
pub async fn keep_up(
    archive: Archive,
    retention: Duration,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let kept = Ms::try_from(retention.as_millis()).unwrap_or(Ms::MAX / 2);
    let mut folds = tokio::time::interval(FOLD_EVERY);
    folds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut prunes = tokio::time::interval(PRUNE_EVERY);
    loop {
        tokio::select! {
            _ = folds.tick() => while archive.fold().await?.segments > 0 {},
            _ = prunes.tick() => drop(archive.prune(now().millis() - kept).await?),
            () = shutdown.cancelled() => return Ok(()),
        }
    }
}
