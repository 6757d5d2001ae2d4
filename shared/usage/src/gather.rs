//! What the skills of two agents do first: check names and window, then read usage as an audited tool call.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, SkillError, ToolCall};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    Detail, NamespaceUsage, UsageError, UsageQuery, UsageSource, Window, WindowError, WorkloadKind,
};

/// Default window: VPA's history, 8 days.
pub const DEFAULT_DAYS: f64 = 8.0;
/// Default step: 5 minutes.
pub const DEFAULT_STEP_SECONDS: u32 = 300;

/// From when to when to look.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WindowInput {
    /// End, RFC 3339. Default: now; with recorded metrics the newest sample.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<String>,
    /// Length in days, up to 92. Default: 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<f64>,
    /// Seconds between points, 30 to 86400. Default: 300. Grows when the window would have more than 3000 points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step_seconds: Option<u32>,
}

/// The window that was really read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WindowRead {
    /// Start, RFC 3339.
    pub start: String,
    /// End, RFC 3339.
    pub end: String,
    /// Seconds between points: shorter peaks than this are averaged in CPU (not in memory).
    pub step_seconds: i64,
}

impl From<Window> for WindowRead {
    fn from(window: Window) -> Self {
        Self {
            start: rfc3339(window.start()),
            end: rfc3339(window.end()),
            step_seconds: window.step(),
        }
    }
}

/// Unix seconds as RFC 3339; empty when out of its range (after the year 9999).
pub fn rfc3339(at: i64) -> String {
    OffsetDateTime::from_unix_timestamp(at)
        .ok()
        .and_then(|t| t.format(&Rfc3339).ok())
        .unwrap_or_default()
}

/// What a skill wants to read.
#[derive(Debug, Clone)]
pub struct Gather<'a> {
    /// Namespace.
    pub namespace: &'a str,
    /// One workload, or all.
    pub workload: Option<&'a str>,
    /// Its kind, where names clash.
    pub kind: Option<WorkloadKind>,
    /// The window as the caller gave it.
    pub window: Option<&'a WindowInput>,
    /// How much to read.
    pub detail: Detail,
}

/// Reads usage for a skill.
///
/// # Errors
/// `Rejected` for a name or window that is wrong, or a workload without samples; `Denied` for a
/// namespace outside the targets; `Unavailable` when the source does not answer.
pub async fn gather(
    context: &Context,
    source: &dyn UsageSource,
    wanted: Gather<'_>,
) -> Result<NamespaceUsage, SkillError> {
    check_name("namespace", wanted.namespace, 63, false)?;
    if let Some(name) = wanted.workload {
        check_name("workload", name, 253, true)?;
    }
    context.check_target(wanted.namespace)?;
    let window = window(source, wanted.window).await?;
    let query = UsageQuery {
        namespace: wanted.namespace.to_owned(),
        workload: wanted.workload.map(|name| (name.to_owned(), wanted.kind)),
        window,
        detail: wanted.detail,
    };
    let call = ToolCall::read(
        "usage.query",
        [format!(
            "{}/{}",
            wanted.namespace,
            wanted.workload.unwrap_or("*")
        )],
    );
    let usage = context
        .tool(call, async {
            source.usage(&query).await.map_err(skill_error)
        })
        .await?;
    context.check_canceled()?;
    match wanted.workload {
        Some(name) if usage.workloads.is_empty() => Err(SkillError::rejected(
            "workload",
            format!("a workload with samples in namespace {}", wanted.namespace),
            name,
        )),
        _ => Ok(usage),
    }
}

async fn window(
    source: &dyn UsageSource,
    input: Option<&WindowInput>,
) -> Result<Window, SkillError> {
    let default = WindowInput::default();
    let input = input.unwrap_or(&default);
    let end = match &input.end {
        Some(text) => OffsetDateTime::parse(text, &Rfc3339)
            .map_err(|_| {
                SkillError::rejected(
                    "window.end",
                    "an RFC 3339 time",
                    text.chars().take(40).collect::<String>(),
                )
            })?
            .unix_timestamp(),
        None => source.latest().await.map_err(skill_error)?,
    };
    let days = input.days.unwrap_or(DEFAULT_DAYS);
    let step = input.step_seconds.unwrap_or(DEFAULT_STEP_SECONDS);
    if step > 86_400 {
        return Err(SkillError::rejected(
            "window.step_seconds",
            "30 to 86400",
            step.to_string(),
        ));
    }
    let length = i64::try_from(crate::whole((days * 86_400.0).round())).unwrap_or(i64::MAX);
    Window::new(end, length, i64::from(step)).map_err(|error| match error {
        WindowError::Length => {
            SkillError::rejected("window.days", error.to_string(), days.to_string())
        }
        WindowError::Step => {
            SkillError::rejected("window.step_seconds", error.to_string(), step.to_string())
        }
    })
}

