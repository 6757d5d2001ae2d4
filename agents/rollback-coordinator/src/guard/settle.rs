//! Letting go: of pipelines and controllers when the old revision is verified, of GitOps only when Git holds it.

use shared::{Context, SkillError};

use super::{Ended, Guard, let_go};
use crate::{
    clients::RolloutControl,
    domain::{
        Journal, PauseState,
        gitops::{Git, git_holds},
        hold::{Hold, Purpose, holder},
    },
};

/// Lets go of everything that may go on now; the journal says what is left. The caller keeps it.
///
/// # Errors
/// What kept something from being let go; the rest was tried.
pub async fn settle(
    context: &Context,
    guard: &Guard,
    control: &dyn RolloutControl,
    journal: &mut Journal,
) -> Result<(), SkillError> {
    let mut first = Ok(());
    if journal.may_thaw() {
        first = first.and(guard.thaw(context, journal).await);
        first = first.and(release(context, guard, journal, Purpose::Freeze).await);
    }
    if journal.gitops.is_none() {
        return first;
    }
    let verdict = if journal.is_undone() {
        Ok(Git::Holds)
    } else {
        look(guard, control, journal).await
    };
    match verdict {
        Ok(Git::Holds) => {
            first = first.and(release(context, guard, journal, Purpose::Gitops).await);
        }
        Ok(Git::Waits(why)) => set(journal, None, Some(why)),
        Err(error) => first = first.and(Err(error)),
    }
    first
}

/// Lets go of everything, because somebody says that it may go on.
///
/// # Errors
/// What kept something from being let go; the rest was tried.
pub async fn let_all_go(
    context: &Context,
    guard: &Guard,
    journal: &mut Journal,
) -> Result<(), SkillError> {
    let thawed = guard.thaw(context, journal).await;
    let frozen = release(context, guard, journal, Purpose::Freeze).await;
    let gitops = release(context, guard, journal, Purpose::Gitops).await;
    thawed.and(frozen).and(gitops)
}

/// Whether Git holds what was restored, for every object that brings the workload.
async fn look(
    guard: &Guard,
    control: &dyn RolloutControl,
    journal: &Journal,
) -> Result<Git, SkillError> {
    let id = journal.plan.id();
    let live = control.workload(&id).await?;
    let same = live.filter(|workload| workload.uid == journal.origin.uid);
    let Some(workload) = same else {
        // Whatever Git holds, there is nothing left to keep it from.
        return Ok(Git::Holds);
    };
    let restored = journal.has_restored(&workload.template);
    let names = (id.kind.as_str(), id.namespace.as_str(), id.name.as_str());
    for hold in journal.held.iter().filter(|hold| hold.git.is_some()) {
        let Some(live) = guard.objects.get(&hold.object).await? else {
            continue;
        };
        // Somebody else decides about it now: a later rollback, or its owner who switched it on again.
        if holder(&live).as_ref() != Some(&journal.rollback_id) || is_switched_on(hold, &live) {
            continue;
        }
        if let waits @ Git::Waits(_) = git_holds(hold, &live, names, restored) {
            return Ok(waits);
        }
    }
    Ok(Git::Holds)
}

fn is_switched_on(hold: &Hold, live: &serde_json::Value) -> bool {
    let fallback = crate::domain::gitops::fallback(hold, live);
    hold.was_changed(live) && fallback.is_none_or(|other| other.was_changed(live))
}

/// Lets go of the holds of one purpose, the last that was taken first.
async fn release(
    context: &Context,
    guard: &Guard,
    journal: &mut Journal,
    purpose: Purpose,
) -> Result<(), SkillError> {
    let mut first = Ok(());
    let mut taken_over = false;
    let wanted: Vec<Hold> = journal
        .held
        .iter()
        .filter(|hold| hold.purpose == purpose)
        .cloned()
        .collect();
    for hold in wanted.iter().rev() {
        match let_go(context, &guard.objects, hold, &journal.rollback_id).await {
            Ok(ended) => {
                taken_over |= matches!(ended, Ended::TakenOver(_));
                journal.held.retain(|one| one.object != hold.object);
            }
            Err(error) => first = first.and(Err(error)),
        }
    }
    if purpose == Purpose::Gitops && first.is_ok() {
        let state = if taken_over {
            PauseState::TakenOver
        } else {
            PauseState::Resumed
        };
        set(journal, Some(state), None);
    }
    first
}

fn set(journal: &mut Journal, state: Option<PauseState>, waits_for: Option<String>) {
    if let Some(pause) = &mut journal.gitops {
        pause.state = state.unwrap_or(pause.state);
        pause.waits_for = waits_for;
    }
}
