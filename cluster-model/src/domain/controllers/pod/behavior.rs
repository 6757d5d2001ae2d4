use std::str::FromStr;
use std::time::Duration;

/// Longest time that a behavior may name: one day.
const MAX_SECONDS: f64 = 86_400.0;

/// How the pods of a template behave, from the annotation on the template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Behavior {
    /// Ready after the usual time.
    #[default]
    Healthy,
    /// `slow:5s`: ready after this time.
    Slow(Duration),
    /// `never-ready`: runs, and its readiness probe fails.
    NeverReady,
    /// `unready-after:2s`: ready, and after this time its readiness probe fails.
    UnreadyAfter(Duration),
    /// `crash-loop`: its first container ends with exit code 1, again and again.
    CrashLoop,
    /// `oom`: its first container is killed for its memory, again and again.
    Oom,
    /// `image-pull`: its image does not exist.
    ImagePull,
}

impl FromStr for Behavior {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || {
            format!(
                "Unsupported value: {text:?}: supported values: \"never-ready\", \"crash-loop\", \
                 \"image-pull\", \"oom\", \"slow:TIME\", \"unready-after:TIME\""
            )
        };
        match text.split_once(':') {
            None if text.is_empty() => Ok(Self::Healthy),
            None if text == "never-ready" => Ok(Self::NeverReady),
            None if text == "crash-loop" => Ok(Self::CrashLoop),
            None if text == "oom" => Ok(Self::Oom),
            None if text == "image-pull" => Ok(Self::ImagePull),
            Some(("slow", time)) => duration(time).map(Self::Slow).ok_or_else(refused),
            Some(("unready-after", time)) => {
                duration(time).map(Self::UnreadyAfter).ok_or_else(refused)
            }
            _ => Err(refused()),
        }
    }
}

/// Reads `400ms`, `5s` or `2m`, up to one day.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = match (text.strip_suffix("ms"), text.strip_suffix('s')) {
        (Some(number), _) => (number, 0.001),
        (None, Some(number)) => (number, 1.0),
        (None, None) => (text.strip_suffix('m')?, 60.0),
    };
    let seconds = number.parse::<f64>().ok()? * unit;
    (0.0..=MAX_SECONDS)
        .contains(&seconds)
        .then(|| Duration::from_secs_f64(seconds))
}

/// A stage of a pod's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Its containers are being made.
    Creating,
    /// Its containers run.
    Running,
    /// Its containers run and answer.
    Ready,
    /// Its containers run and do not answer.
    Unready,
    /// Its first container ended and was started again at once.
    Restarted,
    /// Its first container ended again and waits.
    Crashed,
    /// Its first container runs again after a wait.
    RunningAgain,
    /// Its image could not be pulled.
    PullFailed,
    /// Its image could not be pulled, and the kubelet waits.
    PullBackOff,
}

/// The stage that follows. The first crash restarts at once, every later one waits, as the
/// kubelet does.
pub(super) fn next(stage: Stage, behavior: Behavior, restarts: u32) -> Stage {
    let crashes = matches!(behavior, Behavior::CrashLoop | Behavior::Oom);
    match stage {
        Stage::Creating if behavior == Behavior::ImagePull => Stage::PullFailed,
        Stage::Creating => Stage::Running,
        Stage::PullFailed | Stage::PullBackOff => Stage::PullBackOff,
        Stage::Running if crashes && restarts == 0 => Stage::Restarted,
        Stage::Running | Stage::Restarted | Stage::RunningAgain if crashes => Stage::Crashed,
        Stage::Crashed => Stage::RunningAgain,
        Stage::Running if behavior == Behavior::NeverReady => Stage::Unready,
        Stage::Running | Stage::Restarted | Stage::RunningAgain => Stage::Ready,
        Stage::Ready | Stage::Unready => Stage::Unready,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_documented_behavior() {
        for (text, expected) in [
            ("", Behavior::Healthy),
            ("never-ready", Behavior::NeverReady),
            ("crash-loop", Behavior::CrashLoop),
            ("image-pull", Behavior::ImagePull),
            ("oom", Behavior::Oom),
            ("slow:5s", Behavior::Slow(Duration::from_secs(5))),
            ("slow:1.5s", Behavior::Slow(Duration::from_millis(1500))),
            ("slow:2m", Behavior::Slow(Duration::from_mins(2))),
            (
                "unready-after:250ms",
                Behavior::UnreadyAfter(Duration::from_millis(250)),
            ),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses_every_other() {
        for text in [
            "sick",
            "slow",
            "slow:",
            "slow:5",
            "slow:-1s",
            "slow:NaNs",
            "slow:9999999m",
        ] {
            assert!(text.parse::<Behavior>().is_err(), "{text}");
        }
    }
}
