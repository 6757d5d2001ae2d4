//! A small agent and the ground it stands on: its own manifests, authority, certificates and state.
#![allow(dead_code, reason = "each test uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that has no ground to stand on fails"
)]

pub(crate) mod agent;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use identity::{
    Authority, Directory, DirectoryEntry, ListedKey, SigningKey, SpiffeId, TlsFiles, TlsIdentity,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{AgentBuilder, Args, Bound, Context, Daemon, Effect, Skill, SkillError, ToolCall};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::sync::Semaphore;

/// The agent's identity.
pub(crate) const OWN: &str = "spiffe://mesh.local/ns/test-system/sa/probe-agent";

/// What a test and the skills of one process of the agent share.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    /// One permit for each run that started.
    pub(crate) started: Arc<Semaphore>,
    /// Runs that wait take a permit to go on.
    pub(crate) gate: Arc<Semaphore>,
    /// The world that `change` changes: a line `run <task>` a run, a line `effect <task>` an effect.
    pub(crate) journal: PathBuf,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            started: Arc::new(Semaphore::new(0)),
            gate: Arc::new(Semaphore::new(0)),
            journal: PathBuf::new(),
        }
    }
}

impl Probe {
    pub(crate) async fn has_started(&self) {
        let started = tokio::time::timeout(Duration::from_mins(1), self.started.acquire());
        started.await.expect("the run starts").unwrap().forget();
    }

    pub(crate) fn lines(&self, word: &str) -> usize {
        let text = fs::read_to_string(&self.journal).unwrap_or_default();
        text.lines().filter(|line| line.starts_with(word)).count()
    }

    fn write(&self, line: &str) -> Result<(), SkillError> {
        let file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.journal);
        file.and_then(|mut file| writeln!(file, "{line}"))
            .map_err(|e| SkillError::unavailable("journal", e))
    }
}

#[derive(Debug, clap::Parser)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) shared: Args,
    #[arg(skip)]
    pub(crate) probe: Probe,
}

impl Daemon for Cli {
    const NAME: &'static str = "probe-agent";

    fn shared(&self) -> &Args {
        &self.shared
    }

    async fn build(self, agent: AgentBuilder) -> anyhow::Result<AgentBuilder> {
        Ok(agent
            .skill(Echo)
            .skill(Panics)
            .skill(Tools)
            .skill(Slow(self.probe.clone()))
            .skill(Steps(self.probe.clone()))
            .skill(Change(self.probe)))
    }
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Text {
    /// Any text.
    pub(crate) text: String,
}

/// Answers with its input.
struct Echo;

impl Skill for Echo {
    const ID: &'static str = "echo";
    const NAME: &'static str = "Echo";
    const DESCRIPTION: &'static str = "Answers with its input.";
    const TAGS: &'static [&'static str] = &["test"];
    type Input = Text;
    type Output = Text;

