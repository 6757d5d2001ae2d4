//! The judgement of one workload.

use std::collections::HashMap;

use super::{Evaluation, Track, TrackedPod, World};
use crate::domain::{
    At, Key, PodState, Refusal, Revision, Signals, Thresholds, Verdict, Workload, WorkloadKind,
    assess,
    attribution::Mark,
    health::{Seen, judge},
    messages::{Homeless, MountFault},
    objects::Current,
    pod::convict,
    thresholds::SHARED_WINDOW_MS,
    trigger::{View, decide},
};

/// What later judgements need of an evaluation.
struct Memory {
    uids: Vec<String>,
    marks: HashMap<String, Mark>,
    low_since: Option<At>,
    lag_since: Option<At>,
    refusal_since: Option<At>,
    healthy: Option<String>,
}

impl World {
    /// Judges one workload, and remembers what later judgements need.
    pub fn evaluate(&mut self, key: &Key, now: At, thresholds: &Thresholds) -> Option<Evaluation> {
        self.settle_current(key, now)?;
        let track = self.workloads.get(key)?;
        let (current, change_at) = match &track.current {
            Some((uid, at)) => (self.revisions.get(uid), *at),
            None => (None, now),
        };
        let before = self.before(track, current);
        let mut pods = self.seen(track, (current, before), now, thresholds);
        let change_at = started(&track.workload, &pods).map_or(change_at, |at| at.max(change_at));
        let in_release_window = now.since(change_at) <= thresholds.release_window_ms;
        if in_release_window {
            convict(&mut pods, track.workload.desired, now, thresholds);
        }
        let health = judge(&track.workload, current, &pods);
        let marks = self.marks_of(key, &pods, !in_release_window, now);
        let view = View {
            before,
            ..self.view(track, (current, change_at), pods, &marks, now, thresholds)
        };
        let decision = decide(&view, now, thresholds);
        let runs = |seen: &Seen<'_>| seen.current && seen.state == PodState::Ready;
        let settled = health.verdict == Verdict::Healthy && view.pods.iter().any(runs);
        let refusal = track.workload.refusal.as_ref();
        let memory = Memory {
            uids: view.pods.iter().map(|seen| seen.pod.uid.clone()).collect(),
            low_since: view.low_since,
            lag_since: view.lag_since,
            refusal_since: refusal.map(|_| track.refusal_since.unwrap_or(now)),
            healthy: current.filter(|_| settled).map(|r| r.uid.clone()),
            marks,
        };
        self.remember(key, memory, now);
        Some(Evaluation { decision, health })
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one evaluation")]
    fn view<'a>(
        &'a self,
        track: &'a Track,
        (current, change_at): (Option<&'a Revision>, At),
        pods: Vec<Seen<'a>>,
        marks: &HashMap<String, Mark>,
        now: At,
        thresholds: &Thresholds,
    ) -> View<'a> {
        let workload = &track.workload;
        let low = is_low(workload, &pods, thresholds);
        let own = |uid: &String| current.is_some_and(|revision| revision.uid == *uid);
        let others = || {
            let all = self.revisions_of.get(&workload.uid).into_iter().flatten();
            all.filter(|uid| !own(uid))
        };
        let healthy_before = |at: &At| *at < change_at;
        let lags = workload.lags();
        View {
            before: None,
            baseline: others().any(|uid| self.healthy.contains_key(uid)),
            relapse: current
                .and_then(|revision| self.healthy.get(&revision.uid))
                .is_some_and(healthy_before),
            in_release_window: now.since(change_at) <= thresholds.release_window_ms,
            low_since: low.then(|| track.low_since.unwrap_or(now)),
            lag_since: lags.then(|| track.lag_since.unwrap_or(now)),
            bad_since: bad_since(&pods, marks),
            refusal: refusal(track, now),
            pending_since: self.pending_since(workload, &pods),
            requests: self.requests.get(&workload.key),
            burning_elsewhere: self.burning_elsewhere(workload, now, thresholds),
            mounts: self.mounts(&pods),
            around: &self.around,
            marks: &self.marks,
            workload,
            current,
            change_at,
            pods,
        }
    }

