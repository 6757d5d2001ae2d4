//! What the started program holds at rest, as the kernel counts it.
#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests fail loudly, their helpers too"
)]

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use identity::{Directory, DirectoryEntry, ListedKey, SigningKey};
use time::{Duration, OffsetDateTime};

/// The mesh's limit is 30 MiB with the program's own pages, which are about 20.
const LIMIT_KB: u64 = 10 * 1024;

/// The program, stopped with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Signing key and directory of an agent that is alone.
fn settle(folder: &Path) {
    let key = SigningKey::generate();
    key.save(&folder.join("signing-key.pem")).unwrap();
    let now = OffsetDateTime::now_utc();
    let listed = ListedKey::new(key.public(), now - Duration::DAY, now + Duration::DAY);
    let id = "spiffe://mesh.local/ns/platform-system/sa/config-validator"
        .parse()
        .unwrap();
    let entry = DirectoryEntry::new("config-validator", id, listed);
    let directory = Directory::new(vec![entry]).unwrap();
    directory.save(&folder.join("directory.json")).unwrap();
}

/// Starts the program behind a mesh proxy's kind of transport, which needs no certificates.
fn start(folder: &Path) -> Running {
    let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../manifests");
    let child = Command::new(env!("CARGO_BIN_EXE_config-validator"))
        .current_dir(folder)
        .env("TOKIO_WORKER_THREADS", "2") // each thread has memory of its own
        .args(["--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"])
        .args(["--metrics-listen", "127.0.0.1:0"])
        .args(["--transport", "mesh", "--peer-identity", "xfcc"])
        .args(["--trusted-proxy", "127.0.0.0/8"])
        .arg("--manifests")
        .arg(manifests)
        .stderr(Stdio::piped())
        .spawn();
    Running(child.unwrap())
}

/// Reads the log until the agent says that it is ready.
fn await_ready(program: &mut Running) {
    let log = BufReader::new(program.0.stderr.take().unwrap());
    let mut lines = Vec::new();
    for line in log.lines() {
        lines.push(line.unwrap());
        if lines.last().is_some_and(|line| line.contains("\"ready\"")) {
            return;
        }
    }
    panic!("the agent stopped: {lines:#?}");
}

/// A figure of `/proc/PID/status`.
fn figure(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let value = line.strip_prefix(':')?.split_whitespace().next()?;
    value.parse().ok()
}

#[test]
fn an_idle_agent_is_small() {
    let folder = tempfile::tempdir().unwrap();
    settle(folder.path());
    let mut program = start(folder.path());
    await_ready(&mut program);
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.0.id())).unwrap();
    if let Some(huge_pages) = figure(&status, "THP_enabled") {
        assert_eq!(huge_pages, 0, "the allocator rounds up to huge pages");
    }
    let anonymous = figure(&status, "RssAnon").unwrap();
    assert!(anonymous < LIMIT_KB, "{anonymous} kB at rest:\n{status}");
}
