//! Hooks: what else happens at fixed points of a run, declared with the migrations or with the request.
//!
//! A hook runs at least once: an external effect cannot share a transaction with the ledger. So each invocation has a key
//! that stays the same when it is repeated after a crash, and the ledger keeps an intent before and the outcome after.

mod check;

pub use check::{Allowed, HookError, check, is_hook_file, merge, read_files};

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{plan, waiting::Blocker};

/// When a hook runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Point {
    /// After approval and record, before the first migration.
    BeforeRun,
    /// After the last migration, before the run counts as completed.
    AfterRun,
    /// Before each migration.
    BeforeStep,
    /// After each migration committed.
    AfterStep,
    /// When others hold a lock that a statement needs; at most once a second, with the sessions that hold it.
    OnLockWait,
    /// When the run failed; its own failure changes nothing.
    OnFailure,
    /// Before the contract of a migration.
    BeforeContract,
    /// Before the first step that is destructive or not proven. Its result is kept and shown.
    Backup,
    /// After each wave of a fleet but the last; never SQL.
    AfterWave,
}

impl Point {
    /// The word in requests, ledger and answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BeforeRun => "before_run",
            Self::AfterRun => "after_run",
            Self::BeforeStep => "before_step",
            Self::AfterStep => "after_step",
            Self::OnLockWait => "on_lock_wait",
            Self::OnFailure => "on_failure",
            Self::BeforeContract => "before_contract",
            Self::Backup => "backup",
            Self::AfterWave => "after_wave",
        }
    }

    /// Whether the ledger keeps it and repeats it after a crash; a note about a moment that has passed is not repeated.
    pub const fn is_kept(self) -> bool {
        !matches!(self, Self::OnLockWait)
    }
}

/// What kind of run a hook belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunKind {
    /// `apply_migration`.
    Apply,
    /// `complete_migration`.
    Complete,
    /// `rollback_migration`.
    Rollback,
}

impl RunKind {
    /// The word in the ledger.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Apply => "apply",
            Self::Complete => "complete",
            Self::Rollback => "rollback",
        }
    }
}

/// What a failed hook does to its run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The run stops before the next statement.
    #[default]
    Abort,
    /// The run goes on; the failure is kept and shown.
    Continue,
}

/// A hook as its author writes it: exactly one of `sql`, `sql_file`, `http` and `call`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HookSpec {
    /// 1 to 63 of a-z, 0-9, - and _; unique. One of the request replaces one of the source.
    pub name: String,
    /// The points at which it runs.
    pub on: Vec<Point>,
    /// The runs it belongs to; all when absent.
    #[serde(default)]
    pub runs: Vec<RunKind>,
    /// SQL, run in one transaction of the run's own session. It may not change the schema.
    pub sql: Option<String>,
    /// The same from a file of the source, for example `hooks/pause_jobs.sql`.
    pub sql_file: Option<String>,
    /// A POST of a JSON object without SQL to a host that the operator allowed.
    pub http: Option<HttpSpec>,
    /// A skill of another agent, along an edge that the manifest declares.
    pub call: Option<CallSpec>,
    /// Longest time it may take; default 30, at most 600.
    pub timeout_seconds: Option<u32>,
    /// What its failure does; default `abort`.
    #[serde(default)]
    pub on_failure: OnFailure,
}

/// Where an HTTP hook posts to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpSpec {
    /// `http` or `https` URL without user name, query and fragment: it is kept in the ledger, so it holds no secret.
    pub url: String,
    /// Name of a configured secret that is sent as the `Authorization` header.
    pub authorization: Option<String>,
}

/// Which skill a hook calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CallSpec {
    /// The agent.
    pub agent: String,
    /// Its skill.
    pub skill: String,
    /// The skill's input; the event when absent.
    pub input: Option<Map<String, Value>>,
}

/// A hook that may run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Its name.
    pub name: String,
    /// The points at which it runs.
    pub on: Vec<Point>,
    /// The runs it belongs to; all when empty.
    pub runs: Vec<RunKind>,
    /// What it does.
    pub action: Action,
    /// Longest time it may take.
    pub timeout_seconds: u32,
    /// What its failure does.
    pub on_failure: OnFailure,
}

/// What a hook does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Statements of one transaction.
    Sql(Vec<String>),
    /// A POST.
    Http(HttpSpec),
    /// A call of another agent.
    Call(CallSpec),
}

impl Hook {
    /// Whether it runs at this point of such a run.
    pub fn runs_at(&self, point: Point, kind: RunKind) -> bool {
        self.on.contains(&point) && (self.runs.is_empty() || self.runs.contains(&kind))
    }

    /// What it is, without SQL and secrets.
    pub fn report(&self) -> HookReport {
        let (kind, target) = match &self.action {
            Action::Sql(statements) => ("sql", format!("{} statements", statements.len())),
            Action::Http(http) => ("http", host(&http.url).to_owned()),
            Action::Call(call) => ("call", format!("{}/{}", call.agent, call.skill)),
        };
        HookReport {
            name: self.name.clone(),
            on: self.on.clone(),
            runs: self.runs.clone(),
            kind: kind.to_owned(),
            target,
            timeout_seconds: self.timeout_seconds,
            on_failure: self.on_failure,
        }
    }
}

/// Scheme and host of a URL: its path may be telling.
pub fn host(url: &str) -> &str {
    let start = url.find("://").map_or(0, |at| at + 3);
    let rest = url.get(start..).unwrap_or_default();
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    url.get(..start + end).unwrap_or_default()
}

/// A hook of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookReport {
    /// Its name.
    pub name: String,
    /// The points at which it runs.
    pub on: Vec<Point>,
    /// The runs it belongs to; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunKind>,
    /// `sql`, `http` or `call`.
    pub kind: String,
    /// Number of statements, host, or agent and skill.
    pub target: String,
    /// Longest time it may take.
    pub timeout_seconds: u32,
    /// What its failure does.
    pub on_failure: OnFailure,
}

