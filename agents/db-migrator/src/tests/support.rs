//! Databases, callers and sources for tests.

use std::{
    fmt,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use identity::Principal;
use shared::{
    Context, SkillError, ToolCall,
    context::{Approval, Backplane, Work},
};
use store::{Store, testing::TemporaryPostgres};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    Metrics,
    clients::{Database, Databases, Row, Session},
    domain::{Dialect, Migration, SourceFile, source, staging::Retention},
    engine::{self, Applied, ApplyRequest, Job},
};

/// The server of this test process; it stops with the process.
pub(super) fn server() -> &'static TemporaryPostgres {
    static SERVER: OnceLock<TemporaryPostgres> = OnceLock::new();
    SERVER.get_or_init(|| {
        TemporaryPostgres::start_with(&["fsync=off", "max_connections=200"])
            .expect("PostgreSQL is installed")
    })
}

/// A database of a test and, for SQLite, its folder.
#[derive(Debug)]
pub(super) struct Fixture {
    pub(super) database: Database,
    pub(super) url: String,
    _folder: tempfile::TempDir,
}

/// An empty database.
pub(super) fn fixture(dialect: Dialect, dev: bool) -> Fixture {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let folder = tempfile::tempdir().unwrap();
    let url = match dialect {
        Dialect::Sqlite => format!("sqlite:{}", folder.path().join("shop.db").display()),
        Dialect::Postgres => super::versions_online::server_now()
            .create_database(&format!("shop_{}", NEXT.fetch_add(1, Ordering::Relaxed)))
            .unwrap(),
    };
    Fixture {
        database: database(&url, dev),
        url,
        _folder: folder,
    }
}

pub(super) fn database(url: &str, dev: bool) -> Database {
    // The servers of tests have one role, the superuser.
    let spec = format!(
        "shop={url},superuser=allow{}",
        if dev { ",dev" } else { "" }
    );
    Databases::new([spec.parse().unwrap()])
        .find("shop")
        .unwrap()
        .clone()
}

/// Called before a tool call, after it and after its outcome was recorded, and with every progress: lets a test stop or
/// watch a run at an exact point.
pub(super) type Hook = Arc<dyn Fn(&str) -> Option<SkillError> + Send + Sync>;

struct Hooked(Hook);

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hooked")
    }
}

#[async_trait::async_trait]
impl Backplane for Hooked {
    async fn call(
        &self,
        _: &Work,
        agent: &'static str,
        skill: &str,
        _: serde_json::Value,
    ) -> Result<serde_json::Value, SkillError> {
        Err(SkillError::Denied(format!("no edge to {agent}/{skill}")))
    }

    async fn begin(&self, _: &Work, call: &ToolCall) -> Result<String, SkillError> {
        self.0(&format!(
            "begin {} {}",
            call.action,
            call.resources.join(" ")
        ))
        .map_or(Ok(String::from("call")), Err)
    }

    async fn end(
        &self,
        _: &Work,
        call: &ToolCall,
        _: String,
        outcome: &'static str,
    ) -> Result<(), SkillError> {
        for moment in ["end", "recorded"] {
            let line = format!(
                "{moment} {} {} {outcome}",
                call.action,
                call.resources.join(" ")
            );
            if let Some(error) = self.0(&line) {
                return Err(error);
            }
        }
        Ok(())
    }

    fn progress(&self, _: &Work, message: &str, _: u64, _: u64) {
        self.0(&format!("progress {message}"));
    }

    fn artifact(&self, _: &Work, _: a2a::types::Artifact, _: bool, _: bool) {}

    fn may_touch(&self, _: &str) -> bool {
        true
    }

    fn store(&self) -> Arc<dyn Store> {
        panic!("db-migrator keeps its state in its targets")
    }
}

/// Who runs what, and what a test may change about it.
pub(super) struct Caller {
    pub(super) task: String,
    pub(super) principal: Principal,
    pub(super) approved: Option<String>,
    pub(super) cancel: CancellationToken,
    pub(super) patience: Duration,
    pub(super) hook: Hook,
}

impl Caller {
    pub(super) fn operator(task: &str) -> Self {
        Self {
            task: task.into(),
            principal: Principal::external("operator", "mesh.local"),
            approved: None,
            cancel: CancellationToken::new(),
            patience: Duration::from_mins(2),
            hook: Arc::new(|_| None),
        }
    }

    pub(super) fn coordinator(task: &str) -> Self {
        Self {
            principal: Principal::agent("deployment-system", "rollback-coordinator", "mesh.local"),
            ..Self::operator(task)
        }
    }

    pub(super) fn approved(self, digest: &str) -> Self {
        Self {
            approved: Some(digest.into()),
            ..self
        }
    }

    pub(super) fn hook(
        self,
        hook: impl Fn(&str) -> Option<SkillError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            hook: Arc::new(hook),
            ..self
        }
    }

    pub(super) fn context(&self) -> Context {
        let work = Work {
            task_id: self.task.clone(),
            skill: "test".into(),
            caller: self.principal.clone(),
            on_behalf_of: None,
            deadline: Instant::now() + self.patience,
            tool_calls: Arc::default(),
            input_digest: String::new(),
        };
        let approval = self.approved.clone().map(|plan_digest| Approval {
            plan_digest,
            approver: "alice".into(),
        });
        Context::new(
            work,
            approval,
            self.cancel.clone(),
            Arc::new(Hooked(self.hook.clone())),
        )
    }
}

/// What the job of a test borrows.
pub(super) struct Desk {
    context: Context,
    database: Database,
    metrics: Metrics,
}

impl Desk {
    pub(super) fn new(database: &Database, caller: &Caller) -> Self {
        Self {
            context: caller.context(),
            database: database.clone(),
            metrics: Metrics::default(),
        }
    }

