//! An agent that is killed by a test: its tasks are in a SQLite file, its effects in a journal. Never for production.

use std::{
    fs::OpenOptions,
    io::{ErrorKind, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use a2a::types::{Artifact, Part};
use anyhow::Context as _;
use clap::Parser;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use shared::{Context, Effect, Skill, SkillError, testing::OpenAgent};
use store::sqlite::SqliteStore;
use tokio::{net::TcpListener, time::sleep};
use tokio_util::sync::CancellationToken;

#[derive(Debug, Parser)]
#[command(about = "An agent that survives kill -9")]
struct Cli {
    /// Where it listens.
    #[arg(long)]
    listen: SocketAddr,
    /// The SQLite file of its tasks.
    #[arg(long)]
    store: PathBuf,
    /// The file that `note` writes to.
    #[arg(long)]
    journal: PathBuf,
}

/// Lines of text, one an effect: `begin TASK KEY` before it and `done TASK KEY` for the effect itself.
struct Journal(PathBuf);

impl Journal {
    /// Appends one line in one write, which a kill cannot cut in two.
    fn append(&self, word: &str, task: &str, key: &str) -> std::io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.0)?;
        file.write_all(format!("{word} {task} {key}\n").as_bytes())
    }

    /// Whether the task's effect is there already.
    fn is_done(&self, task: &str) -> std::io::Result<bool> {
        match std::fs::read_to_string(&self.0) {
            Ok(lines) => Ok(lines
                .lines()
                .any(|line| line.starts_with(&format!("done {task} ")))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

fn broken(error: std::io::Error) -> SkillError {
    SkillError::unavailable("journal", error)
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct NoteInput {
    /// Whether to write nothing.
    #[serde(default = "yes")]
    dry_run: bool,
    /// Names the effect.
    #[serde(default)]
    idempotency_key: String,
}

fn yes() -> bool {
    true
}

#[derive(Serialize, JsonSchema)]
struct Noted {
    key: String,
}

/// Writes one line. A task that runs again after a crash finds its line by its id.
struct Note(Journal);

impl Skill for Note {
    const ID: &'static str = "note";
    const NAME: &'static str = "Note";
    const DESCRIPTION: &'static str = "Writes one line.";
    const TAGS: &'static [&'static str] = &["test"];
    const EFFECT: Effect = Effect::Mutate;
    type Input = NoteInput;
    type Output = Noted;

    async fn run(&self, context: &Context, input: NoteInput) -> Result<Noted, SkillError> {
        let (task, key) = (context.task_id(), input.idempotency_key);
        if !input.dry_run {
            self.0.append("begin", task, &key).map_err(broken)?;
            sleep(Duration::from_millis(15)).await;
            if !self.0.is_done(task).map_err(broken)? {
                self.0.append("done", task, &key).map_err(broken)?;
            }
            sleep(Duration::from_millis(15)).await;
        }
        Ok(Noted { key })
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WalkInput {
    /// How far.
    steps: u64,
}

#[derive(Serialize, JsonSchema)]
struct Walked {
    steps: u64,
}

/// Takes a while, and shows how far it is.
struct Walk;

impl Skill for Walk {
    const ID: &'static str = "walk";
    const NAME: &'static str = "Walk";
    const DESCRIPTION: &'static str = "Takes steps.";
    const TAGS: &'static [&'static str] = &["test"];
    type Input = WalkInput;
    type Output = Walked;

    async fn run(&self, context: &Context, input: WalkInput) -> Result<Walked, SkillError> {
        for step in 1..=input.steps {
            sleep(Duration::from_millis(12)).await;
            context.check_canceled()?;
            context.progress("walking", step, input.steps);
            context.artifact(footprint(step), step > 1, step == input.steps)?;
        }
        let steps = input.steps;
        Ok(Walked { steps })
    }
}

fn footprint(step: u64) -> Artifact {
    Artifact {
        artifact_id: "path".into(),
        name: None,
        description: None,
        parts: vec![Part::text(format!("step {step}"))],
        metadata: None,
        extensions: Vec::new(),
    }
}

fn agent(store: &Path, journal: &Path) -> anyhow::Result<OpenAgent> {
    let store = SqliteStore::open(store)?;
    Ok(OpenAgent::new("crash-agent")
        .skill(Note(Journal(journal.to_owned())))
        .skill(Walk)
        .store(Arc::new(store)))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let listener = TcpListener::bind(cli.listen)
        .await
        .with_context(|| format!("cannot listen on {}", cli.listen))?;
    agent(&cli.store, &cli.journal)?
        .serve(listener, CancellationToken::new())
        .await
}
