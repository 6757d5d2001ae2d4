//! `meshctl approve`: shows what waits, and signs a decision.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, bail};
use identity::SigningKey;
use serde_json::{Value, json};
use shared::approvals::{Decision, Statement};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    call::connect,
    client::{Caller, Target},
    ground::APPROVER,
    program, state_flag,
};

/// How long a decision may be used.
const VALIDITY: Duration = Duration::from_mins(15);

/// Flags of `approve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The agent whose task waits.
    #[arg(default_value = "db-migrator")]
    agent: String,
    /// The task; without one the waiting tasks are listed.
    #[arg(long)]
    task: Option<String>,
    /// Reject instead of approving.
    #[arg(long, requires = "task")]
    reject: bool,
    /// External caller of mesh.yaml to call as.
    #[arg(long, default_value = "operator")]
    caller: String,
    /// Approver key (PKCS#8 PEM) [default: the local approver of the state folder].
    #[arg(long)]
    key: Option<PathBuf>,
    /// State folder of the mesh.
    #[arg(long, default_value = ".mesh")]
    state: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (caller, target) = connect(&args.state, &args.caller, &args.agent)?;
    let waiting = waiting(&caller, &target).await?;
    let Some(task) = &args.task else {
        show(&args, &waiting);
        return Ok(ExitCode::SUCCESS);
    };
    let entry = waiting
        .iter()
        .find(|entry| text(entry, "task_id") == task.as_str());
    let Some(entry) = entry else {
        bail!("task {task} does not wait for an approval")
    };
    let key = args
        .key
        .clone()
        .unwrap_or_else(|| args.state.join("approvers").join(format!("{APPROVER}.pem")));
    let decision = if args.reject {
        Decision::Reject
    } else {
        Decision::Approve
    };
    let answer = decide(
        &caller,
        &target,
        &key,
        (task, text(entry, "plan_digest"), decision),
    )
    .await?;
    if args.json {
        crate::say(format_args!("{answer}"));
    } else {
        crate::say(format_args!(
            "{}: {}",
            text(&answer, "id"),
            answer
                .pointer("/status/state")
                .and_then(Value::as_str)
                .unwrap_or_default()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// Tasks of an agent that wait for an approval.
///
/// # Errors
/// When the agent refuses.
pub(crate) async fn waiting(caller: &Caller, target: &Target) -> anyhow::Result<Vec<Value>> {
    let answer = caller
        .call(target, "list_approvals", &json!({}), None)
        .await?
        .ok()?;
    Ok(answer
        .get("approvals")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default())
}

/// Signs and sends a decision on (task, plan digest); answers the task.
///
/// # Errors
/// When the key cannot be read or the agent refuses.
pub(crate) async fn decide(
    caller: &Caller,
    target: &Target,
    key: &Path,
    what: (&str, &str, Decision),
) -> anyhow::Result<Value> {
    let key = SigningKey::load(key)
        .with_context(|| format!("cannot use the approver key {}", key.display()))?;
    let expires_at = (OffsetDateTime::now_utc() + VALIDITY).format(&Rfc3339)?;
    let statement = Statement {
        task_id: what.0.into(),
        plan_digest: what.1.into(),
        decision: what.2,
        expires_at,
    };
    let signature = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        key.sign(&statement.bytes()),
    );
    let mut params = json!(statement);
    if let Some(params) = params.as_object_mut() {
        params.insert("signature".into(), signature.into());
    }
    caller
        .call(target, "decide_approval", &params, None)
        .await?
        .ok()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn show(args: &Args, waiting: &[Value]) {
    if args.json {
        crate::say(format_args!("{}", json!({"approvals": waiting})));
        return;
    }
    if waiting.is_empty() {
        crate::say(format_args!(
            "nothing waits for an approval at {}",
            args.agent
        ));
    }
    for entry in waiting {
        let task = text(entry, "task_id");
        crate::say(format_args!("task    {task}"));
        crate::say(format_args!(
            "skill   {}, asked for by {} at {}",
            text(entry, "skill"),
            text(entry, "caller"),
            text(entry, "since")
        ));
        crate::say(format_args!("would   {}", text(entry, "summary")));
        crate::say(format_args!(
            "sign    {} approve{} {} --task {task}\n",
            program(),
            state_flag(&args.state),
            args.agent
        ));
    }
}
