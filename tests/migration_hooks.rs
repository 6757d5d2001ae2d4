//! Hooks of db-migrator that call another agent, over mutual TLS and along an edge that only this test's manifests declare;
//! and the spans of all of it at a real OTLP receiver, in which nothing of the planted secrets may be.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::too_many_lines,
    clippy::large_futures,
    reason = "tests fail loudly"
)]

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{Router, routing::post};
use clap::Parser as _;
use meshctl::{
    agents::{Resources, flags},
    client::{Answer, Caller, Target},
    ground::{Ground, Ports},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use shared::{
    AgentBuilder, Args, Context, Daemon, Skill, SkillError,
    telemetry::{LogFormat, Traces},
};
use store::testing::TemporaryPostgres;
use tests::{otlp::Receiver, tools::root};
use tokio_util::sync::CancellationToken;

const PASSWORD: &str = "Sec1Password";
const LITERAL: &str = "Sec2Literal";
const ROW: &str = "Sec3Row";
const HEADER: &str = "Sec4Header";
const PATH: &str = "Sec5Path";
const RAISED: &str = "Sec6Raised";
const HOOK: &str = "Sec7HookSql";
const ANSWER: &str = "Sec8Answer";
const SECRETS: [&str; 8] = [PASSWORD, LITERAL, ROW, HEADER, PATH, RAISED, HOOK, ANSWER];

/// What the other agent was told, and whether it refuses.
#[derive(Debug, Clone, Default)]
struct Gate {
    heard: Arc<Mutex<Vec<Value>>>,
    refuses: Arc<AtomicBool>,
}

impl Gate {
    fn take(&self) -> Vec<Value> {
        std::mem::take(&mut self.heard.lock().unwrap())
    }

    fn events(&self) -> Vec<String> {
        let heard = self.take();
        let event = |body: &Value| {
            let version = body["migration"]["version"].as_str().unwrap_or("-");
            format!("{} {version}", body["event"].as_str().unwrap())
        };
        heard.iter().map(event).collect()
    }
}

#[derive(Debug, clap::Parser)]
struct GateKeeper {
    #[command(flatten)]
    shared: Args,
    #[arg(skip)]
    gate: Gate,
}

impl Daemon for GateKeeper {
    const NAME: &'static str = "gate-keeper";

    fn shared(&self) -> &Args {
        &self.shared
    }

    async fn build(self, agent: AgentBuilder) -> anyhow::Result<AgentBuilder> {
        Ok(agent.skill(RecordMigration(self.gate)))
    }
}

struct RecordMigration(Gate);

#[derive(Debug, Deserialize, JsonSchema)]
struct Told(Map<String, Value>);

#[derive(Debug, Serialize, JsonSchema)]
struct Noted {
    result: String,
}

impl Skill for RecordMigration {
    const ID: &'static str = "record_migration";
    const NAME: &'static str = "Record a migration";
    const DESCRIPTION: &'static str = "Remembers what it is told.";
    const TAGS: &'static [&'static str] = &["test"];
    type Input = Told;
    type Output = Noted;

    async fn run(&self, _: &Context, Told(told): Told) -> Result<Noted, SkillError> {
        if self.0.refuses.load(Ordering::SeqCst) {
            return Err(SkillError::failed(format!("not now, {ANSWER}")));
        }
        self.0.heard.lock().unwrap().push(Value::Object(told));
        let result = String::from("noted");
        Ok(Noted { result })
    }
}

const MANIFEST: &str = r#"
apiVersion: ossa/v0.3.6
kind: Agent
metadata:
  name: gate-keeper
  namespace: gate-system
  version: "0.1.0"
  description: Hears of migrations.
spec:
  type: operator
  role: Hears of migrations.
  messaging:
    commands:
      - {name: record_migration, description: Hears of one., inputSchema: {type: object}, outputSchema: {type: object}, timeoutSeconds: 30}
  autonomy:
    level: autonomous
    approval_required: false
    allowed_actions: [record_migration]
  access: {tier: tier_2_write_limited, permissions: [execute_queries], audit_level: detailed}
  safety:
    rate_limiting: {enabled: true, requests_per_minute: 60000, burst_limit: 6000}
    guardrails: {enabled: true, max_tool_calls: 10, max_execution_time_seconds: 600}
"#;

