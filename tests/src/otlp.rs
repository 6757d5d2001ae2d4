//! A real OTLP receiver (rotel) that prints the spans it gets.

use std::{net::TcpListener, path::PathBuf, process::Stdio, time::Duration};

use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::sleep,
};

use crate::tools::program;

/// A running receiver.
#[derive(Debug)]
pub struct Receiver {
    /// Its OTLP/gRPC endpoint.
    pub endpoint: String,
    log: PathBuf,
    _process: Child,
    _folder: TempDir,
}

impl Receiver {
    /// Starts one on free ports.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let log = folder.path().join("rotel.log");
        let free = || {
            TcpListener::bind("127.0.0.1:0")
                .and_then(|socket| socket.local_addr())
                .expect("a free port")
        };
        let (grpc, http) = (free(), free());
        let output = std::fs::File::create(&log).expect("a log file");
        let process = Command::new(program("rotel"))
            .args([
                "start",
                "--exporter",
                "blackhole",
                "--debug-log",
                "traces",
                "--debug-log-verbosity",
                "detailed",
            ])
            .args([
                "--otlp-grpc-endpoint",
                &grpc.to_string(),
                "--otlp-http-endpoint",
                &http.to_string(),
            ])
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a second handle"))
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .expect("rotel starts");
        for _ in 0..500 {
            if TcpStream::connect(grpc).await.is_ok() {
                return Self {
                    endpoint: format!("http://{grpc}"),
                    log,
                    _process: process,
                    _folder: folder,
                };
            }
            sleep(Duration::from_millis(20)).await;
        }
        panic!(
            "rotel does not listen: {}",
            std::fs::read_to_string(&log).unwrap_or_default()
        );
    }

    /// Everything it printed so far.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it has printed what `enough` wants to see.
    ///
    /// # Panics
    /// When that does not happen.
    pub async fn wait_for(&self, what: &str, enough: impl Fn(&str) -> bool) -> String {
        for _ in 0..300 {
            let printed = self.printed();
            if enough(&printed) {
                return printed;
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!(
            "the receiver did not get {what}:\n{}",
            self.printed().chars().take(4000).collect::<String>()
        );
    }
}
