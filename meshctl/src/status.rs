//! `meshctl status`: what runs, and whether it is ready.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use serde_json::json;

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
        let agents: Vec<_> = rows.iter().map(|(p, state)| json!({"name": p.name, "pid": p.pid, "url": p.url, "state": state, "log": p.log})).collect();
        println!(
            "{}",
            json!({"ready": ready, "processes": agents, "kubeconfig": running.kubeconfig})
        );
    } else {
        println!(
            "{}",
            overview(
                rows.iter()
                    .map(|(process, state)| (*process, state.as_str()))
            )
        );
    }
    Ok(if ready {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
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

/// The table of processes.
pub(crate) fn overview<'a>(
    rows: impl Iterator<Item = (&'a Process, &'a str)>,
) -> comfy_table::Table {
    let url = |port: Option<u16>| {
        port.map_or_else(String::new, |port| {
            format!("http://127.0.0.1:{port}/metrics")
        })
    };
    table(
        ["agent", "state", "A2A", "metrics", "log"],
        rows.map(|(process, state)| {
            [
                process.name.clone(),
                state.to_owned(),
                process.url.clone(),
                url(process.ports.map(|ports| ports.metrics)),
                process.log.display().to_string(),
            ]
        }),
    )
}
