//! Is this pod well, on its way, or bad?

mod crash;

use std::collections::VecDeque;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    At, Container, ContainerState, Pod, Thresholds,
    messages::{MountFault, Warning},
    thresholds::{DEFAULT_BUDGET_MS, SHARED_WINDOW_MS},
};

pub use crash::convict;

/// Most remembered changes of a pod's restart count.
const MAX_RESTART_MARKS: usize = 64;
/// Whole seconds in the API hide up to this many milliseconds.
const HIDDEN_MS: i64 = 999;

/// Why a pod is bad.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A container ends again and again (`CrashLoopBackOff`).
    CrashLoop,
    /// An image cannot be had (`ImagePullBackOff`, `InvalidImageName`, `ErrImageNeverPull`).
    ImagePull,
    /// A container cannot be made (`CreateContainerConfigError`, `CreateContainerError`, `RunContainerError`).
    Config,
    /// A container was killed for its memory and is not ready again.
    OutOfMemory,
    /// Containers were started again too often in the window.
    Restarts,
    /// It was ready until a container ended with an error, as most pods of its revision.
    Crashed,
    /// A probe that should pass by now fails.
    ProbeFailing,
    /// It is not ready although the time that its own probes give it is over.
    NotReadyInTime,
    /// The scheduler finds no node.
    Unschedulable,
    /// A volume is not mounted.
    Mount,
    /// Its node cannot make a sandbox for it.
    Sandbox,
}

impl Reason {
    /// The word for people and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CrashLoop => "crash_loop",
            Self::ImagePull => "image_pull",
            Self::Config => "config",
            Self::OutOfMemory => "out_of_memory",
            Self::Restarts => "restarts",
            Self::Crashed => "crashed",
            Self::ProbeFailing => "probe_failing",
            Self::NotReadyInTime => "not_ready_in_time",
            Self::Unschedulable => "unschedulable",
            Self::Mount => "mount",
            Self::Sandbox => "sandbox",
        }
    }
}

/// What a pod is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodState {
    /// Ready.
    Ready,
    /// Not ready, and within the time it may take; the judgement changes at this time at the latest.
    Starting(At),
    /// Bad.
    Bad(Reason),
    /// On its way out: says nothing.
    Leaving,
}

/// What was seen of a pod over time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signals {
    /// Whether it was ready at some time.
    ready_once: bool,
    /// Since when it is not ready.
    unready_since: Option<At>,
    /// When it was first seen running.
    running_seen: Option<At>,
    /// Last warning about a failing readiness or liveness probe.
    probe_failed: Option<At>,
    /// First of these warnings since it was last ready.
    failing_since: Option<At>,
    /// The first warning that a volume was not mounted, and what the last one said.
    mount: Option<(At, MountFault)>,
    /// The first warning that no sandbox could be made.
    sandbox: Option<At>,
    /// Since when no node is found for it.
    homeless_since: Option<At>,
    /// Restart counts with the time they were first seen.
    restarts: VecDeque<(At, u32)>,
    /// When a container of it ended with an error after it had been ready.
    crashed: Option<At>,
}

impl Signals {
    /// Takes in a state of the pod.
    pub fn see(&mut self, pod: &Pod, now: At) {
        let running = |container: &Container| matches!(container.state, ContainerState::Running(_));
        if pod.containers.iter().any(running) {
            self.running_seen.get_or_insert(now);
            // Something runs, so volumes and sandbox are there.
            self.mount = None;
            self.sandbox = None;
        }
        let restarts = pod.restarts();
        let known = self.restarts.back().map(|(_, restarts)| *restarts);
        let again = known.is_some_and(|known| restarts > known);
        let ended = |container: &Container| matches!(container.state, ContainerState::Ended(_));
        if self.ready_once
            && (again || pod.containers.iter().any(ended))
            && crash::has_failed(pod)
            && self.crashed_since(now, SHARED_WINDOW_MS).is_none()
        {
            // Its end and its new start are one crash.
            self.crashed = Some(now);
        }
        let homeless = pod.homeless.is_some();
        self.homeless_since = homeless.then(|| self.homeless_since.unwrap_or(now));
        if pod.ready {
            self.ready_once = true;
            self.unready_since = None;
            self.failing_since = None;
        } else {
            self.unready_since.get_or_insert(now);
        }
        if known != Some(restarts) {
            if self.restarts.len() == MAX_RESTART_MARKS {
                self.restarts.pop_front();
            }
            self.restarts.push_back((now, restarts));
        }
    }

    /// Takes in a warning event.
    pub fn warn(&mut self, warning: &Warning, at: At) {
        match warning {
            Warning::ProbeFailed => {
                self.probe_failed = self.probe_failed.max(Some(at));
                self.failing_since.get_or_insert(at);
            }
            Warning::Mount(_) | Warning::Sandbox
                if self.running_seen.is_some() || self.ready_once => {}
            Warning::Mount(fault) => {
                let first = self.mount.take().map_or(at, |(first, _)| first.min(at));
                self.mount = Some((first, fault.clone()));
            }
            Warning::Sandbox => {
                self.sandbox.get_or_insert(at);
            }
            Warning::CreateRefused(_) => {}
        }
    }

    /// Why a volume of it is not mounted.
    pub fn mount_fault(&self) -> Option<&MountFault> {
        self.mount.as_ref().map(|(_, fault)| fault)
    }

    /// The first sign that a pod, which may be judged bad only later, is not well.
    pub fn first_sign(&self) -> Option<At> {
        let flipped = self.unready_since.filter(|_| self.ready_once);
        let mount = self.mount.as_ref().map(|(first, _)| *first);
        let signs = self.failing_since.into_iter().chain(flipped);
        let waits = mount.into_iter().chain(self.sandbox);
        let waits = waits.chain(self.homeless_since);
        signs.chain(waits).chain(self.crashed).min()
    }