/// How an invocation stands in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// About to run: after a crash it runs again under the same key.
    Intent,
    /// It succeeded.
    Done,
    /// It failed and stopped its run.
    Failed,
    /// It failed and its run went on.
    Ignored,
}

impl CallState {
    /// The word in the ledger.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Ignored => "ignored",
        }
    }

    /// Reads the ledger's word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Intent, Self::Done, Self::Failed, Self::Ignored]
            .into_iter()
            .find(|state| state.name() == word)
    }

    /// Whether nothing more is to be done.
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Done | Self::Ignored)
    }
}

/// One invocation of a hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HookCall {
    /// The hook.
    pub hook: String,
    /// The point.
    pub point: Point,
    /// The migration's version, where the point belongs to one.
    pub migration: Option<String>,
    /// How it ended.
    pub state: CallState,
    /// What a backup answered, for example its id; or why the hook failed.
    pub result: Option<String>,
}

/// One moment of a run.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// The run.
    pub run: &'a str,
    /// The point.
    pub point: Point,
    /// The migration's version, or the wave's number.
    pub part: Option<&'a str>,
}

impl Moment<'_> {
    /// The key of a hook's invocation: equal for every repetition after a crash.
    pub fn key(&self, hook: &str) -> String {
        let part = self.part.unwrap_or("-");
        format!("{}/{}/{part}/{hook}", self.run, self.point.name())
    }
}

impl fmt::Display for Moment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.part {
            Some(part) => write!(f, "{} of {part}", self.point.name()),
            None => f.write_str(self.point.name()),
        }
    }
}

/// What a hook is told.
#[derive(Debug, Clone, Default)]
pub struct Event<'a> {
    /// The database.
    pub database: &'a str,
    /// `apply`, `complete` or `rollback`.
    pub kind: &'static str,
    /// Version and name of the migration.
    pub migration: Option<(&'a str, &'a str)>,
    /// The fixed word of the failure.
    pub failure: Option<&'static str>,
    /// The sessions that hold up a statement.
    pub blockers: Vec<Blocker>,
}

impl Event<'_> {
    /// The JSON object of an HTTP hook. It holds no SQL and no row.
    pub fn body(&self, moment: &Moment<'_>, hook: &str) -> Value {
        let migration = self
            .migration
            .map(|(version, name)| json!({"version": version, "name": name}));
        json!({
            "schema": "db-migrator/hook/v1",
            "event": moment.point.name(),
            "hook": hook,
            "idempotency_key": moment.key(hook),
            "database": self.database,
            "run": moment.run,
            "kind": self.kind,
            "part": moment.part,
            "migration": migration,
            "failure": self.failure,
            "blockers": self.blockers,
        })
    }
}

/// The digest of a plan together with its hooks; the plan's own when there are none.
pub fn digest(of_plan: String, hooks: &[Hook]) -> String {
    if hooks.is_empty() {
        return of_plan;
    }
    plan::digest(&json!({"schema": "db-migrator/hooks/v1", "plan": of_plan, "hooks": hooks}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(action: Action) -> Hook {
        Hook {
            name: "h".into(),
            on: vec![Point::BeforeRun],
            runs: vec![RunKind::Apply],
            action,
            timeout_seconds: 30,
            on_failure: OnFailure::Abort,
        }
    }

    #[test]
    fn keys_an_invocation_by_run_point_migration_and_hook() {
        let moment = |part| Moment {
            run: "r",
            point: Point::AfterStep,
            part,
        };
        assert_eq!(moment(Some("0001")).key("h"), "r/after_step/0001/h");
        assert_eq!(moment(None).key("h"), "r/after_step/-/h");
        assert_eq!(moment(Some("0001")).to_string(), "after_step of 0001");
    }

    #[test]
    fn shows_neither_sql_nor_paths() {
        let sql = hook(Action::Sql(vec!["SELECT 's3cret'".into()])).report();
        assert_eq!(
            (sql.kind.as_str(), sql.target.as_str()),
            ("sql", "1 statements")
        );
        let http = hook(Action::Http(HttpSpec {
            url: "https://hooks.example:8443/t/s3cret".into(),
            authorization: None,
        }));
        assert_eq!(http.report().target, "https://hooks.example:8443");
        assert_eq!(host("nonsense"), "nonsense");
    }

    #[test]
    fn belongs_to_points_and_runs() {
        let hook = hook(Action::Sql(vec![]));
        assert!(hook.runs_at(Point::BeforeRun, RunKind::Apply));
        assert!(!hook.runs_at(Point::BeforeRun, RunKind::Rollback));
        assert!(!hook.runs_at(Point::AfterRun, RunKind::Apply));
    }

    #[test]
    fn changes_the_digest_of_a_plan() {
        let one = hook(Action::Sql(vec!["SELECT 1".into()]));
        let two = hook(Action::Sql(vec!["SELECT 2".into()]));
        assert_eq!(digest("p".into(), &[]), "p");
        assert_ne!(
            digest("p".into(), std::slice::from_ref(&one)),
            digest("p".into(), &[two])
        );
        assert_ne!(
            digest("p".into(), std::slice::from_ref(&one)),
            digest("q".into(), &[one])
        );
    }

    #[test]
    fn reads_its_own_words() {
        for state in [
            CallState::Intent,
            CallState::Done,
            CallState::Failed,
            CallState::Ignored,
        ] {
            assert_eq!(CallState::parse(state.name()), Some(state));
        }
        assert!(!CallState::Intent.is_settled() && CallState::Ignored.is_settled());
    }
}