    /// Finds the current revision, and when it became so.
    fn settle_current(&mut self, key: &Key, now: At) -> Option<()> {
        let track = self.workloads.get_mut(key)?;
        let workload = &track.workload;
        let all = self.revisions_of.get(&workload.uid).into_iter().flatten();
        let mut all = all.filter_map(|uid| self.revisions.get(uid));
        let current = match &workload.current {
            Current::Number(number) => all.find(|revision| revision.number == *number),
            Current::Name(name) => all.find(|revision| revision.name == *name),
            Current::Newest => all.max_by_key(|revision| revision.number),
        };
        let known = track.current.as_ref().map(|(uid, _)| uid);
        match current {
            Some(revision) if known != Some(&revision.uid) => {
                // At the first look the revision's age tells; later changes are seen as they happen.
                let at = if known.is_none() {
                    revision.created
                } else {
                    now
                };
                track.current = Some((revision.uid.clone(), at));
            }
            _ => {}
        }
        Some(())
    }

    fn seen<'a>(
        &'a self,
        track: &Track,
        (current, before): (Option<&Revision>, Option<&Revision>),
        now: At,
        thresholds: &Thresholds,
    ) -> Vec<Seen<'a>> {
        let uid = &track.workload.uid;
        let misplaced = self.is_misplaced(current, before);
        let quick = Thresholds {
            unschedulable_after_ms: thresholds.unready_after_ms,
            ..*thresholds
        };
        let sets = self.revisions_of.get(uid).into_iter().flatten();
        let owners = sets.chain([uid]);
        let pods = owners.flat_map(|owner| self.pods_of.get(owner).into_iter().flatten());
        pods.filter_map(|uid| self.pods.get(uid))
            .map(|TrackedPod { pod, signals }| {
                let current = current.is_some_and(|revision| match &pod.revision {
                    Some(name) => revision.name == *name,
                    None => revision.uid == pod.owner,
                });
                let only_placement = |homeless: &Homeless| {
                    homeless.placement && homeless.resources.is_empty() && !homeless.claims
                };
                let hopeless = misplaced && pod.homeless.as_ref().is_some_and(only_placement);
                let thresholds = if hopeless && current {
                    &quick
                } else {
                    thresholds
                };
                Seen {
                    pod,
                    state: assess(pod, signals, now, thresholds),
                    current,
                    restarting: signals.restarting(pod, now, thresholds),
                    crashed: signals.crashed_since(now, thresholds.restart_window_ms),
                }
            })
            .collect()
    }

    /// The revision before: the newest other one that was healthy, else the newest other one.
    fn before(&self, track: &Track, current: Option<&Revision>) -> Option<&Revision> {
        let all = self.revisions_of.get(&track.workload.uid)?.iter();
        let others = all.filter(|uid| current.is_none_or(|revision| revision.uid != **uid));
        let known = others.filter_map(|uid| self.revisions.get(uid));
        known.max_by_key(|r| (self.healthy.contains_key(&r.uid), r.number))
    }

    /// Whether the release changed where its pods may run, in a cluster where no node can still come for them.
    fn is_misplaced(&self, current: Option<&Revision>, before: Option<&Revision>) -> bool {
        let placed = |revision: &Revision| revision.template.placement;
        let changed = current.map(placed) != before.map(placed) && before.is_some();
        changed && !self.around.makes_nodes()
    }

    /// Marks of the workload's pods that are bad, ready with failing probes, or crashed lately.
    fn marks_of(
        &self,
        key: &Key,
        pods: &[Seen<'_>],
        stable: bool,
        now: At,
    ) -> HashMap<String, Mark> {
        let suffers = |seen: &&Seen<'_>| {
            let signals = self.pods.get(&seen.pod.uid).map(|tracked| &tracked.signals);
            let lately = |seen: &Seen<'_>| {
                seen.crashed
                    .is_some_and(|at| now.since(at) <= SHARED_WINDOW_MS)
            };
            match seen.state {
                PodState::Bad(_) => true,
                PodState::Ready => {
                    lately(seen) || signals.is_some_and(|s| s.probe_fails(now, SHARED_WINDOW_MS))
                }
                PodState::Starting(_) => lately(seen),
                PodState::Leaving => false,
            }
        };
        let mark = |seen: &Seen<'_>| {
            let signals = self.pods.get(&seen.pod.uid).map(|tracked| &tracked.signals);
            let first = signals.and_then(Signals::first_sign).unwrap_or(now);
            let mark = Mark {
                key: key.clone(),
                reason: seen.bad(),
                node: seen.pod.node.clone(),
                since: self.marks.get(&seen.pod.uid).map_or(first, |m| m.since),
                stable,
            };
            (seen.pod.uid.clone(), mark)
        };
        pods.iter().filter(suffers).map(mark).collect()
    }

    fn mounts<'a>(&'a self, pods: &[Seen<'a>]) -> HashMap<&'a str, &'a MountFault> {
        let fault = |seen: &Seen<'a>| {
            let tracked = self.pods.get(&seen.pod.uid)?;
            Some((seen.pod.uid.as_str(), tracked.signals.mount_fault()?))
        };
        pods.iter()
            .filter(|seen| seen.bad().is_some())
            .filter_map(fault)
            .collect()
    }

    fn pending_since(&self, workload: &Workload, pods: &[Seen<'_>]) -> Option<At> {
        let waiting = pods.iter().filter(|s| !s.pod.ready && !s.pod.leaving);
        let claims = waiting.flat_map(|seen| &seen.pod.claims);
        let pending = |claim: &String| self.around.pending(&workload.key.namespace, claim);
        claims.filter_map(pending).min()
    }

    /// Whether requests to other workloads, outside the window after their own changes, are in trouble.
    fn burning_elsewhere(&self, workload: &Workload, now: At, thresholds: &Thresholds) -> bool {
        let Some(own) = self.requests.get(&workload.key) else {
            return false;
        };
        let stable = |key: &Key| {
            self.changed_at(key)
                .is_none_or(|at| now.since(at) > thresholds.release_window_ms)
        };
        self.requests.iter().any(|(key, theirs)| {
            let recent = theirs.since >= own.since.plus(-SHARED_WINDOW_MS);
            *key != workload.key && recent && stable(key)
        })
    }

    fn remember(&mut self, key: &Key, memory: Memory, now: At) {
        let Memory {
            uids,
            marks,
            low_since,
            lag_since,
            refusal_since,
            healthy,
        } = memory;
        for uid in uids {
            self.marks.remove(&uid);
        }
        self.marks.extend(marks);
        if let Some(track) = self.workloads.get_mut(key) {
            track.low_since = low_since;
            track.lag_since = lag_since;
            track.refusal_since = refusal_since;
            if track.workload.total >= track.workload.desired {
                track.refused = None;
            }
        }
        if let Some(uid) = healthy {
            self.healthy.entry(uid).or_insert(now);
        }
    }
}