/// Our manifests with one more agent, and an edge to it.
fn manifests(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    for entry in fs::read_dir(root().join("manifests")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
    }
    let edit = |name: &str, from: &str, to: &str| {
        let path = folder.join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{name} has {from}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
    };
    let auditor = "{type: a2a, name: compliance-auditor, config: {skills: [append_audit_records]}}";
    let gate = "- {type: a2a, name: gate-keeper, config: {skills: [record_migration]}}";
    edit(
        "db-migrator.ossa.yaml",
        auditor,
        &format!("{auditor}\n    {gate}"),
    );
    let agents = "agents:\n";
    let more = format!("{agents}  gate-keeper: {{namespace: gate-system, port: 7190}}\n");
    edit("mesh.yaml", agents, &more);
    fs::write(folder.join("gate-keeper.ossa.yaml"), MANIFEST).unwrap();
}

/// db-migrator and the other agent in this process, each with its own listeners and certificates.
struct Lab {
    ground: Ground,
    gate: Gate,
    stop: CancellationToken,
    running: Vec<tokio::task::JoinHandle<anyhow::Result<()>>>,
    folder: tempfile::TempDir,
}

impl Lab {
    async fn start(databases: &[String], further: &[String]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        manifests(&folder.path().join("manifests"));
        let any = Ports {
            a2a: 0,
            health: 0,
            metrics: 0,
            webhooks: 0,
        };
        let names = [db_migrator::Cli::NAME, GateKeeper::NAME];
        let ports = names.map(|name| (name.to_owned(), any));
        let (state, source) = (folder.path().join("mesh"), folder.path().join("manifests"));
        let mut ground = Ground::prepare(&state, &source, BTreeMap::from(ports)).unwrap();
        let resources = Resources {
            workspace: folder.path().to_owned(),
            databases: databases.to_vec(),
            ..Resources::default()
        };
        let arguments = |ground: &Ground, name: &str| {
            let own = std::iter::once(name.to_owned());
            own.chain(flags(ground, name, &resources))
                .collect::<Vec<_>>()
        };
        let migrator = arguments(&ground, names[0])
            .into_iter()
            .chain(further.to_vec());
        let migrator = db_migrator::Cli::try_parse_from(migrator).unwrap();
        let migrator = shared::bind(migrator).await.unwrap();
        let keeper = GateKeeper::try_parse_from(arguments(&ground, names[1])).unwrap();
        let gate = keeper.gate.clone();
        let keeper = shared::bind(keeper).await.unwrap();
        for (name, bound) in [(names[0], &migrator), (names[1], &keeper)] {
            let addresses = bound.addresses();
            let ports = ground.ports.get_mut(name).unwrap();
            ports.a2a = addresses.a2a.port();
        }
        migrator.connect(names[1], &ground.url(names[1]));
        let stop = CancellationToken::new();
        let running = [migrator, keeper].map(|bound| tokio::spawn(bound.serve(stop.clone())));
        Self {
            ground,
            gate,
            stop,
            running: running.into(),
            folder,
        }
    }

    async fn call(&self, skill: &str, input: &Value, trace: Option<&str>) -> Answer {
        let mesh = &self.ground.fleet.mesh;
        let id = mesh.spiffe_id("db-migrator").unwrap();
        let target = Target {
            url: self.ground.url("db-migrator"),
            id: id.parse().unwrap(),
        };
        let caller = Caller::load(&self.ground.root, &mesh.trust_domain, "operator").unwrap();
        caller.call(&target, skill, input, trace).await.unwrap()
    }

    async fn apply(&self, key: &str, source: &Value, hooks: &Value, trace: Option<&str>) -> Answer {
        let input = json!({"database": "shop", "source": source, "hooks": hooks, "dry_run": false, "idempotency_key": key});
        self.call("apply_migration", &input, trace).await
    }

    async fn stop(mut self) {
        self.stop.cancel();
        for agent in std::mem::take(&mut self.running) {
            agent.await.unwrap().unwrap();
        }
    }
}

fn files(all: &[(&str, &str)]) -> Value {
    let all = all
        .iter()
        .map(|(name, content)| json!({"name": name, "content": content}));
    json!({"files": all.collect::<Vec<_>>()})
}