fn check_name(field: &str, name: &str, longest: usize, dots: bool) -> Result<(), SkillError> {
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let legal =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || (dots && c == '.');
    if name.len() <= longest
        && ends(name.chars().next())
        && ends(name.chars().last())
        && name.chars().all(legal)
    {
        Ok(())
    } else {
        Err(SkillError::rejected(
            field,
            "a Kubernetes name",
            name.chars().take(63).collect::<String>(),
        ))
    }
}

fn skill_error(error: UsageError) -> SkillError {
    match error {
        UsageError::TooMuch { limit, got, what } => {
            SkillError::rejected("window", format!("at most {limit} {what}"), got.to_string())
        }
        UsageError::Unreachable(source) => SkillError::unavailable("prometheus", source),
        UsageError::Refused { status, .. } if status >= 500 || status == 429 => {
            SkillError::unavailable("prometheus", error)
        }
        UsageError::NotConfigured => SkillError::failed(error.to_string()),
        UsageError::Refused { .. } | UsageError::Io { .. } | UsageError::Malformed { .. } => {
            SkillError::failed_with("cannot read usage", error)
        }
    }
}

#[cfg(test)]
mod tests {
    use shared::testing::FakeAgent;

    use super::*;

    #[derive(Debug)]
    struct Empty;

    #[async_trait::async_trait]
    impl UsageSource for Empty {
        async fn usage(&self, query: &UsageQuery) -> Result<NamespaceUsage, UsageError> {
            Ok(NamespaceUsage {
                namespace: query.namespace.clone(),
                window: query.window,
                workloads: Vec::new(),
                volumes: Vec::new(),
                services: Vec::new(),
                nodes: std::collections::BTreeMap::new(),
            })
        }

        async fn latest(&self) -> Result<i64, UsageError> {
            Ok(1_768_262_400)
        }
    }

    async fn refused(
        namespace: &str,
        workload: Option<&str>,
        window: Option<WindowInput>,
    ) -> String {
        let (context, _) = FakeAgent::default().context();
        let wanted = Gather {
            namespace,
            workload,
            kind: None,
            window: window.as_ref(),
            detail: Detail::Workloads,
        };
        match gather(&context, &Empty, wanted).await {
            Err(SkillError::Rejected { field, .. }) => field,
            other => format!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn wrong_input_is_rejected_by_field() {
        let days = |days| {
            Some(WindowInput {
                days: Some(days),
                ..WindowInput::default()
            })
        };
        assert_eq!(refused("a\"} or vector(1)", None, None).await, "namespace");
        assert_eq!(refused("shop", Some("web|.*"), None).await, "workload");
        assert_eq!(refused("shop", Some("web"), None).await, "workload");
        assert_eq!(refused("shop", None, days(93.0)).await, "window.days");
        assert_eq!(refused("shop", None, days(-1.0)).await, "window.days");
        assert_eq!(refused("shop", None, days(f64::NAN)).await, "window.days");
        let end = Some(WindowInput {
            end: Some("yesterday".into()),
            ..WindowInput::default()
        });
        assert_eq!(refused("shop", None, end).await, "window.end");
        let step = |step| {
            Some(WindowInput {
                step_seconds: Some(step),
                ..WindowInput::default()
            })
        };
        assert_eq!(refused("shop", None, step(1)).await, "window.step_seconds");
        assert_eq!(
            refused("shop", None, step(100_000)).await,
            "window.step_seconds"
        );
    }

    #[tokio::test]
    async fn a_namespace_outside_the_targets_is_denied_before_anything_is_read() {
        let (context, agent) = FakeAgent::default().namespace("shop").context();
        let wanted = Gather {
            namespace: "kube-system",
            workload: None,
            kind: None,
            window: None,
            detail: Detail::Workloads,
        };
        assert!(matches!(
            gather(&context, &Empty, wanted).await,
            Err(SkillError::Denied(_))
        ));
        assert!(agent.trail().is_empty());
    }

    #[tokio::test]
    async fn the_window_ends_at_the_present_of_the_source() {
        let (context, agent) = FakeAgent::default().context();
        let wanted = Gather {
            namespace: "shop",
            workload: None,
            kind: None,
            window: None,
            detail: Detail::Workloads,
        };
        let usage = gather(&context, &Empty, wanted).await.unwrap();
        assert_eq!(
            (usage.window.end(), usage.window.length()),
            (1_768_262_400, 8 * 86_400)
        );
        assert_eq!(agent.trail(), ["outcome usage.query shop/* ok"]);
    }
}
