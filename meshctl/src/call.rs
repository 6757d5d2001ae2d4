//! `meshctl call AGENT SKILL`: one skill, mTLS done for you.

use std::{io::Read, process::ExitCode};

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::{
    client::{Caller, Target},
    processes::Running,
    reach::Reach,
};

/// Flags of `call`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The agent.
    agent: String,
    /// The skill, or an A2A method.
    skill: String,
    /// Input: a file, `-` for standard input, or JSON.
    #[arg(long, default_value = "{}")]
    input: String,
    #[command(flatten)]
    reach: Reach,
    /// Print the answer only, in one line.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let input = input(&args.input)?;
    let (caller, target) = args.reach.connect(&args.agent)?;
    let answer = caller.call(&target, &args.skill, &input, None).await?;
    if !args.json {
        eprintln!("{}", caller.curl(&target, &args.skill, &input));
        if let Some(task_id) = &answer.task_id {
            eprintln!("task {task_id}");
        }
    }
    let (value, code) = match &answer.result {
        Ok(value) => (value, ExitCode::SUCCESS),
        Err(error) => (error, ExitCode::FAILURE),
    };
    crate::say(format_args!(
        "{}",
        if args.json {
            value.to_string()
        } else {
            serde_json::to_string_pretty(value)?
        }
    ));
    Ok(code)
}

/// The caller's certificate and the agent's place in a running mesh.
pub(crate) fn connect(
    state: &std::path::Path,
    caller: &str,
    agent: &str,
) -> anyhow::Result<(Caller, Target)> {
    let running = Running::require(state)?;
    let process = running.agent(agent)?;
    let fleet = manifest::load_dir(&state.join("manifests"))?;
    let id = fleet
        .mesh
        .spiffe_id(agent)
        .with_context(|| format!("mesh.yaml has no agent {agent}"))?
        .parse()?;
    Ok((
        Caller::load(state, &fleet.mesh.trust_domain, caller)?,
        Target {
            url: process.url.clone(),
            id,
        },
    ))
}

fn input(text: &str) -> anyhow::Result<Value> {
    let json = match text {
        "-" => {
            let mut all = String::new();
            std::io::stdin().read_to_string(&mut all)?;
            all
        }
        inline if serde_json::from_str::<Value>(inline).is_ok() => inline.to_owned(),
        inline if inline.trim_start().starts_with(['{', '[', '"']) => inline.to_owned(),
        file => std::fs::read_to_string(file)
            .with_context(|| format!("--input: cannot read {file}, and it is not JSON"))?,
    };
    let value = serde_json::from_str(&json).context("--input: not JSON")?;
    match value {
        Value::Object(_) => Ok(value),
        other => bail!("--input: expected a JSON object, got {}", kind(&other)),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::input;

    #[test]
    fn input_is_a_json_object_given_inline_or_as_a_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), r#"{"paths": ["."]}"#).unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(input(path).unwrap(), input(r#" {"paths": ["."]}"#).unwrap());
    }

    #[test]
    fn other_input_is_refused_with_what_was_expected() {
        let check = |text: &str, part: &str| {
            let error = format!("{:#}", input(text).unwrap_err());
            assert!(error.contains(part), "{text}: {error}");
        };
        check("[1]", "expected a JSON object, got an array");
        check("7", "expected a JSON object, got a number");
        check("null", "expected a JSON object, got null");
        check("{\"a\": }", "not JSON: expected value at line 1 column 7");
        check("no-such-file.json", "cannot read no-such-file.json");
    }
}