    /// When a container of the pod ended with an error after the pod had been ready, within the last `window_ms`.
    pub fn crashed_since(&self, now: At, window_ms: i64) -> Option<At> {
        self.crashed.filter(|at| now.since(*at) <= window_ms)
    }

    /// Whether a probe failed within the last `window_ms`.
    pub fn probe_fails(&self, now: At, window_ms: i64) -> bool {
        self.probe_failed
            .is_some_and(|at| now.since(at) <= window_ms)
    }

    /// Whether containers of the pod were started again too often.
    pub fn restarting(&self, pod: &Pod, now: At, thresholds: &Thresholds) -> bool {
        let restarts = self.recent_restarts(pod, now, thresholds.restart_window_ms);
        restarts > thresholds.max_restarts && !pod.leaving
    }

    /// Restarts within the window before `now`.
    fn recent_restarts(&self, pod: &Pod, now: At, window_ms: i64) -> u32 {
        let begin = now.plus(-window_ms);
        let before = self.restarts.iter().rev().find(|(at, _)| *at < begin);
        // Restarts before the first look count only for a pod that is younger than the window.
        let first = self.restarts.front().filter(|_| pod.created < begin);
        let base = before.or(first).map_or(0, |(_, restarts)| *restarts);
        pod.restarts().saturating_sub(base)
    }
}

/// Judges a pod.
pub fn assess(pod: &Pod, signals: &Signals, now: At, thresholds: &Thresholds) -> PodState {
    if pod.leaving {
        return PodState::Leaving;
    }
    if let Some(reason) = pod.containers.iter().find_map(broken) {
        return PodState::Bad(reason);
    }
    if signals.restarting(pod, now, thresholds) {
        return PodState::Bad(Reason::Restarts);
    }
    if pod.ready {
        return PodState::Ready;
    }
    let (until, reason) = patience(pod, signals, now, thresholds);
    if now < until {
        PodState::Starting(until)
    } else {
        PodState::Bad(reason)
    }
}

/// A container that says itself that something is wrong.
fn broken(container: &Container) -> Option<Reason> {
    match &container.state {
        ContainerState::Waiting(reason) => match reason.as_str() {
            "CrashLoopBackOff" if out_of_memory(container) => Some(Reason::OutOfMemory),
            "CrashLoopBackOff" => Some(Reason::CrashLoop),
            "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
                Some(Reason::ImagePull)
            }
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                Some(Reason::Config)
            }
            _ => None,
        },
        ContainerState::Running(_) | ContainerState::Ended(_) => {
            (out_of_memory(container) && !container.ready).then_some(Reason::OutOfMemory)
        }
    }
}

fn out_of_memory(container: &Container) -> bool {
    let ended = matches!(&container.state, ContainerState::Ended(reason) if reason == "OOMKilled");
    ended || container.last_end.as_deref() == Some("OOMKilled")
}

/// Until when a pod that is not ready has time, and what it is then.
fn patience(pod: &Pod, signals: &Signals, now: At, thresholds: &Thresholds) -> (At, Reason) {
    if pod.homeless.is_some() {
        let until = pod.created.plus(thresholds.unschedulable_after_ms);
        return (until, Reason::Unschedulable);
    }
    if let Some((first, fault)) = &signals.mount {
        let grace = match fault {
            MountFault::Missing(_) => thresholds.missing_after_ms,
            MountFault::Storage => thresholds.unmounted_after_ms,
        };
        return (first.plus(grace), Reason::Mount);
    }
    if let Some(first) = signals.sandbox {
        return (first.plus(thresholds.unmounted_after_ms), Reason::Sandbox);
    }
    // Those that run before the others have no time of their own: the rollout's deadline is theirs.
    let unready = pod.containers.iter().filter(|c| !c.ready && !c.init);
    let times = unready.map(|container| container_patience(container, signals, now, thresholds));
    let fallback = (now.plus(DEFAULT_BUDGET_MS), Reason::NotReadyInTime);
    // The container that is out of time first decides.
    times.min_by_key(|(until, _)| *until).unwrap_or(fallback)
}

fn container_patience(
    container: &Container,
    signals: &Signals,
    now: At,
    thresholds: &Thresholds,
) -> (At, Reason) {
    let slack = thresholds.unready_after_ms;
    let ContainerState::Running(since) = container.state else {
        // Being made, or about to be started again: its next state will tell.
        return (now.plus(DEFAULT_BUDGET_MS), Reason::NotReadyInTime);
    };
    let seen = signals.running_seen.unwrap_or(now).max(since);
    let since = seen.min(since.plus(HIDDEN_MS));
    if signals.ready_once {
        // Readiness flips only after the probe failed as often as its spec allows.
        let flipped = signals.unready_since.unwrap_or(now);
        return (flipped.plus(slack), Reason::ProbeFailing);
    }
    let readiness = container.probes.readiness_ms.unwrap_or(DEFAULT_BUDGET_MS);
    match (
        container.probes.startup_ms,
        container.started,
        signals.probe_failed,
    ) {
        (Some(startup), false, _) => (
            since.plus(startup + readiness + slack),
            Reason::NotReadyInTime,
        ),
        // Its own startup probe says that the start is over, so a failing probe is no part of it.
        (Some(_), true, Some(_)) => (since.plus(slack), Reason::ProbeFailing),
        (_, _, Some(_)) => (since.plus(readiness + slack), Reason::ProbeFailing),
        (_, _, None) => (since.plus(readiness + slack), Reason::NotReadyInTime),
    }
}

#[cfg(test)]
mod tests;