fn hook(on: &[&str], on_failure: &str, agent: &str, skill: &str) -> Value {
    json!([{"name": "gate", "on": on, "on_failure": on_failure, "call": {"agent": agent, "skill": skill}}])
}

/// An HTTP receiver of hooks that answers with a secret.
async fn outlet() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let app = Router::new().route("/{path}", post(async || ANSWER));
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

async fn calls_along_the_edge(lab: &Lab) {
    let one = ("0001_a.sql", "CREATE TABLE a (x INTEGER)");
    let two = ("0002_b.sql", "CREATE TABLE b (x INTEGER)");
    let three = ("0003_c.sql", "CREATE TABLE c (x INTEGER)");
    let hooks = |on_failure: &str| {
        hook(
            &["before_run", "after_step", "after_run"],
            on_failure,
            "gate-keeper",
            "record_migration",
        )
    };
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let applied = lab
        .apply("1", &files(&[one]), &hooks("abort"), Some(&parent))
        .await;
    assert_eq!(applied.result.as_ref().unwrap()["applied"], json!(["0001"]));
    let heard = lab.gate.take();
    let events = heard.iter().map(|body| body["event"].as_str().unwrap());
    assert_eq!(
        events.collect::<Vec<_>>(),
        ["before_run", "after_step", "after_run"]
    );
    for body in &heard {
        assert_eq!(body["schema"], "db-migrator/hook/v1");
        assert_eq!(
            (&body["hook"], &body["database"], &body["kind"]),
            (&json!("gate"), &json!("shop"), &json!("apply"))
        );
        assert_eq!(body["run"], heard[0]["run"]);
    }
    assert_eq!(
        heard[1]["migration"],
        json!({"version": "0001", "name": "a"})
    );
    let keys = heard
        .iter()
        .map(|body| body["idempotency_key"].as_str().unwrap());
    assert_eq!(keys.collect::<std::collections::BTreeSet<_>>().len(), 3);

    // Fail closed: nothing is changed. Fail open: the run goes on.
    lab.gate.refuses.store(true, Ordering::SeqCst);
    let both = files(&[one, two]);
    let refused = lab.apply("2", &both, &hooks("abort"), None).await;
    let said = refused.result.unwrap_err().to_string();
    assert!(
        said.contains("hook gate at before_run") && !said.contains(ANSWER),
        "{said}"
    );
    let status = json!({"database": "shop", "source": both});
    let pending = lab
        .call("migration_status", &status, None)
        .await
        .result
        .unwrap();
    assert_eq!(pending["pending"], json!(["0002"]));
    let applied = lab.apply("3", &both, &hooks("continue"), None).await;
    let applied = applied.result.unwrap();
    assert_eq!(applied["applied"], json!(["0002"]));
    assert!(!applied.to_string().contains(ANSWER));
    lab.gate.refuses.store(false, Ordering::SeqCst);
    assert_eq!(lab.gate.events(), Vec::<String>::new());

    let back = json!({"database": "shop", "to_version": "0001", "hooks": hooks("abort"), "dry_run": false, "idempotency_key": "4"});
    lab.call("rollback_migration", &back, None)
        .await
        .result
        .unwrap();
    assert_eq!(
        lab.gate.events(),
        ["before_run -", "after_step 0002", "after_run -"]
    );

    // What no edge declares is refused before anything runs.
    for (agent, skill) in [
        ("monitoring-agent", "check_health"),
        ("gate-keeper", "other_skill"),
    ] {
        let plan = json!({"database": "shop", "source": files(&[one, three]), "hooks": hook(&["before_run"], "abort", agent, skill)});
        let refused = lab
            .call("plan_migration", &plan, None)
            .await
            .result
            .unwrap_err();
        assert_eq!(refused["code"], -32602, "{refused}");
        assert!(refused.to_string().contains("hooks"), "{refused}");
    }
    assert_eq!(lab.gate.events(), Vec::<String>::new());
}

