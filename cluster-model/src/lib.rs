#![doc = include_str!("../README.md")]

mod api;
pub mod domain;
mod engine;
mod model;
mod seed;

pub use domain::Settings;
pub use model::{BindError, Model};

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The command line.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "cluster-model", version, about)]
pub struct Cli {
    /// Where to listen: a loopback address; port 0 takes a free one.
    #[arg(
        long,
        env = "CLUSTER_MODEL_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:0"
    )]
    pub listen: SocketAddr,

    /// Where to write a kubeconfig; without it, it is printed.
    #[arg(long, env = "CLUSTER_MODEL_KUBECONFIG_OUT", value_name = "FILE")]
    pub kubeconfig_out: Option<PathBuf>,

    /// From a pod's creation to its readiness, in milliseconds or with a unit (`400ms`, `2s`).
    #[arg(
        long,
        env = "CLUSTER_MODEL_POD_READY_AFTER",
        value_name = "TIME",
        default_value = "400ms",
        value_parser = time
    )]
    pub pod_ready_after: Duration,

    /// From a pod's deletion to its end.
    #[arg(
        long,
        env = "CLUSTER_MODEL_POD_STOP_AFTER",
        value_name = "TIME",
        default_value = "100ms",
        value_parser = time
    )]
    pub pod_stop_after: Duration,

    /// Start of the sequence of generated names and uids.
    #[arg(
        long,
        env = "CLUSTER_MODEL_SEED",
        value_name = "NUMBER",
        default_value_t = 0
    )]
    pub seed: u64,
}

impl Cli {
    /// What the flags say about the cluster.
    pub fn settings(&self) -> Settings {
        Settings {
            ready_after: self.pod_ready_after,
            stop_after: self.pod_stop_after,
            seed: self.seed,
            ..Settings::default()
        }
    }
}

fn time(text: &str) -> Result<Duration, String> {
    let time = match text.parse::<u64>() {
        Ok(milliseconds) => Some(Duration::from_millis(milliseconds)),
        Err(_) => domain::duration(text),
    };
    time.ok_or_else(|| "expected a number of milliseconds, or 400ms, 2s, 1m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[test]
    fn has_a_sound_command_line() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["cluster-model", "--pod-ready-after", "2s"]);
        assert_eq!(cli.settings().ready_after, Duration::from_secs(2));
        assert_eq!(cli.settings().stop_after, Duration::from_millis(100));
        assert!(time("soon").is_err());
    }
}
