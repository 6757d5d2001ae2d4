//! `meshctl schema-ready`: waits until the schema of a release is in force. The init container of an application, so that
//! no pod starts before its migration and none has to run it.

use std::{process::ExitCode, time::Duration};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::{client::Answer, reach::Reach};

/// JSON-RPC's code for parameters that no waiting makes right.
const INVALID_PARAMS: i64 = -32602;
/// What the agent answers to a caller that may not ask.
const PERMISSION_DENIED: i64 = -32050;

/// Flags of `schema-ready`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The database, as db-migrator knows it.
    #[arg(long)]
    database: String,
    /// The release whose schema has to be in force.
    #[arg(long)]
    release: String,
    /// How long to wait.
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Pause between two looks; each takes no lock.
    #[arg(long, default_value = "2s", value_parser = humantime::parse_duration)]
    interval: Duration,
    #[command(flatten)]
    reach: Reach,
}

/// What one look says.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Ready(String),
    Wait(String),
    Never(String),
}

pub(crate) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let until = Instant::now() + args.timeout;
    let (database, release) = (&args.database, &args.release);
    let mut said = String::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let look = timeout(left, look(&args)).await;
        match look.unwrap_or_else(|_| Look::Wait("db-migrator did not answer in time".into())) {
            Look::Ready(why) => {
                crate::say(format_args!(
                    "the schema of release {release} is in force on {database}: {why}"
                ));
                return Ok(ExitCode::SUCCESS);
            }
            Look::Never(why) => {
                anyhow::bail!("cannot wait for release {release} on {database}: {why}")
            }
            Look::Wait(why) if why != said => {
                eprintln!("waiting for release {release} on {database}: {why}");
                said = why;
            }
            Look::Wait(_) => {}
        }
        if Instant::now() + args.interval >= until {
            anyhow::bail!(
                "the schema of release {release} is not in force on {database} after {}: {said}",
                humantime::format_duration(args.timeout)
            );
        }
        sleep(args.interval).await;
    }
}

async fn look(args: &Args) -> Look {
    let (caller, target) = match args.reach.connect("db-migrator") {
        Ok(connected) => connected,
        Err(error) => return Look::Wait(format!("{error:#}")),
    };
    let input = json!({"database": args.database, "release": args.release});
    match caller.call(&target, "migration_status", &input, None).await {
        Ok(answer) => judge(&answer),
        Err(error) => Look::Wait(format!("{error:#}")),
    }
}

fn judge(answer: &Answer) -> Look {
    let text = |value: &Value, key: &str| {
        let found = value.get(key).and_then(Value::as_str);
        found.unwrap_or("none").to_owned()
    };
    match &answer.result {
        Ok(status) => {
            let head = format!("head {}", text(status, "head"));
            match text(status, "release_state").as_str() {
                "in_force" => Look::Ready(head),
                "applying" => Look::Wait(format!("its migration runs, {head}")),
                "rolled_back" => Look::Wait(format!("it was rolled back, {head}")),
                _ => Look::Wait(format!("it is not applied yet, {head}")),
            }
        }
        Err(error) => {
            let message = text(error, "message");
            let code = error.get("code").and_then(Value::as_i64);
            if code.is_some_and(|code| [INVALID_PARAMS, PERMISSION_DENIED].contains(&code)) {
                Look::Never(message)
            } else {
                Look::Wait(message)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(result: Result<Value, Value>) -> Look {
        judge(&Answer {
            result,
            task_id: None,
        })
    }

    #[test]
    fn waits_for_everything_that_may_still_come() {
        let state = |state: &str| answer(Ok(json!({"release_state": state, "head": "0004"})));
        assert_eq!(state("in_force"), Look::Ready("head 0004".into()));
        for waiting in ["applying", "rolled_back", "not_applied"] {
            assert!(
                matches!(state(waiting), Look::Wait(why) if why.ends_with("head 0004")),
                "{waiting}"
            );
        }
        let error = |code: i64| answer(Err(json!({"code": code, "message": "m"})));
        assert_eq!(error(-32054), Look::Wait("m".into()));
        assert_eq!(error(INVALID_PARAMS), Look::Never("m".into()));
        assert_eq!(error(PERMISSION_DENIED), Look::Never("m".into()));
    }
}