    async fn run(&self, _: &Context, input: Text) -> Result<Text, SkillError> {
        Ok(input)
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Panics.
struct Panics;

impl Skill for Panics {
    const ID: &'static str = "panics";
    const NAME: &'static str = "Panics";
    const DESCRIPTION: &'static str = "Panics.";
    const TAGS: &'static [&'static str] = &["test"];
    type Input = Nothing;
    type Output = Text;

    async fn run(&self, _: &Context, _: Nothing) -> Result<Text, SkillError> {
        tokio::task::yield_now().await;
        panic!("a mistake in a skill")
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Count {
    /// Tool calls to make.
    count: u32,
}

/// Makes tool calls that read.
struct Tools;

impl Skill for Tools {
    const ID: &'static str = "tools";
    const NAME: &'static str = "Tools";
    const DESCRIPTION: &'static str = "Makes tool calls that read.";
    const TAGS: &'static [&'static str] = &["test"];
    type Input = Count;
    type Output = Text;

    async fn run(&self, context: &Context, input: Count) -> Result<Text, SkillError> {
        for number in 0..input.count {
            let call = ToolCall::read("test.read", [format!("thing/{number}")]);
            context.tool(call, async { Ok(()) }).await?;
        }
        Ok(Text {
            text: input.count.to_string(),
        })
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Patience {
    /// Whether to go on waiting when cancelled.
    #[serde(default)]
    stubborn: bool,
}

/// Waits at the gate.
struct Slow(Probe);

impl Skill for Slow {
    const ID: &'static str = "slow";
    const NAME: &'static str = "Slow";
    const DESCRIPTION: &'static str = "Waits at the gate.";
    const TAGS: &'static [&'static str] = &["test"];
    type Input = Patience;
    type Output = Text;

    async fn run(&self, context: &Context, input: Patience) -> Result<Text, SkillError> {
        self.0.started.add_permits(1);
        let open = async {
            self.0.gate.acquire().await.unwrap().forget();
        };
        if input.stubborn {
            open.await;
        } else {
            tokio::select! {
                () = open => {}
                () = context.canceled() => return Err(SkillError::Canceled),
            }
        }
        Ok(Text {
            text: "through".into(),
        })
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct StepCount {
    /// Steps to take.
    steps: u64,
}

/// Waits at the gate before each step, and says that it took it.
struct Steps(Probe);

impl Skill for Steps {
    const ID: &'static str = "steps";
    const NAME: &'static str = "Steps";
    const DESCRIPTION: &'static str = "Takes steps.";
    const TAGS: &'static [&'static str] = &["test"];
    type Input = StepCount;
    type Output = Text;

    async fn run(&self, context: &Context, input: StepCount) -> Result<Text, SkillError> {
        self.0.started.add_permits(1);
        for done in 1..=input.steps {
            self.0.gate.acquire().await.unwrap().forget();
            context.progress("walking", done, input.steps);
        }
        Ok(Text {
            text: "there".into(),
        })
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ChangeInput {
    /// Whether to wait at the gate before the effect.
    #[serde(default)]
    wait: bool,
    /// Only say what would be done.
    #[serde(default = "yes")]
    dry_run: bool,
    /// Names the change.
    #[serde(default)]
    #[expect(dead_code, reason = "the runtime reads it")]
    idempotency_key: Option<String>,
}

fn yes() -> bool {
    true
}

/// Writes one line into the journal, once a task.
struct Change(Probe);

impl Skill for Change {
    const ID: &'static str = "change";
    const NAME: &'static str = "Change";
    const DESCRIPTION: &'static str = "Writes one line into the journal.";
    const TAGS: &'static [&'static str] = &["test"];
    const EFFECT: Effect = Effect::Mutate;
    type Input = ChangeInput;
    type Output = Text;

    async fn run(&self, context: &Context, input: ChangeInput) -> Result<Text, SkillError> {
        let id = context.task_id();
        if input.dry_run {
            return Ok(Text {
                text: "would write".into(),
            });
        }
        self.0.write(&format!("run {id}"))?;
        self.0.started.add_permits(1);
        if input.wait {
            self.0.gate.acquire().await.unwrap().forget();
        }
        let call = ToolCall::write("journal.append", [format!("journal/{id}")]);
        let effect = async { self.0.write(&format!("effect {id}")) };
        context.tool(call, effect).await?;
        Ok(Text {
            text: "written".into(),
        })
    }
}

const MESH: &str = r#"
trust_domain: mesh.local
agents:
  probe-agent: {namespace: test-system, port: 7101}
callers:
  operator: {identities: [{spiffe: "spiffe://mesh.local/external/operator"}, {linkerd: "operator.shop.serviceaccount.identity.linkerd.cluster.local"}], skills: all}
  guest: {identities: [{spiffe: "spiffe://mesh.local/external/guest"}], skills: {probe-agent: [echo]}}
"#;

const MANIFEST: &str = r#"
apiVersion: ossa/v0.3.6
kind: Agent
metadata:
  name: probe-agent
  namespace: test-system
  version: "0.1.0"
  description: Shows what the runtime does.
spec:
  type: operator
  role: Shows what the runtime does.
  messaging:
    commands:
      - {name: echo, description: Answers with its input., inputSchema: {type: object}, outputSchema: {type: object}, timeoutSeconds: 30}
      - {name: panics, description: Panics., inputSchema: {type: object}, outputSchema: {type: object}, timeoutSeconds: 30}
      - {name: tools, description: Makes tool calls., inputSchema: {type: object}, outputSchema: {type: object}, timeoutSeconds: 30}
      - {name: slow, description: Waits., inputSchema: {type: object}, outputSchema: {type: object}, timeoutSeconds: 120}
      - {name: steps, description: Walks., inputSchema: {type: object}, outputSchema: {type: object}, timeoutSeconds: 120}
      - {name: change, description: Writes., inputSchema: {type: object}, outputSchema: {type: object}, timeoutSeconds: 120}
  autonomy:
    level: autonomous
    approval_required: false
    allowed_actions: [echo, panics, tools, slow, steps, change]
  access: {tier: tier_2_write_limited, permissions: [execute_queries], audit_level: detailed}
  safety:
    rate_limiting: {enabled: true, requests_per_minute: RATE, burst_limit: BURST}
    guardrails: {enabled: true, max_tool_calls: 3, max_execution_time_seconds: 600}
"#;

/// A folder with everything that the agent and its callers need.
pub(crate) struct Ground {
    folder: TempDir,
    authority: Authority,
}

impl Ground {
    /// A ground whose manifest allows this many requests a minute and at once.
    pub(crate) fn with_rate(rate: u32, burst: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["manifests", "tls"] {
            fs::create_dir(path(name)).unwrap();
        }
        fs::write(path("manifests/mesh.yaml"), MESH).unwrap();
        let text = MANIFEST
            .replace("RATE", &rate.to_string())
            .replace("BURST", &burst.to_string());
        fs::write(path("manifests/probe-agent.ossa.yaml"), text).unwrap();
        let authority = Authority::generate("mesh.local").unwrap();
        let own: SpiffeId = OWN.parse().unwrap();
        let hour = Duration::from_hours(1);
        authority.issue_to(&path("tls"), &own, hour).unwrap();
        let key = SigningKey::load_or_generate(&path("signing-key.pem")).unwrap();
        let now = OffsetDateTime::now_utc();
        let day = time::Duration::days(1);
        let listed = ListedKey::new(key.public(), now - day, now + day);
        let entry = DirectoryEntry::new("probe-agent", own, listed);
        let directory = Directory::new(vec![entry]).unwrap();
        directory.save(&path("directory.json")).unwrap();
        Self { folder, authority }
    }

    pub(crate) fn new() -> Self {
        Self::with_rate(60_000, 6_000)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn probe(&self) -> Probe {
        Probe {
            journal: self.path("journal"),
            ..Probe::default()
        }
    }

    /// The agent's command line, with further flags.
    pub(crate) fn cli(&self, probe: &Probe, further: &[&str]) -> Cli {
        let text = |path: &Path| path.display().to_string();
        let mut arguments: Vec<String> = ["probe-agent", "--listen", "127.0.0.1:0"]
            .into_iter()
            .chain(["--health-listen", "127.0.0.1:0"])
            .chain(["--metrics-listen", "127.0.0.1:0"])
            .map(str::to_owned)
            .collect();
        for (flag, name) in [
            ("--manifests", "manifests"),
            ("--tls-dir", "tls"),
            ("--signing-key", "signing-key.pem"),
            ("--directory", "directory.json"),
        ] {
            arguments.extend([flag.to_owned(), text(&self.path(name))]);
        }
        if !further.contains(&"--store") {
            let store = format!("sqlite:{}", text(&self.path("store.db")));
            arguments.extend(["--store".to_owned(), store]);
        }
        arguments.extend(further.iter().map(|flag| (*flag).to_owned()));
        let cli = <Cli as clap::Parser>::try_parse_from(arguments).unwrap();
        Cli {
            probe: probe.clone(),
            ..cli
        }
    }

    pub(crate) async fn bind(&self, probe: &Probe, further: &[&str]) -> Bound {
        shared::bind(self.cli(probe, further)).await.unwrap()
    }

    /// A client with the certificate of an external caller.
    pub(crate) fn client(&self, caller: &str) -> reqwest::Client {
        let id = SpiffeId::external("mesh.local", caller).unwrap();
        let folder = self.path(caller);
        fs::create_dir_all(&folder).unwrap();
        let hour = Duration::from_hours(1);
        let files: TlsFiles = self.authority.issue_to(&folder, &id, hour).unwrap();
        let tls = TlsIdentity::from_files(files, &id).unwrap();
        let config = rustls::ClientConfig::clone(&tls.client_config(OWN.parse().unwrap()));
        reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .no_proxy()
            .build()
            .unwrap()
    }
}