    pub(super) fn job(&self) -> Job<'_> {
        Job {
            context: &self.context,
            database: &self.database,
            metrics: &self.metrics,
        }
    }
}

/// Applies as a request says.
pub(super) async fn apply_as(
    database: &Database,
    caller: &Caller,
    request: ApplyRequest<'_>,
) -> Result<Applied, SkillError> {
    engine::apply(Desk::new(database, caller).job(), request).await
}

/// Starts a test of this very program as a process of its own; the test is `#[ignore]`d and reads these variables.
pub(super) fn process(test: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--ignored", "--nocapture"])
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    command
}

/// Applies a source.
pub(super) async fn apply(
    database: &Database,
    caller: &Caller,
    source: &[Migration],
    release: Option<&str>,
) -> Result<Applied, SkillError> {
    apply_counted(database, caller, source, release, &Metrics::default()).await
}

/// Applies a source and keeps its counters.
pub(super) async fn apply_counted(
    database: &Database,
    caller: &Caller,
    source: &[Migration],
    release: Option<&str>,
    metrics: &Metrics,
) -> Result<Applied, SkillError> {
    let context = caller.context();
    let job = Job {
        context: &context,
        database,
        metrics,
    };
    engine::apply(
        job,
        ApplyRequest {
            source,
            release,
            ..ApplyRequest::default()
        },
    )
    .await
}

pub(super) async fn plan(
    database: &Database,
    source: &[Migration],
) -> Result<crate::domain::Plan, SkillError> {
    let desk = Desk::new(database, &Caller::operator("plan"));
    engine::plan(desk.job(), source, Retention::default()).await
}

/// Applies a source, and keeps nothing of what it takes away.
pub(super) async fn apply_without_retention(
    database: &Database,
    caller: &Caller,
    source: &[Migration],
    release: Option<&str>,
) -> Result<Applied, SkillError> {
    let request = ApplyRequest {
        source,
        release,
        retention: Retention::NONE,
        ..ApplyRequest::default()
    };
    apply_as(database, caller, request).await
}

/// A plan that keeps nothing of what it takes away.
pub(super) async fn plan_without_retention(
    database: &Database,
    source: &[Migration],
) -> Result<crate::domain::Plan, SkillError> {
    let desk = Desk::new(database, &Caller::operator("plan"));
    let job = desk.job();
    engine::plan(job, source, Retention::NONE).await
}

pub(super) async fn assess(
    database: &Database,
    goal: &engine::Goal,
) -> Result<crate::domain::Assessment, SkillError> {
    let desk = Desk::new(database, &Caller::operator("assess"));
    engine::assess_rollback(desk.job(), goal).await
}

pub(super) async fn status(database: &Database, source: &[Migration]) -> engine::Status {
    let desk = Desk::new(database, &Caller::operator("status"));
    engine::status(desk.job(), source).await.unwrap()
}

pub(super) async fn rollback(
    database: &Database,
    caller: &Caller,
    goal: engine::Goal,
) -> Result<engine::RolledBack, SkillError> {
    let desk = Desk::new(database, caller);
    engine::rollback(
        desk.job(),
        engine::RollbackRequest {
            goal,
            hooks: &[],
            covered: None,
        },
    )
    .await
}

/// Migrations from (name, up, down) in order, versions from 1.
pub(super) fn migrations(dialect: Dialect, all: &[(&str, &str, &str)]) -> Vec<Migration> {
    let mut files = Vec::new();
    for (at, (name, up, down)) in all.iter().enumerate() {
        let stem = format!("{:04}_{name}", at + 1);
        files.push(SourceFile {
            name: format!("{stem}.up.sql"),
            content: (*up).into(),
        });
        if !down.is_empty() {
            files.push(SourceFile {
                name: format!("{stem}.down.sql"),
                content: (*down).into(),
            });
        }
    }
    source::read(&files, dialect).unwrap()
}

/// The migrations of a release of the example.
pub(super) fn shop(release: &str, dialect: Dialect) -> Vec<Migration> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/shop/releases");
    let files = crate::clients::Workspace::new(root)
        .read(&format!("{release}/migrations"))
        .unwrap();
    source::read(&files, dialect).unwrap()
}

pub(super) async fn session(database: &Database) -> Box<dyn Session> {
    database.target.connect("test").await.unwrap()
}

pub(super) async fn execute(database: &Database, sql: &str) {
    let mut session = session(database).await;
    session.execute(sql).await.unwrap();
    session.close().await.unwrap();
}

pub(super) async fn query(database: &Database, sql: &str) -> Vec<Row> {
    let mut session = session(database).await;
    let rows = session.query(sql, &[]).await.unwrap();
    session.close().await.unwrap();
    rows
}

pub(super) async fn count(database: &Database, sql: &str) -> i64 {
    query(database, sql).await[0].integer(0).unwrap()
}

pub(super) async fn fingerprint(database: &Database) -> String {
    let mut session = session(database).await;
    let fingerprint = session.catalog().await.unwrap().fingerprint();
    session.close().await.unwrap();
    fingerprint
}

/// Prefix of the ledger's tables.
pub(super) fn ledger(dialect: Dialect) -> &'static str {
    if dialect == Dialect::Sqlite {
        "db_migrator_"
    } else {
        "db_migrator."
    }
}

pub(super) fn digest_of(error: SkillError) -> String {
    match error {
        SkillError::ApprovalRequired { plan_digest, .. } => plan_digest,
        other => panic!("expected a wait for approval, got {other}"),
    }
}

pub(super) const BOTH: [Dialect; 2] = [Dialect::Sqlite, Dialect::Postgres];
