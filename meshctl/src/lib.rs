#![doc = include_str!("../README.md")]
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line talks on stdout and stderr"
)]

pub mod agents;
mod approve;
mod call;
pub mod client;
mod demo;
mod down;
pub mod ground;
mod init;
mod interrupt;
mod manifest;
pub mod processes;
mod reach;
mod render;
mod schema_ready;
mod status;
mod table;
pub mod up;

use std::process::ExitCode;

use clap::Parser;

/// Runs, calls and checks the agent mesh.
#[derive(Debug, Parser)]
#[command(name = "meshctl", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Start the eight agents as processes, with certificates and embedded stores.
    Up(up::Args),
    /// Stop a mesh that was started with `up --detach`.
    Down(down::Args),
    /// Show what runs.
    Status(status::Args),
    /// Call a skill of an agent.
    Call(call::Args),
    /// Wait until the schema of a release is in force: the init container of an application.
    SchemaReady(schema_ready::Args),
    /// List and decide what waits for an approval.
    Approve(approve::Args),
    /// Play a release of examples/shop through all eight agents.
    Demo(demo::Args),
    /// Validate, score and show OSSA manifests.
    Manifest(manifest::Args),
    /// Render deploy/ from the manifests, or check that it is up to date.
    Render(render::Args),
    /// Make authority, certificates, keys and directory for agents that Compose or a cluster runs.
    Init(init::Args),
}

/// Parses the command line and runs it.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = tokio::runtime::Runtime::new()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(cli.command)));
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(args) => up::run(args).await,
        Command::Down(args) => down::run(&args).await,
        Command::Status(args) => status::run(&args).await,
        Command::Call(args) => call::run(args).await,
        Command::SchemaReady(args) => schema_ready::run(args).await,
        Command::Approve(args) => approve::run(args).await,
        Command::Demo(args) => demo::run(args).await,
        Command::Manifest(args) => manifest::run(args),
        Command::Render(args) => render::run(&args),
        Command::Init(args) => init::run(&args),
    }
}

/// A line on stdout. A reader that has seen enough, such as `head`, is no reason to fail.
fn say(line: impl std::fmt::Display) {
    use std::io::Write as _;

    let _closed_is_fine = writeln!(std::io::stdout(), "{line}");
}

/// This program as the user called it, for commands to copy.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "meshctl".into())
}

/// ` --state DIR` where it is not the default.
fn state_flag(state: &std::path::Path) -> String {
    if state == std::path::Path::new(".mesh") {
        String::new()
    } else {
        format!(" --state {}", client::quoted(&state.display().to_string()))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