fn bad_since(pods: &[Seen<'_>], marks: &HashMap<String, Mark>) -> Option<At> {
    let bad = pods.iter().filter(|seen| seen.bad().is_some());
    bad.filter_map(|seen| marks.get(&seen.pod.uid))
        .map(|mark| mark.since)
        .min()
}

/// When the current revision came to run, where nothing runs it until somebody deletes pods (`OnDelete`).
fn started(workload: &Workload, pods: &[Seen<'_>]) -> Option<At> {
    let by_hand = workload.desired > 0 && workload.held >= workload.desired;
    let current = pods.iter().filter(|seen| seen.current && by_hand);
    current.map(|seen| seen.pod.created).min()
}

/// Why pods cannot be made: by the condition of a Deployment, by the events of the others while pods are missing.
fn refusal(track: &Track, now: At) -> Option<(Refusal, At)> {
    let workload = &track.workload;
    if let Some(refusal) = &workload.refusal {
        return Some((refusal.clone(), track.refusal_since.unwrap_or(now)));
    }
    let missing = workload.total < workload.desired;
    let by_events = workload.key.kind != WorkloadKind::Deployment;
    track.refused.clone().filter(|_| missing && by_events)
}

/// Whether too large a share of the wanted pods is unready.
fn is_low(workload: &Workload, pods: &[Seen<'_>], thresholds: &Thresholds) -> bool {
    let wanted = usize::try_from(workload.desired).unwrap_or(usize::MAX);
    let ready = pods
        .iter()
        .filter(|seen| seen.pod.ready && !seen.pod.leaving)
        .count();
    let limit = usize::try_from(thresholds.max_unready_percent).unwrap_or(100);
    wanted.saturating_sub(ready) * 100 > wanted.saturating_mul(limit)
}
