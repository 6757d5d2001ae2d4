//! `meshctl down`: stops what `up --detach` left running.

use std::{path::PathBuf, process::ExitCode};

use crate::processes::{Running, stop};

/// Flags of `down`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// State folder of the mesh.
    #[arg(long, default_value = ".mesh")]
    state: PathBuf,
}

pub(crate) async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let running = Running::require(&args.state)?;
    stop(&running.processes).await;
    Running::forget(&args.state);
    crate::say(format_args!(
        "stopped {} processes",
        running.processes.len()
    ));
    Ok(ExitCode::SUCCESS)
}