/// Everything that could tell a secret: proofs, runs, refusals of the database, hooks, rollbacks.
async fn says_secrets(lab: &Lab, outlet: &str, database: &str, is_postgres: bool) {
    let up = format!(
        "CREATE TABLE t (a TEXT DEFAULT '{LITERAL}', n INTEGER); INSERT INTO t (a) VALUES ('{ROW}')"
    );
    let good = ("0001_t.sql", up.as_str());
    let hooks = json!([
        {"name": "sql", "on": ["before_run"], "sql": format!("SELECT '{HOOK}'")},
        {"name": "post", "on": ["before_run", "after_run"], "on_failure": "continue", "http": {"url": format!("http://{outlet}/{PATH}"), "authorization": "key"}},
    ]);
    let apply = async |key: &str, source: Value| {
        let key = format!("{database} {key}");
        let input = json!({"database": database, "source": source, "hooks": hooks, "release": "1", "dry_run": false, "idempotency_key": key});
        lab.call("apply_migration", &input, None).await
    };
    apply("good", files(&[good])).await.result.unwrap();
    let raise = if is_postgres {
        format!("DO $$ BEGIN RAISE EXCEPTION '{RAISED} %', (SELECT a FROM t LIMIT 1); END $$")
    } else {
        format!(
            "CREATE TRIGGER r BEFORE UPDATE ON t BEGIN SELECT RAISE(ABORT, '{RAISED}'); END; UPDATE t SET n = 3"
        )
    };
    let syntax = format!("SELECT * FROM t WHERE a = 'x' '{LITERAL}' nonsense nonsense");
    let twice = "INSERT INTO t SELECT * FROM t; CREATE UNIQUE INDEX one ON t (a)";
    for (at, bad) in [raise.as_str(), syntax.as_str(), twice].iter().enumerate() {
        let source = files(&[good, ("0002_bad.sql", bad)]);
        let plan = json!({"database": database, "source": source});
        lab.call("plan_migration", &plan, None)
            .await
            .result
            .unwrap_err();
        let refused = apply(&format!("bad{at}"), source).await.result;
        refused.unwrap_err();
    }
    let asks = [
        (
            "migration_status",
            json!({"database": database, "source": files(&[good])}),
        ),
        ("verify_schema", json!({"database": database})),
        (
            "lint_migration",
            json!({"database": database, "source": files(&[good])}),
        ),
        (
            "assess_rollback",
            json!({"service": database, "to_version": "0"}),
        ),
    ];
    for (skill, input) in asks {
        lab.call(skill, &input, None).await.result.unwrap();
    }
    let back = json!({"database": database, "to_version": "0", "dry_run": false, "idempotency_key": format!("{database} back")});
    let back = lab.call("rollback_migration", &back, None).await;
    back.result.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn hooks_call_another_agent_and_no_span_tells_a_secret() {
    let receiver = Receiver::start().await;
    let traces = Traces::new("mesh", "test", Some(&receiver.endpoint), 1.0).unwrap();
    shared::telemetry::install(LogFormat::Text, &"warn".parse().unwrap(), &traces);
    let server = TemporaryPostgres::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    fs::write(&key, HEADER).unwrap();
    let sqlite = |name: &str| format!("{name}=sqlite:{}/{name}.db,dev", folder.path().display());
    let url = format!("{}?password={PASSWORD}", server.url("postgres"));
    let databases = [
        sqlite("shop"),
        sqlite("lite"),
        format!("post={url},dev,superuser=allow"),
    ];
    let outlet = outlet().await;
    let further = [
        String::from("--hook-allow"),
        outlet.clone(),
        String::from("--hook-secret"),
        format!("key={}", key.display()),
    ];
    let lab = Lab::start(&databases, &further).await;
    calls_along_the_edge(&lab).await;
    says_secrets(&lab, &outlet, "lite", false).await;
    says_secrets(&lab, &outlet, "post", true).await;
    assert!(lab.folder.path().exists());
    lab.stop().await;
    traces.shutdown();
    let spans = receiver
        .wait_for("the spans of all calls", |text| {
            ["record_migration", "assess_rollback", "rollback_migration"]
                .iter()
                .all(|name| text.contains(name))
        })
        .await;
    for secret in SECRETS {
        let line = spans.lines().find(|line| line.contains(secret));
        assert!(line.is_none(), "{secret} in a span: {line:?}");
    }
    // The call of the hook belongs to the trace of the run's caller, on both sides.
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let blocks = spans
        .split("Span #")
        .filter(|block| block.to_lowercase().contains(trace));
    let of_gate =
        blocks.filter(|block| block.contains("record_migration") || block.contains("gate-keeper"));
    let count = of_gate.count();
    assert!(
        count >= 2,
        "client and server spans of the hook's call, found {count}"
    );
}
