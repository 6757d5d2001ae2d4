//! `meshctl status`: what runs, and whether it is ready.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{
    processes::{Process, Running},
    table::table,
};

/// Flags of `status`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// State folder of the mesh.
    #[arg(long, default_value = ".mesh")]
    state: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Exit code 0 when everything is ready, 1 otherwise.
pub(crate) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let running = Running::require(&args.state)?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(2))
        .build()?;
    let mut rows = Vec::new();
    for process in &running.processes {
        rows.push((process, state(&client, process).await));
    }
    let ready = rows.iter().all(|(_, state)| state == "ready");
    if args.json {
        let rows = rows
            .iter()
            .map(|(process, state)| described(process, state));
        let processes: Vec<_> = rows.collect();
        crate::say(format_args!(
            "{}",
            json!({"ready": ready, "processes": processes, "kubeconfig": running.kubeconfig})
        ));
    } else {
        crate::say(format_args!(
            "{}",
            overview(
                &args.state,
                rows.iter()
                    .map(|(process, state)| (*process, state.as_str()))
            )
        ));
    }
    Ok(if ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn described(process: &Process, state: &str) -> Value {
    let url = |port: u16, path: &str| format!("http://127.0.0.1:{port}/{path}");
    json!({
        "name": process.name,
        "pid": process.pid,
        "state": state,
        "url": process.url,
        "health": process.ports.map(|ports| url(ports.health, "readyz")),
        "metrics": process.ports.map(|ports| url(ports.metrics, "metrics")),
        "log": process.log,
    })
}

async fn state(client: &reqwest::Client, process: &Process) -> String {
    if !process.is_alive() {
        return "ended".into();
    }
    let Some(ports) = process.ports else {
        return "ready".into();
    };
    match client
        .get(format!("http://127.0.0.1:{}/readyz", ports.health))
        .send()
        .await
    {
        Ok(answer) if answer.status().is_success() => "ready".into(),
        Ok(answer) => answer
            .text()
            .await
            .map_or_else(|_| "unready".into(), |why| why.trim().to_owned()),
        Err(_) => "silent".into(),
    }
}

/// The table of processes. Logs in the state folder are shown as the user wrote that folder.
pub(crate) fn overview<'a>(
    state: &Path,
    rows: impl Iterator<Item = (&'a Process, &'a str)>,
) -> comfy_table::Table {
    let root = std::path::absolute(state).unwrap_or_default();
    table(
        ["agent", "state", "A2A", "log"],
        rows.map(|(process, standing)| {
            let log = process.log.strip_prefix(&root).map(|rest| state.join(rest));
            [
                process.name.clone(),
                standing.to_owned(),
                process.url.clone(),
                log.as_deref().unwrap_or(&process.log).display().to_string(),
            ]
        }),
    )
}
